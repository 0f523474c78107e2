//! Pillion as many processes: each service its own, some of them twice, on servers of their own.
//!
//! Everything is in one folder: the configuration, which all processes share, a data folder and a
//! log for each process, and the servers' folders, which go with them.

mod host;
mod settings;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

pub use host::Host;
pub use settings::with_key;

use self::host::Spec;
use self::settings::Made;
use self::watch::Watch;
use crate::network::Network;
use crate::place::Place;
use crate::postgres::secret;
use crate::{Nats, Postgres, PostgresOptions, Redis, ServerFiles, ServerOptions, port};

/// The services, the one that faces clients first, and their usual ports.
pub const SERVICES: [(&str, u16); 9] = [
    ("gateway", 8080),
    ("identity", 8082),
    ("users", 8083),
    ("tweets", 8084),
    ("graph", 8085),
    ("engagements", 8086),
    ("timelines", 8087),
    ("search", 8088),
    ("notifications", 8089),
];

/// Those that have the most to do.
pub const BUSY: [&str; 5] = ["gateway", "tweets", "timelines", "users", "graph"];

/// Between the usual ports of the first process of a service and of the second, and between a
/// process's own and its operators'.
const SECOND: u16 = 100;
const OPERATORS: u16 = 1_000;

/// The ports of whoever has an address for itself.
const OWN_PORTS: (u16, u16) = (8080, 8081);

/// Which connections within a fleet are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FleetTls {
    /// None.
    None,
    /// Those between services.
    Services,
    /// Those, and those to the servers, which then ask for passwords, too.
    Everything,
}

/// What a fleet is made of.
#[derive(Debug)]
pub struct FleetOptions {
    /// The program `pillion`.
    pub program: PathBuf,
    /// The configuration that theirs is made of, such as the project's.
    pub config: String,
    /// The folder with the plugins' components.
    pub plugins: PathBuf,
    /// Where everything is; it must be there.
    pub folder: PathBuf,
    /// Services with two processes.
    pub twice: Vec<&'static str>,
    /// Whether callers know a second address of the other services, too, where a process may take
    /// over.
    pub spare: bool,
    /// Who shows certificates; clients need none for the gateway.
    pub tls: FleetTls,
    /// Whether processes have the services' usual ports where those are free.
    pub usual_ports: bool,
    /// A network in which every process and every server is a part of its own.
    pub network: Option<Arc<Network>>,
}

/// Processes and servers; they end when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    hosts: BTreeMap<(&'static str, u8), Host>,
    /// The databases.
    pub postgres: Postgres,
    /// The broker.
    pub nats: Nats,
    /// What plugins share.
    pub redis: Redis,
    config: PathBuf,
    databases: BTreeMap<&'static str, String>,
    program: PathBuf,
    folder: PathBuf,
    _watch: Watch,
}

impl Fleet {
    /// Starts the servers, makes the databases ready, and starts every process that `options` ask
    /// for; waits until all are ready.
    pub async fn start(options: FleetOptions) -> Self {
        let mut fleet = Self::prepare(options).await;
        fleet.launch().await;
        fleet
    }

