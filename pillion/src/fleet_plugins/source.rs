//! Where the document, the components and the hosts' reports are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pillion_chassis::ServerTls;
use pillion_host::Digest;

use super::document::{Document, Report};
use super::file_source::FileSource;
use super::nats_source::NatsSource;

/// Whatever a source is asked is answered, or given up on, within this.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// A component may have megabytes, and take longer.
const COMPONENT_TIME_MAX: Duration = Duration::from_secs(30);

/// Where to look, as the configuration or the command line says it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SourceAddress {
    /// A file that all hosts share.
    File(PathBuf),
    /// A NATS server.
    Nats {
        /// It may hold a password, and is never shown.
        url: String,
        replicas: usize,
        tls: ServerTls,
    },
}

impl std::fmt::Debug for SourceAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Nats { .. } => f.write_str("the broker's NATS"),
        }
    }
}

impl SourceAddress {
    /// Reads what the configuration says. Relative paths begin in `base`; `broker` is the
    /// broker's URL, `tls` what it must show.
    pub(crate) fn parse(
        text: &str,
        base: &Path,
        broker: Option<&str>,
        replicas: usize,
        tls: ServerTls,
    ) -> Result<Self, String> {
        match (text, broker) {
            ("nats", Some(url)) => Ok(Self::Nats { url: url.to_owned(), replicas, tls }),
            ("nats", None) => Err("\"nats\" is the broker's server, and broker.url is not set: \
                                   set it, or write \"file:PATH\""
                .to_owned()),
            (text, _) => match text.strip_prefix("file:") {
                Some(path) if !path.is_empty() => Ok(Self::File(base.join(path))),
                _ => Err("is no place for the fleet's plugins: write \"file:PATH\", a file that \
                          all hosts share, or \"nats\", the broker's server"
                    .to_owned()),
            },
        }
    }

    /// Reads what the command line says.
    pub(super) fn of_argument(text: &str, tls: ServerTls) -> Result<Self> {
        if text.starts_with("nats://") || text.starts_with("tls://") {
            return Ok(Self::Nats { url: text.to_owned(), replicas: 1, tls });
        }
        Self::parse(text, Path::new(""), None, 1, tls).map_err(|_| {
            // A URL of another kind may hold a password: it is not repeated.
            anyhow::anyhow!("--fleet: write --fleet=file:PATH or --fleet=nats://HOST:PORT")
        })
    }
}

/// What a change of the document led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    Done,
    /// Somebody else was first.
    Conflict,
}

/// One of the two kinds, with bounds on everything that it is asked.
#[derive(Debug)]
pub(super) enum Source {
    File(FileSource),
    Nats(Box<NatsSource>),
}

impl Source {
    /// Does not wait for it: what is asked of one that is away fails.
    pub(super) async fn open(address: &SourceAddress) -> Result<Self> {
        Ok(match address {
            SourceAddress::File(path) => Self::File(FileSource::new(path)?),
            SourceAddress::Nats { url, replicas, tls } => {
                Self::Nats(Box::new(NatsSource::connect(url, *replicas, tls).await?))
            }
        })
    }

