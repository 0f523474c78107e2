//! How connections to `PostgreSQL` and NATS are made safe, and what to do where they are not made.
//!
//! The clients of both read the files anew for every connection, so that a new authority, or a new
//! certificate of ours, is in force for the next one.

use std::path::PathBuf;

use super::files::{Contents, authorities};
use super::{TlsError, TlsFiles};

/// What servers must show, and what they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// The authorities of their certificates; without it, those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// For servers that ask for a certificate.
    pub client: Option<TlsFiles>,
    /// Where relative paths in URLs begin.
    pub base: PathBuf,
}

impl ServerTls {
    /// Whether the files are there and hold what they should.
    pub fn check(&self) -> Result<(), TlsError> {
        if let Some(ca) = &self.ca {
            authorities(ca)?;
        }
        if let Some(client) = &self.client {
            Contents::read(client, None)?.build(client, None)?;
        }
        Ok(())
    }
}

/// What to do about a connection that failed in these words, where TLS was why.
pub fn advice(error: &str) -> Option<&'static str> {
    const ADVICE: [(&[&str], &str); 7] = [
        (
            &["UnknownIssuer", "BadSignature"],
            "the server's certificate is of another authority than the one that is configured: \
             tls.servers.ca, else tls.ca, or sslrootcert in the URL of a database",
        ),
        (
            &["not valid for name", "NotValidForName"],
            "connect by a name that the server's certificate has, or issue it one with this name",
        ),
        (
            &["certificate expired", "Expired", "not valid yet", "NotValidYet"],
            "replace the server's certificate, or look at the clocks",
        ),
        (
            &["InvalidContentType", "server does not support TLS"],
            "the server does not speak TLS there: switch it on, or connect without (nats://, or \
             sslmode=disable in the URL of a database)",
        ),
        (
            &["no encryption"],
            "the server takes no connection without TLS: write ?sslmode=verify-full behind the URL",
        ),
        (
            &["CertificateRequired"],
            "the server wants to see a certificate: tls.servers.certificate and tls.servers.key",
        ),
        (
            &["UnknownCA", "BadCertificate", "CertificateUnknown", "CertificateExpired"],
            "the server refuses our certificate: its log says why",
        ),
    ];
    let said = |words: &&[&str]| words.iter().any(|word| error.contains(word));
    ADVICE.iter().find(|(words, _)| said(words)).map(|(_, advice)| *advice)
}