    /// Everything but the processes of Pillion: [`Self::launch`] starts those.
    pub async fn prepare(options: FleetOptions) -> Self {
        let FleetOptions { program, folder, network, twice, .. } = &options;
        let place = || network.as_ref().map_or_else(Place::default, |network| network.place());
        let within = folder.join("servers");
        fs::create_dir_all(&within).unwrap_or_else(|error| {
            panic!("cannot make the folder {}: {error}", within.display());
        });
        let places = [place(), place(), place()];
        let certificates = folder.join("certs");
        certify(&options, &certificates, &places);
        let server = |name: &str, place: Place| ServerOptions {
            within: Some(within.clone()),
            place,
            tls: (options.tls == FleetTls::Everything)
                .then(|| ServerFiles::of(&certificates, name)),
            password: (options.tls == FleetTls::Everything).then(secret),
            arguments: Vec::new(),
        };
        let [postgres, nats, redis] = places;
        let (postgres, nats, redis) = (
            Postgres::start(PostgresOptions { fsync: true, server: server("postgres", postgres) })
                .await,
            Nats::start_with(server("nats", nats)).await,
            Redis::start_with(server("redis", redis)).await,
        );
        let mut databases = BTreeMap::new();
        for (service, _) in SERVICES.into_iter().skip(1) {
            databases.insert(service, postgres.database().await);
        }
        let watch = Watch::new(&folder.join("processes"));
        let config = folder.join("pillion.toml");
        let mut hosts = BTreeMap::new();
        let mut addresses: BTreeMap<&str, Vec<SocketAddr>> = BTreeMap::new();
        for (service, usual) in SERVICES {
            for copy in 1..=2 {
                let runs = copy == 1 || twice.contains(&service);
                if !runs && !options.spare {
                    continue;
                }
                let place = place();
                let usual = options.usual_ports.then_some(usual + SECOND * u16::from(copy - 1));
                let (listen, admin_listen) = ports(&place, usual);
                addresses.entry(service).or_default().push(listen);
                let scheme = scheme(service, options.tls);
                let spec = Spec {
                    service,
                    copy,
                    scheme,
                    place,
                    listen,
                    admin_listen,
                    program: program.clone(),
                    config: config.clone(),
                    folder: folder.clone(),
                    environment: databases.get(service).map(|url| variable(service, url)),
                };
                hosts.insert((service, copy), Host::new(spec, runs, watch.folder()));
            }
        }
        let key = folder.join("service.key");
        let encryption_key = folder.join("key-encryption.key");
        let made = Made {
            addresses,
            service_key: &key,
            encryption_key: &encryption_key,
            certificates: &certificates,
        };
        let text = settings::text(&options, &made, &nats.url(), &redis.url());
        fs::write(&config, text).expect("a file in a folder of ours");
        let fleet = Self {
            hosts,
            postgres,
            nats,
            redis,
            config,
            databases,
            program: program.clone(),
            folder: folder.clone(),
            _watch: watch,
        };
        make_key(program, ["certs", "service-key"], &key);
        make_key(program, ["keys", "encryption-key"], &encryption_key);
        succeeds(&mut fleet.pillion(&["migrate"]));
        fleet
    }

    /// Makes the configuration's plugins the set that all processes run, where `fleet.plugins` names
    /// a place for it.
    pub fn publish_plugins(&self) {
        let mut publish = Command::new(&self.program);
        publish.args(["plugin", "publish", "--fleet", "--config"]).arg(&self.config);
        succeeds(&mut publish);
    }

    /// Starts every process that is one of the fleet and does not run. The first one of each kind
    /// compiles the plugins for the others.
    pub async fn launch(&mut self) {
        self.launch_some(|host| host.is("identity", 1)).await;
        self.warm("identity", |host| host.service() != "gateway");
        self.launch_some(|host| !host.is("gateway", 2)).await;
        self.warm("gateway", |host| host.service() == "gateway");
        self.launch_some(|_| true).await;
    }

    async fn launch_some(&mut self, which: impl Fn(&Host) -> bool) {
        let hosts = self.hosts.values_mut();
        let due = |host: &&mut Host| host.is_member() && !host.is_running() && which(host);
        let mut started: Vec<_> = hosts.filter(due).collect();
        for host in &mut started {
            host.launch();
        }
        for host in started {
            host.ready().await;
        }
    }

    /// Gives what the first process of a service has compiled to others.
    fn warm(&self, service: &str, which: impl Fn(&Host) -> bool) {
        let Some(first) = self.hosts.values().find(|host| host.is(service, 1)) else {
            return;
        };
        for host in self.hosts.values().filter(|host| which(host)) {
            host.warm(first);
        }
    }

    /// Ends every process in order, those that face clients first.
    pub async fn stop(&mut self) {
        for (service, _) in SERVICES {
            for copy in 1..=2 {
                if let Some(host) = self.hosts.get_mut(&(service, copy))
                    && host.is_running()
                {
                    host.end();
                }
            }
        }
        for host in self.hosts.values_mut().filter(|host| host.is_running()) {
            host.ended().await;
        }
    }

