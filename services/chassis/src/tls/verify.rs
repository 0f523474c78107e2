//! Which service a certificate is for, and whether it is the one that was meant.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use x509_parser::extensions::GeneralName;

/// A good certificate of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongIdentity {
    #[error(
        "the certificate names no service: it must have exactly one URI, \
         spiffe://{trust_domain}/SERVICE"
    )]
    None { trust_domain: String },
    #[error("the certificate is for {uri}, which is no service of spiffe://{trust_domain}/")]
    Foreign { uri: String, trust_domain: String },
    #[error("the certificate is for the service {found}, and {expected} was meant")]
    Other { found: String, expected: String },
}

impl WrongIdentity {
    fn none(trust_domain: &str) -> Self {
        Self::None { trust_domain: trust_domain.to_owned() }
    }
}

impl From<WrongIdentity> for Error {
    fn from(error: WrongIdentity) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

/// The service that a certificate says it is for. Whether to believe it is another question.
pub(super) fn service_of(
    certificate: &CertificateDer<'_>,
    trust_domain: &str,
) -> Result<String, WrongIdentity> {
    let none = || WrongIdentity::none(trust_domain);
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| none())?;
    let names = parsed.subject_alternative_name().map_err(|_| none())?.ok_or_else(none)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    // With several it would be somebody's choice who it is.
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(none());
    };
    let service = (uri.strip_prefix("spiffe://"))
        .and_then(|rest| rest.strip_prefix(trust_domain))
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|service| !service.is_empty() && !service.contains('/'));
    service.map(str::to_owned).ok_or_else(|| WrongIdentity::Foreign {
        uri: uri.to_owned(),
        trust_domain: trust_domain.to_owned(),
    })
}

/// Lets services in.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) trust_domain: String,
    pub(super) services: Vec<String>,
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let found = service_of(end_entity, &self.trust_domain)?;
        if !self.services.contains(&found) {
            let expected = format!("one of {}", self.services.join(", "));
            return Err(WrongIdentity::Other { found, expected }.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Goes on only with the service that was meant: by its DNS name and by its identity.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) chain: Arc<WebPkiServerVerifier>,
    pub(super) trust_domain: String,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let found = service_of(end_entity, &self.trust_domain)?;
        let expected = server_name.to_str();
        if found != expected {
            let expected = expected.into_owned();
            return Err(WrongIdentity::Other { found, expected }.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
