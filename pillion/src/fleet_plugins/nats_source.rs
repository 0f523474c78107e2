//! The document and the reports in NATS' key-value buckets, the components in an object store.
//! Reports expire by themselves when nobody renews them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use async_nats::Client;
use async_nats::connection::State as Connection;
use async_nats::jetstream::object_store::{GetErrorKind, ObjectStore};
use async_nats::jetstream::{self, kv, object_store};
use futures_util::TryStreamExt as _;
use pillion_chassis::ServerTls;
use pillion_chassis::broker::{NatsAddress, NatsTrouble};
use pillion_host::Digest;
use tokio::io::AsyncReadExt as _;

use super::document::{DOCUMENT_BYTES_MAX, Document, Report};
use super::source::Replaced;

/// The buckets, and the document's key.
const PLUGINS: &str = "pillion-plugins";
const HOSTS: &str = "pillion-plugin-hosts";
const COMPONENTS: &str = "pillion-plugin-components";
const DESIRED: &str = "desired";

/// Revisions that the server keeps, for people who look for what was.
const HISTORY: i64 = 8;

/// A report that was not renewed for this long goes.
const REPORT_LIFETIME: Duration = Duration::from_mins(1);

/// What the buckets may hold: some hundred components of 8 MiB, and reports of a thousand hosts.
const COMPONENTS_BYTES_MAX: i64 = 1 << 30;
const HOSTS_BYTES_MAX: i64 = 16 << 20;
const PLUGINS_BYTES_MAX: i64 = 16 << 20;

/// How soon it is seen that the connection stands.
const CONNECTION_LOOK: Duration = Duration::from_millis(10);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct NatsSource {
    client: Client,
    context: jetstream::Context,
    trouble: NatsTrouble,
    replicas: usize,
    /// Found or made once; after any failure looked for again.
    buckets: Mutex<Option<Buckets>>,
}

#[derive(Clone)]
struct Buckets {
    plugins: kv::Store,
    hosts: kv::Store,
    components: ObjectStore,
}

impl std::fmt::Debug for NatsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsSource").finish_non_exhaustive()
    }
}

