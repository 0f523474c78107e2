//! TLS as the services speak it. Between each other both sides show a certificate of one
//! authority, which says which service they are: [`Tls::mutual`]. Towards clients only the server
//! does: [`Tls::public`]. Version 1.3, nothing older; nothing is resumed, so that every connection
//! has seen a certificate that was valid when it began. Connections to databases and brokers are
//! their clients' business, which are told what servers must show: [`ServerTls`].
//!
//! The files are looked at again and again; a change is in force for new connections when two
//! looks in a row found the same, and what cannot be used never takes the place of what can.

mod files;
mod refusal;
mod servers;
mod stream;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use files::TlsError;
pub use servers::{ServerTls, advice};
pub use stream::Stream;

use self::files::{Contents, Material};
use self::refusal::{Refusals, Side};
use crate::clock::{Clock, Timestamp};
use crate::service::{Shutdown, Worker};

/// The time between two looks at the files.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// From the last quarter of a certificate's time on, somebody should have replaced it.
const REMAINING_LOW: i64 = 4;
/// How long, and how many bytes, a refused client is listened to, so that it reads why before its
/// connection is reset.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(1);
const GOODBYE_BYTES_MAX: u64 = 64 << 10;

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate with those between it and the authority's.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Who the services are to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identities {
    /// The authority's certificates: one, and while it is replaced two.
    pub ca: PathBuf,
    /// A service's identity is `spiffe://TRUST_DOMAIN/SERVICE`.
    pub trust_domain: String,
    /// Which service this is.
    pub own: String,
    /// Those that may connect.
    pub services: Vec<String>,
}

/// Certificates that are in force, and follow their files. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: TlsFiles,
    identities: Option<Identities>,
    current: ArcSwap<Material>,
    refusals: Refusals,
    rereads_failed: AtomicU64,
}

impl Tls {
    /// For services among themselves: both sides show who they are.
    pub fn mutual(files: TlsFiles, identities: Identities) -> Result<Self, TlsError> {
        Self::new(files, Some(identities))
    }

    /// For clients, who show nothing.
    pub fn public(files: TlsFiles) -> Result<Self, TlsError> {
        Self::new(files, None)
    }

    fn new(files: TlsFiles, identities: Option<Identities>) -> Result<Self, TlsError> {
        let contents = Contents::read(&files, identities.as_ref())?;
        let material = contents.make(&files, identities.as_ref())?;
        Ok(Self(Arc::new(Shared {
            files,
            identities,
            current: ArcSwap::from_pointee(material),
            refusals: Refusals::default(),
            rereads_failed: AtomicU64::new(0),
        })))
    }

    /// Takes a connection's handshake as the server. Who is refused is counted and logged.
    pub async fn accept(
        &self,
        stream: TcpStream,
        client: IpAddr,
        within: Duration,
    ) -> Option<Stream> {
        let server = Arc::clone(&self.0.current.load().server);
        let handshake = TlsAcceptor::from(server).accept(stream).into_fallible();
        let error = match timeout(within, handshake).await {
            Ok(Ok(secured)) => return Some(Stream::Tls(Box::new(secured.into()))),
            Ok(Err((error, stream))) => {
                self.0.refusals.note(Side::Server, &client, &error);
                say_goodbye(stream).await;
                return None;
            }
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"),
        };
        self.0.refusals.note(Side::Server, &client, &error);
        None
    }

    /// Makes a connection safe as the client, if the other end is this service.
    pub async fn connect(
        &self,
        service: &str,
        stream: TcpStream,
        within: Duration,
    ) -> io::Result<Stream> {
        let client = self.0.current.load().client.clone();
        let client = client.ok_or_else(|| io::Error::other("only services connect"))?;
        let name = ServerName::try_from(service.to_owned()).map_err(io::Error::other)?;
        let handshake = TlsConnector::from(client).connect(name, stream);
        let error = match timeout(within, handshake).await {
            Ok(Ok(secured)) => return Ok(Stream::Tls(Box::new(secured.into()))),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"),
        };
        self.0.refusals.note(Side::Client, &service, &error);
        Err(refusal::explain(&error))
    }

