//! A process from its sockets to its end: everything that `up` and `serve` share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::{Database, InProcessPeers, Peers, Shutdown};
use pillion_host::{Compiler, Host, HostOptions, Keyring, StateBackend};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin::{self, Admin, AdminFile, Token};
use crate::cli::COMPILE;
use crate::compose::{self, Opened};
use crate::config::{Loaded, Server};
use crate::data::{DataDir, write_secret};
use crate::events::Events;
use crate::keys;
use crate::seed;
use crate::serve::{Bounds, Front, Health, Listening, ProcessMetrics, serve};
use crate::storage::Schema;
use crate::workers::{Workers, watch_databases};

/// What is left for the operator's requests when the clients' drain took all of its time.
const OPERATOR_END: Duration = Duration::from_secs(1);

/// Databases get this long to end what is under way and to fold their logs into their files.
const DATABASES_END: Duration = Duration::from_secs(5);

/// Which part of the system this process is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Every service, the one that faces clients first.
    All(&'static [&'static str]),
    /// One; the others are elsewhere.
    One(&'static str),
}

impl Part {
    fn services(&self) -> &[&'static str] {
        match self {
            Self::All(names) => names,
            Self::One(name) => std::slice::from_ref(name),
        }
    }

    fn one(&self) -> Option<&'static str> {
        match self {
            Self::All(_) => None,
            Self::One(name) => Some(name),
        }
    }
}

/// A process that is ready to run.
pub(crate) struct Process {
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) admin_token: String,
    pub(crate) data: DataDir,
    /// Answers like the public port; for what the process asks of itself.
    pub(crate) front: Router,
    /// When identity runs in this process.
    pub(crate) identity: Option<pillion_identity::Handle>,
    server: Server,
    public: (TcpListener, Arc<Front>),
    operator: (TcpListener, Arc<Front>),
    pub(crate) admin_file: PathBuf,
    ready: watch::Sender<bool>,
    shutdown: (ShutdownTrigger, Shutdown),
    workers: Workers,
    peers: Option<Arc<InProcessPeers>>,
    databases: Vec<Database>,
    host: Host,
}

impl Process {
    /// Checks, locks, binds, opens, loads, in this order: the cheap and the likely to fail come
    /// first, and nothing is answered before everything stands.
    /// With `seed`, data that is new is marked as to be seeded.
    pub(crate) async fn start(loaded: &Loaded, part: Part, seed: bool) -> Result<Self> {
        let server = loaded.config.server.clone();
        let data = DataDir::open(&server.data, part.services())?;
        let public = bind(server.listen, "--listen").await?;
        let operator = bind(server.admin_listen, "--admin-listen").await?;
        // Others may be at a server's databases, and the demonstration's accounts are nobody's to
        // make there.
        let embedded = (part.services().iter()).all(|name| loaded.database_url(name).is_none());
        if seed && embedded {
            seed::plan(&data)?;
        }
        let shutdown = Shutdown::new();

        let in_process = matches!(part, Part::All(_)).then(|| Arc::new(InProcessPeers::new()));
        let mut health_checks = None;
        let peers: Arc<dyn Peers> = match (&in_process, part) {
            (Some(peers), _) => peers.clone(),
            (None, Part::One(name)) => {
                let peers = compose::http_peers(name, loaded)?;
                health_checks = Some(peers.health_checks());
                Arc::new(peers)
            }
            (None, Part::All(_)) => bail!("every service is in this process"),
        };
        let Opened { services, databases, identity } =
            compose::open(part.services(), loaded, &data, &peers, Schema::Start).await?;

        let keyring = Keyring::default();
        let source = match &identity {
            Some(handle) => keys::Source::Handle(handle.clone()),
            None => keys::Source::Peers(peers),
        };
        let key_worker = keys::follow(loaded, &keyring, source)?;
        let host = start_host(loaded, &data, part, keyring).await?;

        let bounds = Bounds::of(&server);
        let protected = compose::protect_all(services, &host, bounds, in_process.as_deref())?;
        let events = Events::new(protected.journals, loaded, &data).await?;
        let metrics = Arc::new(ProcessMetrics::default());
        let (database_worker, databases_well) = watch_databases(databases.clone());
        let (ready, serving) = watch::channel(false);
        let health = Health { serving, databases: databases_well };
        let front = Front::new(protected.front.clone(), &server, health.clone(), metrics.clone())?;

        let token = Token::new()?;
        let admin_token = token.as_str().to_owned();
        let admin = Admin {
            host: host.clone(),
            token,
            process: metrics.clone(),
            services: protected.metrics,
            events: events.clone(),
        };
        let admin_front = Front::new(admin::router(admin), &server, health, metrics)?;

        let own = [key_worker, database_worker].into_iter().chain(health_checks);
        let all = protected.workers.into_iter().chain(events.workers()).chain(own);
        let workers = Workers::start(all, &shutdown.1);
        let admin_url = format!("http://{}", operator.local_addr()?);
        let admin_file = data.join(admin::file_name(part.one()));
        let contents = AdminFile {
            url: admin_url.clone(),
            token: admin_token.clone(),
            pid: std::process::id(),
        };
        write_secret(&admin_file, &serde_json::to_string_pretty(&contents)?)?;
        Ok(Self {
            url: format!("http://{}", public.local_addr()?),
            admin_url,
            admin_token,
            data,
            front: protected.front,
            identity,
            server,
            public: (public, Arc::new(front)),
            operator: (operator, Arc::new(admin_front)),
            admin_file,
            ready,
            shutdown,
            workers,
            peers: in_process,
            databases,
            host,
        })
    }