impl NatsSource {
    /// Does not wait for the server: a host starts without it.
    pub(super) async fn connect(url: &str, replicas: usize, tls: &ServerTls) -> Result<Self> {
        let NatsAddress { servers, options, trouble } = NatsAddress::parse(url, tls)?;
        let options = options
            .name("pillion plugins")
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_TIME_MAX)
            .reconnect_delay_callback(|_| RECONNECT_PAUSE);
        let client = Box::pin(options.connect(servers)).await.context("the URL of NATS")?;
        let context = jetstream::new(client.clone());
        Ok(Self { client, context, trouble, replicas, buckets: Mutex::default() })
    }

    /// Runs `asked` on the buckets. What is sent without a connection would pile up, so that
    /// comes first; whoever waits too long is told by whoever set the time.
    async fn with<T>(&self, asked: impl AsyncFnOnce(Buckets) -> Result<T>) -> Result<T> {
        let connected = async {
            while self.client.connection_state() != Connection::Connected {
                tokio::time::sleep(CONNECTION_LOOK).await;
            }
        };
        tokio::time::timeout(CONNECT_TIME_MAX, connected)
            .await
            .map_err(|_| anyhow!("NATS does not answer: {}", self.trouble))?;
        let known = self.known().clone();
        let buckets = if let Some(buckets) = known {
            buckets
        } else {
            let buckets = Box::pin(self.find()).await?;
            *self.known() = Some(buckets.clone());
            buckets
        };
        let answer = Box::pin(asked(buckets)).await;
        if answer.is_err() {
            *self.known() = None;
        }
        answer
    }

    /// Whether it is not reached yet: a server that starts late, and none that refuses us.
    pub(super) fn may_come(&self) -> bool {
        self.client.connection_state() != Connection::Connected && !self.trouble.is_refusal()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Buckets>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are not there are made.
    async fn find(&self) -> Result<Buckets> {
        let plugins = kv::Config {
            bucket: PLUGINS.to_owned(),
            description: "the plugins that all hosts of Pillion run".to_owned(),
            history: HISTORY,
            max_bytes: PLUGINS_BYTES_MAX,
            num_replicas: self.replicas,
            ..kv::Config::default()
        };
        let hosts = kv::Config {
            bucket: HOSTS.to_owned(),
            description: "what each host of Pillion says of itself".to_owned(),
            history: 1,
            max_age: REPORT_LIFETIME,
            max_bytes: HOSTS_BYTES_MAX,
            num_replicas: self.replicas,
            ..kv::Config::default()
        };
        Ok(Buckets {
            plugins: self.key_value(plugins).await?,
            hosts: self.key_value(hosts).await?,
            components: self.object_store().await?,
        })
    }

    async fn key_value(&self, config: kv::Config) -> Result<kv::Store> {
        let name = config.bucket.clone();
        if let Ok(store) = self.context.get_key_value(&name).await {
            return Ok(store);
        }
        let made = self.context.create_key_value(config).await;
        made.with_context(|| format!("cannot make the bucket {name} in NATS"))
    }

    async fn object_store(&self) -> Result<ObjectStore> {
        if let Ok(store) = self.context.get_object_store(COMPONENTS).await {
            return Ok(store);
        }
        let config = object_store::Config {
            bucket: COMPONENTS.to_owned(),
            description: Some("components of plugins by their digest".to_owned()),
            max_bytes: COMPONENTS_BYTES_MAX,
            num_replicas: self.replicas,
            ..object_store::Config::default()
        };
        let made = self.context.create_object_store(config).await;
        made.with_context(|| format!("cannot make the object store {COMPONENTS} in NATS"))
    }

    pub(super) async fn document(&self) -> Result<Option<Document>> {
        let entry = self.with(async |buckets| entry(&buckets).await).await?;
        entry.map(|entry| Document::parse(&entry.value)).transpose()
    }

    /// The server takes it only in the place of the very entry that was read here.
    pub(super) async fn replace(
        &self,
        before: Option<u64>,
        document: &Document,
    ) -> Result<Replaced> {
        let json = document.to_json()?;
        self.with(async |buckets| {
            let there = entry(&buckets).await?;
            let revision = there.as_ref().map(|entry| Document::parse(&entry.value)).transpose()?;
            if revision.map(|there| there.revision) != before {
                return Ok(Replaced::Conflict);
            }
            let place = there.map_or(0, |entry| entry.revision);
            match buckets.plugins.update(DESIRED, json.into(), place).await {
                Ok(_) => Ok(Replaced::Done),
                Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => {
                    Ok(Replaced::Conflict)
                }
                Err(error) => Err(error).context(
                    "NATS did not acknowledge the change, which may have been made: look with \
                     `pillion plugin status --fleet` before you try again",
                ),
            }
        })
        .await
    }

    pub(super) async fn component(
        &self,
        digest: &Digest,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>> {
        self.with(async |buckets| {
            let object = match buckets.components.get(digest.hex()).await {
                Ok(object) => object,
                Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
            let mut bytes = Vec::new();
            object.take(most).read_to_end(&mut bytes).await?;
            Ok(Some(bytes))
        })
        .await
    }

    pub(super) async fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if let Ok(Some(there)) = self.component(digest, bytes.len()).await
            && there == bytes
        {
            return Ok(());
        }
        let name = digest.hex();
        self.with(async |buckets| {
            buckets.components.put(name.as_str(), &mut &*bytes).await?;
            Ok(())
        })
        .await
    }

    pub(super) async fn prune(&self, wanted: &[String]) -> Result<()> {
        self.with(async |buckets| {
            let objects: Vec<_> = buckets.components.list().await?.try_collect().await?;
            for object in objects.iter().filter(|object| !wanted.contains(&object.name)) {
                buckets.components.delete(&object.name).await?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn report(&self, report: &Report) -> Result<()> {
        let json = serde_json::to_vec(report)?;
        self.with(async |buckets| {
            buckets.hosts.put(&report.host, json.into()).await?;
            Ok(())
        })
        .await
    }

    pub(super) async fn withdraw(&self, host: &str) -> Result<()> {
        self.with(async |buckets| Ok(buckets.hosts.purge(host).await?)).await
    }

    pub(super) async fn reports(&self) -> Result<Vec<Report>> {
        self.with(async |buckets| {
            let mut hosts: Vec<String> = buckets.hosts.keys().await?.try_collect().await?;
            hosts.sort();
            let mut reports = Vec::new();
            for host in hosts {
                // One that has expired meanwhile is none.
                if let Some(json) = buckets.hosts.get(&host).await? {
                    let report = serde_json::from_slice(&json);
                    reports.push(report.with_context(|| format!("the report of {host}"))?);
                }
            }
            Ok(reports)
        })
        .await
    }
}

/// The document's entry.
async fn entry(buckets: &Buckets) -> Result<Option<kv::Entry>> {
    let entry = buckets.plugins.entry(DESIRED).await?;
    let entry = entry.filter(|entry| entry.operation == kv::Operation::Put);
    if let Some(entry) = &entry {
        anyhow::ensure!(
            entry.value.len() <= DOCUMENT_BYTES_MAX,
            "the document is over its bound of {DOCUMENT_BYTES_MAX} bytes"
        );
    }
    Ok(entry)
}
