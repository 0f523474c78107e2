//! A process from its sockets to its end: everything that `up` and `serve` share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::middleware::from_fn_with_state;
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::{
    Database, InProcessPeers, Peers, ServerTls, ServiceTokens, Shutdown, Tls, TlsFiles, Worker,
};
use pillion_host::{Compiler, Host, HostOptions, Keyring, RedisTls, Revocations, StateBackend};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin::{self, Admin, AdminFile, Token};
use crate::certificates::Certificates;
use crate::cli::COMPILE;
use crate::compose::{self, Opened};
use crate::config::{Loaded, SERVICES, Server};
use crate::data::{DataDir, write_secret};
use crate::events::Events;
use crate::fleet_plugins::Follower;
use crate::keys::{self, KeySets};
use crate::reload::{Parts, Reloader};
use crate::saga::AllSagas;
use crate::seed;
use crate::serve::{
    Bounds, Front, Health, Listening, ProcessMetrics, Proxies, Streams, controller, serve,
};
use crate::storage::Schema;
use crate::token_checks::{Identity, TokenChecks, only_services, verifier};
use crate::vitals::Vitals;
use crate::workers::{WorkerBoard, Workers, watch_databases};

/// What is left for the operator's requests when the clients' drain took all of its time.
const OPERATOR_END: Duration = Duration::from_secs(1);