    /// Whether one that has just failed may answer a little later, without anybody's doing.
    pub(super) fn may_come(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Nats(source) => source.may_come(),
        }
    }

    /// The document, if there is one.
    pub(super) async fn document(&self) -> Result<Option<Document>> {
        within(ANSWER_TIME_MAX, async {
            match self {
                Self::File(source) => aside(source, FileSource::document).await,
                Self::Nats(source) => source.document().await,
            }
        })
        .await
    }

    /// Puts `document` in the place of the one of revision `before`, or of none.
    pub(super) async fn replace(
        &self,
        before: Option<u64>,
        document: &Document,
    ) -> Result<Replaced> {
        within(ANSWER_TIME_MAX, async {
            match self {
                Self::File(source) => {
                    let document = document.clone();
                    aside(source, move |source| source.replace(before, &document)).await
                }
                Self::Nats(source) => source.replace(before, document).await,
            }
        })
        .await
    }

    /// A component, checked against its digest; `None` when it is not there.
    pub(super) async fn component(
        &self,
        digest: &Digest,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>> {
        let found = within(COMPONENT_TIME_MAX, async {
            match self {
                Self::File(source) => {
                    let digest = *digest;
                    aside(source, move |source| source.component(&digest, bytes_max)).await
                }
                Self::Nats(source) => source.component(digest, bytes_max).await,
            }
        });
        let Some(bytes) = found.await.with_context(|| format!("cannot fetch {digest}"))? else {
            return Ok(None);
        };
        ensure!(
            bytes.len() <= bytes_max,
            "{digest} is over its bound of {bytes_max} bytes (limits.component_bytes)"
        );
        let is = Digest::of(&bytes);
        ensure!(is == *digest, "what is kept as {digest} is damaged: it has the digest {is}");
        Ok(Some(bytes))
    }

    /// Keeps a component for all hosts, unless it is there.
    pub(super) async fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        within(COMPONENT_TIME_MAX, async {
            match self {
                Self::File(source) => {
                    let (digest, bytes) = (*digest, bytes.to_vec());
                    aside(source, move |source| source.keep(&digest, &bytes)).await
                }
                Self::Nats(source) => source.keep(digest, bytes).await,
            }
        })
        .await
        .with_context(|| format!("cannot keep {digest} for the other hosts"))
    }

    /// Removes components that `document` does not name.
    pub(super) async fn prune(&self, document: &Document) -> Result<()> {
        let wanted: Vec<String> = document.digests().iter().map(Digest::hex).collect();
        within(COMPONENT_TIME_MAX, async {
            match self {
                Self::File(source) => {
                    let wanted = wanted.clone();
                    aside(source, move |source| source.prune(&wanted)).await
                }
                Self::Nats(source) => source.prune(&wanted).await,
            }
        })
        .await
    }

    /// Says what a host runs.
    pub(super) async fn report(&self, report: &Report) -> Result<()> {
        within(ANSWER_TIME_MAX, async {
            match self {
                Self::File(source) => {
                    let report = report.clone();
                    aside(source, move |source| source.report(&report)).await
                }
                Self::Nats(source) => source.report(report).await,
            }
        })
        .await
    }

    /// Takes the report of a host that ends back.
    pub(super) async fn withdraw(&self, host: &str) -> Result<()> {
        within(ANSWER_TIME_MAX, async {
            match self {
                Self::File(source) => {
                    let host = host.to_owned();
                    aside(source, move |source| source.withdraw(&host)).await
                }
                Self::Nats(source) => source.withdraw(host).await,
            }
        })
        .await
    }

    /// What hosts have said, by their names.
    pub(super) async fn reports(&self) -> Result<Vec<Report>> {
        within(ANSWER_TIME_MAX, async {
            match self {
                Self::File(source) => aside(source, FileSource::reports).await,
                Self::Nats(source) => source.reports().await,
            }
        })
        .await
    }
}

/// A file system that does not answer holds up a thread of its own, and no request.
async fn aside<T: Send + 'static>(
    source: &FileSource,
    asked: impl FnOnce(&FileSource) -> Result<T> + Send + 'static,
) -> Result<T> {
    let source = source.clone();
    tokio::task::spawn_blocking(move || asked(&source)).await?
}

async fn within<T>(time_max: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(time_max, asked).await {
        Ok(answer) => answer,
        Err(_) => bail!("no answer within {} s", time_max.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_a_password_is_never_shown() {
        let parse = |text, broker| {
            SourceAddress::parse(text, Path::new("/etc"), broker, 1, ServerTls::default())
        };
        let file = SourceAddress::File("/etc/fleet/plugins.json".into());
        assert_eq!(parse("file:fleet/plugins.json", None), Ok(file));
        let nats = parse("nats", Some("nats://a:secret@b:1")).unwrap();
        assert!(!format!("{nats:?} {nats}").contains("secret"));
        for wrong in ["", "file:", "plugins.json", "nats:"] {
            assert!(parse(wrong, None).unwrap_err().contains("file:PATH"), "{wrong}");
        }
        assert!(parse("nats", None).unwrap_err().contains("broker.url"));
        let argument = |text| SourceAddress::of_argument(text, ServerTls::default());
        assert!(argument("nats://127.0.0.1:4222").is_ok());
        let refused = argument("http://a:secret@b").unwrap_err();
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}