    /// Serves until a signal, drains, and ends everything in the reverse order of its start.
    /// `announce` runs once connections are accepted.
    pub(crate) async fn run(
        self,
        mut signals: Signals,
        announce: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let Self { server, ready, shutdown: (trigger, shutdown), workers, .. } = self;
        let listening = |(listener, front): (TcpListener, Arc<Front>), shutdown: &Shutdown| {
            Listening { listener, front, server: server.clone(), shutdown: shutdown.clone() }
        };
        let public = tokio::spawn(serve(listening(self.public, &shutdown)));
        // The operator can look on until the last client is served.
        let (operator_trigger, operator_shutdown) = Shutdown::new();
        let mut operator = tokio::spawn(serve(listening(self.operator, &operator_shutdown)));
        ready.send_replace(true);
        let announced = announce();

        if announced.is_ok() {
            signals.stop().await;
            tracing::info!(
                deadline_ms = server.drain_deadline_ms,
                "draining; once more ends it now"
            );
        }
        ready.send_replace(false);
        trigger.request();
        let drained = Instant::now() + Duration::from_millis(server.drain_deadline_ms);
        let ended = async {
            let cut = public.await.context("the server failed")?;
            if cut > 0 {
                tracing::warn!(connections = cut, "the drain's deadline cut connections");
            }
            workers.end().await;
            operator_trigger.request();
            // The drain is one for both; an operator's last look takes no time.
            let deadline = drained.max(Instant::now() + OPERATOR_END);
            match tokio::time::timeout_at(deadline, &mut operator).await {
                Ok(ended) => ended.map(drop).context("the admin server failed")?,
                Err(_) => operator.abort(),
            }
            anyhow::Ok(())
        };
        let ended = tokio::select! {
            ended = ended => ended,
            () = signals.stop() => Err(anyhow::anyhow!("ended by a second signal, without draining")),
        };
        // A file that names a process which is gone misleads.
        if let Err(error) = std::fs::remove_file(&self.admin_file) {
            tracing::debug!(%error, "the admin file was gone already");
        }
        if let Some(peers) = self.peers {
            peers.clear();
        }
        drop(self.front);
        let closed = async {
            for database in &self.databases {
                database.close().await;
            }
        };
        if tokio::time::timeout(DATABASES_END, closed).await.is_err() {
            // Everything that was acknowledged is in them or in their logs.
            tracing::warn!("the databases did not close in time; the next start tidies them up");
        }
        self.host.flush_sinks();
        announced.and(ended)
    }
}

/// One address in words that say what to do when it cannot be had.
async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {} is in use by another program: stop it, or take another port with {flag} \
             {}:0, which picks a free one",
            address.port(),
            address.ip()
        ),
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "port {} is for the system administrator only: take one above 1023 with {flag} {}:0, \
             which picks a free one",
            address.port(),
            address.ip()
        ),
        _ => anyhow::anyhow!(
            "cannot listen on {address}: {error}; give an address of this machine with {flag} \
             127.0.0.1:0"
        ),
    })
}

async fn start_host(loaded: &Loaded, data: &DataDir, part: Part, keyring: Keyring) -> Result<Host> {
    let folder = match part {
        Part::All(_) => "host".to_owned(),
        Part::One(name) => format!("host-{name}"),
    };
    let generation = loaded.generation(part.services());
    let options = host_options(loaded, &data.join(folder), data.path(), keyring)?
        .sized_for(&generation, usize::try_from(loaded.config.server.requests)?);
    // Compiling takes seconds on a first start.
    let started = tokio::task::spawn_blocking(move || {
        let host = Host::new(options)?;
        host.start(generation)?;
        anyhow::Ok(host)
    });
    started.await.context("loading the plugins failed")?
}

/// What the host stands on. Relative sinks are in `outputs`.
pub(crate) fn host_options(
    loaded: &Loaded,
    state_dir: &Path,
    outputs: &Path,
    keyring: Keyring,
) -> Result<HostOptions> {
    let mut options = HostOptions::new(state_dir);
    options.workers = loaded.workers();
    let sinks = loaded.config.sinks.iter();
    options.sinks = sinks.map(|(name, sink)| (name.clone(), sink.spec(outputs))).collect();
    options.keyring = keyring;
    let state = &loaded.config.state;
    options.kv = state_backend(loaded, "kv", &state.kv, state_dir)?;
    options.limiter = state_backend(loaded, "limiter", &state.limiter, state_dir)?;
    options.compiler = compiler()?;
    Ok(options)
}

fn state_backend(loaded: &Loaded, key: &str, text: &str, state_dir: &Path) -> Result<StateBackend> {
    StateBackend::parse(text, state_dir)
        .map_err(|reason| anyhow::anyhow!("{}: state.{key}: {reason}", loaded.name))
}

/// Components are strangers' code: they are compiled in a child with limits.
pub(crate) fn compiler() -> Result<Compiler> {
    Ok(Compiler::Child {
        program: std::env::current_exe().context("cannot find this program's own file")?,
        arguments: vec![COMPILE.to_owned()],
    })
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they end nothing by themselves.
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
