//! Authorities and certificates for tests: good ones, and each kind of bad one.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::UnixTime;
use time::{Duration, OffsetDateTime};

use crate::tls::TlsFiles;

/// Signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// What a certificate says. By default that of a service, valid for a day.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// URIs: an identity, or none, or several.
    pub uris: Vec<String>,
    /// DNS names.
    pub names: Vec<String>,
    /// Seconds from now on.
    pub valid_s: std::ops::Range<i64>,
}

impl Wanted {
    /// That of a service of the trust domain `pillion`.
    pub fn of(service: &str) -> Self {
        Self {
            uris: vec![format!("spiffe://pillion/{service}")],
            names: vec![service.to_owned()],
            valid_s: -60..86_400,
        }
    }

    /// The same, over since a second.
    #[must_use]
    pub fn expired(self) -> Self {
        Self { valid_s: -120..-1, ..self }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let certificate = params.self_signed(&key).expect("a signature").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// The one that `pillion certs init` has made in a folder.
    pub fn open(folder: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
        let (certificate, key) = (read("ca.pem"), read("ca.key"));
        let key = KeyPair::from_pem(&key).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).expect("a certificate");
        Self { issuer, certificate }
    }

    /// Its certificate as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Writes a certificate as `NAME.pem`, and its key as `NAME.key`.
    pub fn issue(&self, folder: &Path, name: &str, wanted: &Wanted) -> TlsFiles {
        let mut params = CertificateParams::default();
        let text = |text: &String| text.clone().try_into().expect("ASCII");
        let uris = wanted.uris.iter().map(|uri| SanType::URI(text(uri)));
        let names = wanted.names.iter().map(|name| SanType::DnsName(text(name)));
        params.subject_alt_names = uris.chain(names).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let now = i64::try_from(UnixTime::now().as_secs()).expect("a time");
        let at = |s: i64| {
            let now = OffsetDateTime::from_unix_timestamp(now).expect("a time");
            now + Duration::seconds(s)
        };
        params.not_before = at(wanted.valid_s.start);
        params.not_after = at(wanted.valid_s.end);
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a signature");
        let files = TlsFiles {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        std::fs::write(&files.certificate, made.pem()).expect("a folder to write in");
        std::fs::write(&files.key, key.serialize_pem()).expect("a folder to write in");
        files
    }
}