    /// The worker that looks at the files now and then.
    pub fn follow(&self, clock: Arc<dyn Clock>, interval: Duration) -> Worker {
        let tls = self.clone();
        let name = match &self.0.identities {
            Some(_) => "certificates-services",
            None => "certificates-clients",
        };
        Worker::new(name, move |mut shutdown: Shutdown| {
            let (tls, clock) = (tls.clone(), Arc::clone(&clock));
            async move {
                let mut seen: Option<Contents> = None;
                let mut warned = Timestamp::from_micros(0);
                loop {
                    tls.warn_of_expiry(&*clock, &mut warned);
                    tokio::select! {
                        () = shutdown.requested() => return,
                        () = sleep(interval) => {}
                    }
                    tls.look(&mut seen).await;
                }
            }
        })
    }

    /// Reads the files now, and uses what they hold for new connections if it has changed; whether
    /// it has.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        let shared = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || {
            let contents = Contents::read(&shared.files, shared.identities.as_ref())?;
            if shared.current.load().is_of(&contents) {
                return Ok(None);
            }
            contents.make(&shared.files, shared.identities.as_ref()).map(Some)
        });
        let made = match read.await {
            Ok(made) => made?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let Some(material) = made else { return Ok(false) };
        let expires_at = material.expires_at.to_string();
        self.0.current.store(Arc::new(material));
        tracing::info!(%expires_at, "new certificates are in force");
        Ok(true)
    }

    /// One look; `seen` is what the look before it found.
    async fn look(&self, seen: &mut Option<Contents>) {
        let shared = Arc::clone(&self.0);
        let read = move || Contents::read(&shared.files, shared.identities.as_ref());
        let read = match tokio::task::spawn_blocking(read).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "looking at the certificates failed");
                return;
            }
        };
        let failed = |error: &TlsError| {
            self.0.rereads_failed.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "changed certificates cannot be used; the ones before stay");
        };
        let contents = match read {
            Ok(contents) => contents,
            Err(error) => return failed(&error),
        };
        if self.0.current.load().is_of(&contents) {
            *seen = None;
            return;
        }
        // Files are replaced one by one: what a single look finds may be half of it.
        let settled = seen.as_ref() == Some(&contents);
        if settled {
            match contents.make(&self.0.files, self.0.identities.as_ref()) {
                Ok(material) => {
                    let expires_at = material.expires_at.to_string();
                    self.0.current.store(Arc::new(material));
                    tracing::info!(%expires_at, "new certificates are in force");
                }
                Err(error) => failed(&error),
            }
        }
        *seen = Some(contents);
    }

    /// Once for each certificate.
    fn warn_of_expiry(&self, clock: &dyn Clock, warned: &mut Timestamp) {
        let current = self.0.current.load();
        let (from, until) = (current.valid_from.as_micros(), current.expires_at.as_micros());
        let low = until - (until - from) / REMAINING_LOW;
        if *warned != current.expires_at && clock.now().as_micros() >= low {
            *warned = current.expires_at;
            let path = self.0.files.certificate.display();
            let expires_at = current.expires_at;
            tracing::warn!(%expires_at, "the certificate {path} expires soon: replace it");
        }
    }

    /// What there is to watch, in Prometheus' text form without its head; `of` says which
    /// certificates these are.
    pub fn metrics(&self, of: &str) -> String {
        let mut text = String::new();
        let current = self.0.current.load();
        let mut line = |name: &str, labels: &str, value: u64| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}{{of=\"{of}\"{labels}}} {value}");
        };
        let expiry = "pillion_tls_certificate_expiry_seconds";
        line(expiry, ",certificate=\"own\"", current.expires_at.as_secs());
        if let Some(expires_at) = current.ca_expires_at {
            line(expiry, ",certificate=\"ca\"", expires_at.as_secs());
        }
        let failed = self.0.rereads_failed.load(Ordering::Relaxed);
        line("pillion_tls_reload_failures_total", "", failed);
        for (side, reason, count) in self.0.refusals.counts() {
            let labels = format!(",side=\"{side}\",reason=\"{reason}\"");
            line("pillion_tls_refused_total", &labels, count);
        }
        text
    }
}

/// Ends a connection so that the other end can read what it was told.
async fn say_goodbye(mut stream: TcpStream) {
    let goodbye = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(GOODBYE_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Who does not listen is none of our business any more.
    let _ = timeout(GOODBYE_TIME_MAX, goodbye).await;
}
