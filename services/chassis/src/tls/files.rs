//! From PEM files to what a handshake needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::verify::{Clients, Servers, WrongIdentity, service_of};
use super::{Identities, TlsFiles};
use crate::clock::Timestamp;

/// A chain of certificates has some kilobytes; more is the wrong file.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Why certificates cannot be used. The message names the file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is not there, or not ours to read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} {reason}", .path.display())]
    Contents {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl TlsError {
    fn contents(path: &Path, reason: impl Into<String>) -> Self {
        Self::Contents { path: path.to_owned(), reason: reason.into() }
    }
}

/// What the files held at one look.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) ca: Vec<u8>,
}

/// Without the key.
impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

/// What handshakes are made with.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    /// Between services only.
    pub(super) client: Option<Arc<ClientConfig>>,
    pub(super) valid_from: Timestamp,
    pub(super) expires_at: Timestamp,
    /// When the first of the authority's certificates expires.
    pub(super) ca_expires_at: Option<Timestamp>,
    digest: [u8; 32],
}

impl Material {
    /// Whether it was made of these contents.
    pub(super) fn is_of(&self, contents: &Contents) -> bool {
        self.digest == contents.digest()
    }
}

impl Contents {
    pub(super) fn read(
        files: &TlsFiles,
        identities: Option<&Identities>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            ca: identities.map_or(Ok(Vec::new()), |identities| read(&identities.ca))?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let parts = [&self.certificate, &self.key, &self.ca];
        let digests: Vec<u8> =
            parts.iter().flat_map(|part| digest(&SHA256, part).as_ref().to_vec()).collect();
        let mut all = [0; 32];
        all.copy_from_slice(digest(&SHA256, &digests).as_ref());
        all
    }

    /// What handshakes are made with, once it is clear that the others would take it.
    pub(super) fn make(
        &self,
        files: &TlsFiles,
        identities: Option<&Identities>,
    ) -> Result<Material, TlsError> {
        if let Some(identities) = identities {
            let provider = Arc::new(provider::default_provider());
            let chain = certificates(&files.certificate, &self.certificate)?;
            let roots = roots(&identities.ca, certificates(&identities.ca, &self.ca)?)?;
            let (clients, servers) = verifiers(&identities.ca, roots, &provider)?;
            own(&files.certificate, &chain, (&*clients, &servers), identities)?;
        }
        self.build(files, identities)
    }

    pub(super) fn build(
        &self,
        files: &TlsFiles,
        identities: Option<&Identities>,
    ) -> Result<Material, TlsError> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            TlsError::contents(&files.key, format!("holds no private key as PEM: {error}"))
        })?;
        let leaf = chain
            .first()
            .ok_or_else(|| TlsError::contents(&files.certificate, "holds no certificate as PEM"))?;
        let (valid_from, expires_at) = validity(&files.certificate, leaf)?;
        let provider = Arc::new(provider::default_provider());
        // Checked by rustls: the key is that of the first certificate.
        let pair = |error: rustls::Error| {
            let key = files.key.display();
            TlsError::contents(&files.certificate, format!("does not go with {key}: {error}"))
        };
        let Some(identities) = identities else {
            let server = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&TLS13])
                .map_err(pair)?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .map_err(pair)?;
            return Ok(Material {
                server: Arc::new(without_resumption(server)),
                client: None,
                valid_from,
                expires_at,
                ca_expires_at: None,
                digest: self.digest(),
            });
        };
        let trust_domain = &identities.trust_domain;
        let authorities = certificates(&identities.ca, &self.ca)?;
        let mut ca_expires_at: Option<Timestamp> = None;
        for authority in &authorities {
            let (_, expires_at) = validity(&identities.ca, authority)?;
            ca_expires_at =
                Some(ca_expires_at.map_or(expires_at, |earliest| earliest.min(expires_at)));
        }
        let roots = roots(&identities.ca, authorities)?;
        let (clients, servers) = verifiers(&identities.ca, roots, &provider)?;
        let clients = Clients {
            chain: clients,
            trust_domain: trust_domain.clone(),
            services: identities.services.clone(),
        };
        let servers = Servers { chain: servers, trust_domain: trust_domain.clone() };
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(pair)?
            .with_client_cert_verifier(Arc::new(clients))
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(pair)?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(pair)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers))
            .with_client_auth_cert(chain, key)
            .map_err(pair)?;
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Material {
            server: Arc::new(without_resumption(server)),
            client: Some(Arc::new(client)),
            valid_from,
            expires_at,
            ca_expires_at,
            digest: self.digest(),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        let reason = format!("has {bytes} bytes, more than certificates have ({FILE_BYTES_MAX})");
        return Err(TlsError::contents(path, reason));
    }
    fs::read(path).map_err(failed)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| TlsError::contents(path, format!("is damaged: {error}")))?;
    if read.is_empty() {
        return Err(TlsError::contents(path, "holds no certificate as PEM"));
    }
    Ok(read)
}

/// From when and until when.
fn validity(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<(Timestamp, Timestamp), TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| {
        TlsError::contents(path, format!("holds a certificate that cannot be read: {error}"))
    })?;
    let validity = parsed.validity();
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    Ok((at(validity.not_before.timestamp()), at(validity.not_after.timestamp())))
}

/// The certificates of authorities in a file.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    roots(path, certificates(path, &read(path)?)?)
}

fn roots(
    path: &Path,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| {
            TlsError::contents(path, format!("holds no certificate of an authority: {error}"))
        })?;
    }
    Ok(roots)
}

type Verifiers = (Arc<dyn ClientCertVerifier>, Arc<WebPkiServerVerifier>);

fn verifiers(
    path: &Path,
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Verifiers, TlsError> {
    let roots = Arc::new(roots);
    let failed = |error: rustls::server::VerifierBuilderError| {
        TlsError::contents(path, format!("cannot be used as an authority: {error}"))
    };
    let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(failed)?;
    let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(failed)?;
    Ok((clients, servers))
}

/// What the others would refuse is found here, where it is easy to mend.
fn own(
    path: &Path,
    chain: &[CertificateDer<'static>],
    (clients, servers): (&dyn ClientCertVerifier, &WebPkiServerVerifier),
    identities: &Identities,
) -> Result<(), TlsError> {
    let Some((leaf, between)) = chain.split_first() else {
        return Err(TlsError::contents(path, "holds no certificate as PEM"));
    };
    let ca = identities.ca.display();
    let now = UnixTime::now();
    clients.verify_client_cert(leaf, between, now).map_err(|error| {
        TlsError::contents(path, format!("is not good for the authority {ca}: {error}"))
    })?;
    let name = ServerName::try_from(identities.own.as_str()).map_err(|error| {
        TlsError::contents(path, format!("cannot be for {}: {error}", identities.own))
    })?;
    servers
        .verify_server_cert(leaf, between, &name, &[], now)
        .map_err(|error| TlsError::contents(path, format!("is not good for a server: {error}")))?;
    let expected = identities.own.clone();
    match service_of(leaf, &identities.trust_domain) {
        Ok(found) if found == expected => Ok(()),
        Ok(found) => Err(WrongIdentity::Other { found, expected }),
        Err(wrong) => Err(wrong),
    }
    .map_err(|wrong| TlsError::contents(path, format!("cannot be this service's: {wrong}")))
}

fn without_resumption(mut server: ServerConfig) -> ServerConfig {
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    server
}
