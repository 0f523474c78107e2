//! Services in this process, without anything that serves: their databases, the broker, and what
//! carries events between them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::{Extension, Router};
use pillion_chassis::broker::{EmbeddedBroker, NatsBroker, NatsOptions};
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::{
    Broker, Caller, Database, Deps, Ids, InProcessPeers, Journal, Scopes, ServerTls, ServiceKeys,
    ServiceTokens, Shutdown, SystemClock, SystemRandom, personal, service_token,
};
use tokio::task::JoinSet;

/// How often it looks whether everything has arrived.
const POLL: Duration = Duration::from_millis(20);

/// How often it says how far it is.
const TELL: Duration = Duration::from_secs(10);

/// Longer than this without a single event taken up means that something is broken.
const STUCK: Duration = Duration::from_mins(1);

/// Where services keep what they keep.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// In the files of a data folder.
    Files(PathBuf),
    /// On servers.
    Servers {
        /// The URLs of databases, by service.
        databases: BTreeMap<&'static str, String>,
        /// The URL of NATS.
        broker: String,
        /// The authority of certificates, where there are any.
        ca: PathBuf,
    },
}

/// Those services that have events, but for identity. None of their workers runs by itself.
#[derive(Debug)]
pub(crate) struct Services {
    routers: BTreeMap<&'static str, Router>,
    journals: Vec<Journal>,
    broker: Arc<dyn Broker>,
    /// The same, where it is a file to be closed.
    file: Option<Arc<EmbeddedBroker>>,
    workers: JoinSet<()>,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
}

impl Services {
    /// Opens the store, which may hold something already, and which nobody else may be at.
    pub(crate) async fn open(store: &Store) -> Result<Self> {
        let clock = Arc::new(SystemClock);
        let ids = Arc::new(Ids::new(clock.clone(), 0)?);
        let peers = Arc::new(InProcessPeers::new());
        // Nobody looks at it: see below.
        let keys = ServiceKeys::passing(&SystemRandom)?;
        let tokens = ServiceTokens::new("bench", keys, "", "", clock.clone(), &SystemRandom)?;
        let service_tokens = Arc::new(tokens);
        let deps = async |service: &str| -> Result<Deps> {
            let database = Box::pin(store.database(service)).await?;
            let (clock, ids, peers) = (clock.clone(), ids.clone(), peers.clone());
            let service_tokens = service_tokens.clone();
            let random = Arc::new(SystemRandom);
            Ok(Deps { clock, ids, random, database, peers, service_tokens })
        };
        let services = [
            Box::pin(pillion_users::service(deps("users").await?)).await?,
            Box::pin(pillion_graph::service(deps("graph").await?)).await?,
            Box::pin(pillion_tweets::service(deps("tweets").await?)).await?,
            Box::pin(pillion_engagements::service(deps("engagements").await?)).await?,
            Box::pin(pillion_timelines::service(deps("timelines").await?)).await?,
            Box::pin(pillion_search::service(deps("search").await?)).await?,
            Box::pin(pillion_notifications::service(deps("notifications").await?)).await?,
        ];
        let (broker, file): (Arc<dyn Broker>, _) = match store {
            Store::Files(folder) => {
                let file = Arc::new(EmbeddedBroker::open(folder.join("broker.sqlite")).await?);
                (file.clone(), Some(file))
            }
            Store::Servers { broker, ca, .. } => {
                let tls = ServerTls { ca: Some(ca.clone()), ..ServerTls::default() };
                let options = NatsOptions { tls, ..NatsOptions::default() };
                (Arc::new(NatsBroker::connect_with(broker, options).await?), None)
            }
        };
        // What the auth plugin would make of a service's token.
        let caller = Caller {
            user_id: None,
            client_id: "service:bench".to_owned(),
            scopes: Scopes::parse(service_token::SCOPE),
        };
        let (mut journals, mut routers) = (Vec::new(), BTreeMap::new());
        for service in services {
            let service = personal::exchange(service, peers.clone(), service_tokens.clone());
            routers.insert(service.name, service.router.clone());
            peers.register(service.name, service.router.layer(Extension(caller.clone())));
            journals.extend(service.journal);
        }
        let (trigger, shutdown) = Shutdown::new();
        let workers = JoinSet::new();
        Ok(Self { routers, journals, broker, file, workers, trigger, shutdown })
    }

    /// The same, whose events flow.
    pub(crate) async fn flowing(store: &Store) -> Result<Self> {
        let mut services = Self::open(store).await?;
        let names: Vec<_> = services.journals.iter().map(Journal::name).collect();
        for name in names {
            services.flow(name)?;
        }
        Ok(services)
    }

    /// Lets a service publish its events and take up those of others.
    pub(crate) fn flow(&mut self, service: &str) -> Result<()> {
        for worker in self.journal(service)?.workers(&self.broker) {
            self.workers.spawn(worker.run(self.shutdown.clone()));
        }
        Ok(())
    }

    /// A service's handlers, without plugins before them.
    pub(crate) fn router(&self, service: &str) -> Result<Router> {
        self.routers.get(service).cloned().with_context(|| format!("there is no {service}"))
    }

    pub(crate) fn journal(&self, service: &str) -> Result<&Journal> {
        let found = self.journals.iter().find(|journal| journal.name() == service);
        found.with_context(|| format!("the service {service} has no events"))
    }

    /// Waits until every service has taken up every event.
    pub(crate) async fn settle(&self) -> Result<()> {
        let journals: Vec<&Journal> = self.journals.iter().collect();
        self.settled(&journals).await
    }

    /// Waits until a service's events are published and it has taken up all of others'.
    pub(crate) async fn settle_one(&self, service: &str) -> Result<()> {
        self.settled(&[self.journal(service)?]).await
    }

    async fn settled(&self, journals: &[&Journal]) -> Result<()> {
        let (mut least, mut moved, mut told) = (i64::MAX, Instant::now(), Instant::now());
        loop {
            let mut lag = 0;
            for journal in journals {
                lag += self.lag(journal).await?;
            }
            if lag == 0 {
                return Ok(());
            }
            if lag < least {
                (least, moved) = (lag, Instant::now());
            } else if moved.elapsed() > STUCK {
                bail!("events are not taken up: {lag} are left and stay so");
            }
            if told.elapsed() > TELL {
                told = Instant::now();
                eprintln!("  {lag} events to be taken up");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Events that a service has not published, and those that it has not taken up.
    async fn lag(&self, journal: &Journal) -> Result<i64> {
        let status = journal.status(Some(&*self.broker)).await?;
        if status.parked > 0 {
            bail!("{} could not take up {} events", status.service, status.parked);
        }
        let mut lag = status.recorded - status.published.context("the broker fails")?;
        for source in status.sources {
            lag += source.lag.context("the broker fails")?;
        }
        Ok(lag)
    }

    /// Ends what runs and leaves the store.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.trigger.request();
        while let Some(ended) = self.workers.join_next().await {
            ended?;
        }
        for journal in &self.journals {
            journal.database().close().await;
        }
        if let Some(file) = &self.file {
            file.close().await;
        }
        Ok(())
    }
}

impl Store {
    async fn database(&self, service: &str) -> Result<Database> {
        Ok(match self {
            Self::Files(folder) => Database::open(folder.join(format!("{service}.sqlite"))).await?,
            Self::Servers { databases, .. } => {
                let url = databases.get(service).context("a service without a database")?;
                Database::connect(url).await?
            }
        })
    }
}