    /// `kill -9` of every process.
    pub fn kill(&mut self) {
        for host in self.hosts.values_mut().filter(|host| host.is_running()) {
            host.kill();
        }
    }

    /// A process; `copy` is 1 or 2.
    pub fn host(&mut self, service: &str, copy: u8) -> &mut Host {
        let known =
            self.hosts.iter_mut().find(|((name, number), _)| *name == service && *number == copy);
        known.map_or_else(|| panic!("there is no process {service}-{copy}"), |(_, host)| host)
    }

    /// All processes, those of the gateway among them.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The same, to be changed.
    pub fn hosts_mut(&mut self) -> impl Iterator<Item = &mut Host> {
        self.hosts.values_mut()
    }

    /// Where clients connect.
    pub fn urls(&self) -> Vec<String> {
        let gateways = self.hosts.values().filter(|host| host.service() == "gateway");
        gateways.filter(|host| host.is_member()).map(Host::url).collect()
    }

    /// `pillion` with the fleet's configuration and all of its databases: a command and its
    /// arguments.
    pub fn pillion(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--config").arg(&self.config);
        command.arg("--data").arg(self.folder.join("data/operator"));
        command.envs(self.databases.iter().map(|(service, url)| variable(service, url)));
        command.stdin(Stdio::null());
        command
    }

    /// The URL of each service's database.
    pub fn databases(&self) -> &BTreeMap<&'static str, String> {
        &self.databases
    }

    /// The configuration of all processes.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The program that they are.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The certificates that `options` ask for. An authority of an earlier run in this folder is as good
/// as a new one.
fn certify(options: &FleetOptions, folder: &Path, servers: &[Place]) {
    if options.tls == FleetTls::None {
        return;
    }
    let within = ["--dir", &folder.display().to_string()];
    let certs = |arguments: &[&str]| {
        succeeds(Command::new(&options.program).arg("certs").args(arguments).args(within));
    };
    if !folder.exists() {
        certs(&["init"]);
        let services = SERVICES.map(|(service, _)| service);
        certs(&[&["issue"], &services[..]].concat());
    }
    let addresses: Vec<String> =
        servers.iter().map(|place| format!("--ip={}", place.address())).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    certs(&[&["issue", "postgres", "nats", "redis"], &addresses[..]].concat());
}

fn succeeds(command: &mut Command) {
    let program = command.get_program().to_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot start {}: {error}", program.display());
    });
    let said = String::from_utf8_lossy(&output.stderr);
    // Not the command itself: its variables hold passwords.
    let what = command.get_args().next().unwrap_or_default().to_string_lossy();
    assert!(output.status.success(), "`pillion {what}` failed:\n{said}");
}

/// How a process is spoken to: clients come to the gateway, and to the others only services.
fn scheme(service: &str, tls: FleetTls) -> &'static str {
    if tls != FleetTls::None && service != "gateway" { "https" } else { "http" }
}

/// The variable with a service's database.
fn variable(service: &str, url: &str) -> (String, String) {
    (format!("PILLION_DATABASE_{}", service.to_uppercase()), url.to_owned())
}

/// Where a process listens, for others and for operators.
fn ports(place: &Place, usual: Option<u16>) -> (SocketAddr, SocketAddr) {
    let at = |port| SocketAddr::V4(SocketAddrV4::new(place.address(), port));
    if !place.is_here() {
        let loopback = SocketAddrV4::new(Ipv4Addr::LOCALHOST, OWN_PORTS.1);
        return (at(OWN_PORTS.0), SocketAddr::V4(loopback));
    }
    let near = |usual: Option<u16>| {
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        usual.filter(free).unwrap_or_else(port::free)
    };
    (at(near(usual)), at(near(usual.map(|port| port + OPERATORS))))
}

/// Has the program make a file with a key; one of an earlier run in this folder is as good.
fn make_key(program: &Path, command: [&str; 2], file: &Path) {
    if !file.exists() {
        succeeds(Command::new(program).args(command).arg(file));
    }
}