/// How long connections wait for a process that does not know identity's keys yet: half of what
/// callers give a service to answer.
const KEYS_TIME_MAX: Duration = Duration::from_millis(2_500);

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

    /// Whether clients connect to it, and not only other services.
    pub(crate) fn faces_clients(&self) -> bool {
        self.services().first() == SERVICES.first()
    }

    pub(crate) fn one(&self) -> Option<&'static str> {
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
    /// Health and metrics, where an address for them is configured.
    probe: Option<(TcpListener, Arc<Front>)>,
    /// What the public port shows.
    tls: Option<Tls>,
    /// What stands before the public port.
    proxies: Proxies,
    pub(crate) admin_file: PathBuf,
    ready: watch::Sender<bool>,
    /// Whether tokens can be checked.
    keys_known: watch::Receiver<bool>,
    /// Whether it is known which tokens are revoked.
    revocations_known: watch::Receiver<bool>,
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
    /// Each of `hangups` has the configuration read again.
    #[expect(
        clippy::too_many_lines,
        reason = "what a process consists of, in the order of its start"
    )]
    pub(crate) async fn start(
        loaded: &Loaded,
        part: Part,
        seed: bool,
        hangups: Signal,
    ) -> Result<Self> {
        let server = loaded.config.server.clone();
        let data = DataDir::open(&server.data, part.services())?;
        let Sockets { public, operator, probe } = Sockets::bind(&server).await?;
        let certificates = Certificates::open(loaded, part)?;
        if seed {
            plan_seed(loaded, part, &data)?;
        }
        let shutdown = Shutdown::new();

        let in_process = matches!(part, Part::All(_)).then(|| Arc::new(InProcessPeers::new()));
        let listens = public.local_addr()?;
        let service_keys = keys::of_services(loaded, &data)?;
        let own_name = part.one().unwrap_or("gateway");
        let own_tokens = compose::service_tokens(own_name, loaded, &service_keys)?;
        let (peers, health_checks) =
            reach(loaded, part, listens, in_process.as_ref(), &certificates, &own_tokens)?;
        let names = part.services();
        let Opened { services, databases, identity } =
            compose::open(names, loaded, &data, &peers, &service_keys, Schema::Start).await?;

        let plain = certificates.listener().is_none();
        // A plain listener of a service that does not face clients: only services call it.
        let guard = (plain && !part.faces_clients()).then(|| verifier(loaded, &service_keys));
        let source = Identity { handle: identity.as_ref(), peers, tokens: own_tokens };
        let checks = TokenChecks::follow(loaded, service_keys, source)?;
        let TokenChecks { keyring, keysets, revocations, status: revocation_status, .. } = checks;
        let (host, follower) = start_host(loaded, &data, part, keyring, revocations).await?;
        let (follower, fleet_plugins) =
            follower.map(|follower| follower.worker(host.clone())).unzip();

        let bounds = Bounds::of(&server);
        let metrics = Arc::new(ProcessMetrics::default());
        let streams = Arc::new(Streams::new(&server, metrics.clone()));
        let near = in_process.as_deref();
        let protected = compose::protect_all(services, &host, bounds, near, &streams)?;
        let events = Events::new(protected.journals, loaded, &data, part.one()).await?;
        let (database_worker, databases_well) = watch_databases(databases.clone());
        let (ready, serving) = watch::channel(false);
        let board = WorkerBoard::default();
        let health = Health { serving, databases: databases_well, workers: board.clone() };
        let router = match guard {
            None => protected.front.clone(),
            Some(guard) => protected.front.clone().layer(from_fn_with_state(guard, only_services)),
        };
        let front = Front::new(router, &server, health.clone(), metrics.clone())?
            .facing_clients(part.faces_clients());

        let follows_fleet = fleet_plugins.is_some();
        let parts = parts(part, &host, &data, keysets, &certificates, follows_fleet);
        let reloader = Reloader::new(loaded, parts);

        let token = Token::new()?;
        let admin_token = token.as_str().to_owned();
        let admin = Arc::new(Admin {
            host: host.clone(),
            token,
            vitals: Vitals::new(health.clone(), front.admission(), data.path().to_owned()),
            process: metrics.clone(),
            services: protected.metrics,
            events: events.clone(),
            sagas: AllSagas::new(protected.sagas),
            certificates: certificates.clone(),
            fleet_plugins,
            workers: board.clone(),
            reloader: reloader.clone(),
            identity: identity.clone(),
            revocations: revocation_status,
        });
        let probes = admin::probes(Arc::clone(&admin));
        let probes = Arc::new(Front::new(probes, &server, health.clone(), metrics.clone())?);
        let probe = probe.map(|listener| (listener, probes));
        let admin_front = Front::new(admin::router(admin), &server, health, metrics)?;

        let admission = controller(front.admission(), databases.clone());
        let own = [database_worker, admission, reloader.worker(hangups)];
        let own = checks.workers.into_iter().chain(own).chain(health_checks);
        let own = own.chain(certificates.workers()).chain(follower);
        let all = protected.workers.into_iter().chain(events.workers()).chain(own);
        let workers = Workers::start(all, &board, &shutdown.1);
        let admin_url = format!("http://{}", operator.local_addr()?);
        let admin_file = data.join(admin::file_name(part.one()));
        write_admin_file(&admin_file, &admin_url, &admin_token)?;
        let tls = certificates.listener();
        // Services are called by each other, without a proxy.
        let proxies = if part.faces_clients() { server.proxies() } else { Proxies::default() };
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Self {
            url: format!("{scheme}://{}", public.local_addr()?),
            admin_url,
            admin_token,
            data,
            front: protected.front,
            identity,
            server,
            public: (public, Arc::new(front)),
            operator: (operator, Arc::new(admin_front)),
            probe,
            tls,
            proxies,
            admin_file,
            ready,
            keys_known: checks.keys_known,
            revocations_known: checks.revocations_known,
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
            let (server, shutdown) = (server.clone(), shutdown.clone());
            Listening { listener, front, server, shutdown, tls: None, proxies: Proxies::default() }
        };
        let (tls, proxies) = (self.tls, self.proxies);
        let public = Listening { tls, proxies, ..listening(self.public, &shutdown) };
        // The operator can look on until the last client is served.
        let (operator_trigger, operator_shutdown) = Shutdown::new();
        let mut operator = tokio::spawn(serve(listening(self.operator, &operator_shutdown)));
        // So can whoever asks whether the process still runs, until its end.
        let (_probe_trigger, probe_shutdown) = Shutdown::new();
        if let Some(probe) = self.probe {
            tokio::spawn(serve(listening(probe, &probe_shutdown)));
        }
        // Without identity's keys every good token would be refused, and who comes back from that
        // has thrown the token away: so connections wait in the listener's queue until the keys are
        // there, or for as long as a caller has patience.
        let (mut keys_known, mut revocations_known) = (self.keys_known, self.revocations_known);
        let mut known = pin!(async {
            // An error says that a worker has ended, which is logged.
            let _ = keys_known.wait_for(|known| *known).await;
            let _ = revocations_known.wait_for(|known| *known).await;
        });
        let mut begun = tokio::select! {
            known = tokio::time::timeout(KEYS_TIME_MAX, &mut known) => known.is_ok().then_some(true),
            () = signals.stop() => Some(false),
        };
        let public = tokio::spawn(serve(public));
        if begun.is_none() {
            begun = tokio::select! {
                () = &mut known => Some(true),
                () = signals.stop() => Some(false),
            };
        }
        let begun = begun.unwrap_or(false);
        ready.send_replace(begun);
        let announced = if begun { announce() } else { Ok(()) };

        let mut delay = Duration::ZERO;
        if announced.is_ok() && begun {
            signals.stop().await;
            tracing::info!(
                deadline_ms = server.drain_deadline_ms,
                "draining; once more ends it now"
            );
            delay = Duration::from_millis(server.drain_delay_ms);
        }
        ready.send_replace(false);
        let drained = Instant::now() + delay + Duration::from_millis(server.drain_deadline_ms);
        let ended = async {
            // Callers see that it is not ready and turn to others. Until they have, they are
            // answered, each connection one last time.
            tokio::time::sleep(delay).await;
            trigger.request();
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

/// Marks data that is new as to be seeded. Others may be at a server's databases, and the
/// demonstration's accounts are nobody's to make there.
fn plan_seed(loaded: &Loaded, part: Part, data: &DataDir) -> Result<()> {
    let embedded = part.services().iter().all(|name| loaded.database_url(name).is_none());
    if embedded { seed::plan(data) } else { Ok(()) }
}

/// What a reload works with.
fn parts(
    part: Part,
    host: &Host,
    data: &DataDir,
    keysets: KeySets,
    certificates: &Certificates,
    follows_fleet: bool,
) -> Parts {
    Parts {
        services: part.services().to_vec(),
        host: host.clone(),
        outputs: data.path().to_owned(),
        keysets,
        certificates: certificates.clone(),
        follows_fleet,
    }
}

/// What the process listens at.
struct Sockets {
    public: TcpListener,
    operator: TcpListener,
    probe: Option<TcpListener>,
}

impl Sockets {
    async fn bind(server: &Server) -> Result<Self> {
        Ok(Self {
            public: bind(server.listen, "--listen").await?,
            operator: bind(server.admin_listen, "--admin-listen").await?,
            probe: match server.probe_listen {
                Some(address) => Some(bind(address, "--probe-listen").await?),
                None => None,
            },
        })
    }
}

/// The services as they call each other, and what looks after those that are elsewhere.
fn reach(
    loaded: &Loaded,
    part: Part,
    listens: SocketAddr,
    in_process: Option<&Arc<InProcessPeers>>,
    certificates: &Certificates,
    tokens: &Arc<ServiceTokens>,
) -> Result<(Arc<dyn Peers>, Option<Worker>)> {
    match (in_process, part) {
        (Some(peers), _) => {
            let peers: Arc<dyn Peers> = peers.clone();
            Ok((peers, None))
        }
        (None, Part::One(name)) => {
            let peers =
                compose::http_peers(name, listens, loaded, certificates.peers(), tokens.clone())?;
            let health_checks = peers.health_checks();
            let peers: Arc<dyn Peers> = Arc::new(peers);
            Ok((peers, Some(health_checks)))
        }
        (None, Part::All(_)) => bail!("every service is in this process"),
    }
}

fn write_admin_file(path: &Path, url: &str, token: &str) -> Result<()> {
    let contents =
        AdminFile { url: url.to_owned(), token: token.to_owned(), pid: std::process::id() };
    write_secret(path, &serde_json::to_string_pretty(&contents)?)
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

/// The host with its plugins, and what follows the fleet's document when there is one.
async fn start_host(
    loaded: &Loaded,
    data: &DataDir,
    part: Part,
    keyring: Keyring,
    revocations: Revocations,
) -> Result<(Host, Option<Follower>)> {
    let folder = match part {
        Part::All(_) => "host".to_owned(),
        Part::One(name) => format!("host-{name}"),
    };
    let generation = loaded.generation(part.services());
    let state_dir = data.join(folder);
    let mut options = host_options(loaded, part.one(), &state_dir, data.path(), keyring)?;
    options.revocations = revocations;
    let options = options.sized_for(&generation, usize::try_from(loaded.config.server.requests)?);
    // Compiling takes seconds on a first start.
    let follower = Follower::open(loaded, part.services(), &state_dir).await?;
    let own = follower.is_none().then(|| generation.clone());
    let started = tokio::task::spawn_blocking(move || {
        let host = Host::new(options)?;
        if let Some(generation) = own {
            host.start(generation)?;
        }
        anyhow::Ok(host)
    });
    let host = started.await.context("loading the plugins failed")??;
    let Some(mut follower) = follower else {
        return Ok((host, None));
    };
    follower.start(&host, generation).await?;
    Ok((host, Some(follower)))
}

/// What the host of a service, or of all, stands on. Relative sinks are in `outputs`.
pub(crate) fn host_options(
    loaded: &Loaded,
    service: Option<&str>,
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
    let ServerTls { ca, client, .. } = loaded.server_tls(service);
    let client = client.map(|TlsFiles { certificate, key }| (certificate, key));
    options.redis_tls = RedisTls { ca, client };
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

/// SIGTERM and SIGINT, which end the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// SIGHUP. From here on it does not end the process.
pub(crate) fn hangups() -> Result<Signal> {
    signal(SignalKind::hangup()).context("cannot listen for signals")
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
