//! The forms in which the same system runs, and what each of them stands on.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use pillion_test_servers::{BUSY, Fleet, FleetOptions, FleetTls};

use crate::places;
use crate::system::cpu;
use crate::system::running::{KEY_FILE, Place, Running, UP, configuration};
use crate::system::services::Store;
use crate::workload::SECRET;

/// A form of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One process on files.
    Embedded,
    /// One process on `PostgreSQL`, NATS and Redis.
    Servers,
    /// A process for each service, and two of each busy one, on the same servers, without TLS.
    Plain,
    /// The same with certificates everywhere, as `cargo xtask up --fleet` starts it.
    Fleet,
}

/// What uses CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The one process of Pillion.
    Process,
    /// The processes of a service.
    Service(&'static str),
    /// The sessions of a service at `PostgreSQL`.
    Sessions(&'static str),
    /// What `PostgreSQL` does beside sessions: it writes, checkpoints, vacuums.
    Postgres,
    Nats,
    Redis,
}

/// CPU time by part.
pub(crate) type Cpu = BTreeMap<Part, Duration>;

/// The stores of some forms. They are filled once, and served by one form at a time.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    files: Option<Place>,
    plain: Option<Servers>,
    secure: Option<Servers>,
}

/// Servers with databases; its processes run when they are told to.
#[derive(Debug)]
struct Servers {
    fleet: Fleet,
    folder: tempfile::TempDir,
}

/// A running system.
#[derive(Debug)]
pub(crate) struct System<'a> {
    /// Where clients connect.
    pub(crate) urls: Vec<String>,
    processes: Processes<'a>,
}

#[derive(Debug)]
enum Processes<'a> {
    Embedded(Running),
    Servers(Running, &'a Servers),
    Fleet(&'a mut Servers),
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Servers => "servers",
            Self::Plain => "plain",
            Self::Fleet => "fleet",
        }
    }
}

impl Part {
    /// `PostgreSQL: tweets`.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Process => "Pillion".to_owned(),
            Self::Service(service) => format!("Pillion: {service}"),
            Self::Sessions(service) => format!("PostgreSQL: {service}"),
            Self::Postgres => "PostgreSQL: its own".to_owned(),
            Self::Nats => "NATS".to_owned(),
            Self::Redis => "Redis".to_owned(),
        }
    }

    /// The part of which it is one.
    pub(crate) fn whole(self) -> &'static str {
        match self {
            Self::Process | Self::Service(_) => "Pillion",
            Self::Sessions(_) | Self::Postgres => "PostgreSQL",
            Self::Nats => "NATS",
            Self::Redis => "Redis",
        }
    }
}

impl Stores {
    /// What these forms stand on, empty.
    pub(crate) async fn of(forms: &[Form]) -> Result<Self> {
        let mut stores = Self::default();
        for form in forms {
            match form {
                Form::Embedded => stores.files = Some(Place::new()?),
                Form::Servers | Form::Plain if stores.plain.is_some() => {}
                Form::Servers | Form::Plain => {
                    stores.plain = Some(Servers::start(FleetTls::None).await?);
                }
                Form::Fleet => stores.secure = Some(Servers::start(FleetTls::Services).await?),
            }
        }
        Ok(stores)
    }

    /// All of them, to be filled.
    pub(crate) fn all(&self) -> Vec<Store> {
        let servers = self.plain.iter().chain(&self.secure).map(Servers::store);
        self.files.iter().map(Place::store).chain(servers).collect()
    }

    /// Starts the system in a form; waits until it is ready.
    pub(crate) async fn start(&mut self, form: Form) -> Result<System<'_>> {
        let lacking = "a form without a store";
        match form {
            Form::Embedded => {
                let running = self.files.as_ref().context(lacking)?.start()?;
                let urls = vec![running.url.clone()];
                Ok(System { urls, processes: Processes::Embedded(running) })
            }
            Form::Servers => {
                let servers = self.plain.as_ref().context(lacking)?;
                let running = Running::start(servers.fleet.pillion(&UP), servers.folder.path())?;
                let urls = vec![running.url.clone()];
                Ok(System { urls, processes: Processes::Servers(running, servers) })
            }
            Form::Plain | Form::Fleet => {
                let servers = if form == Form::Plain { &mut self.plain } else { &mut self.secure };
                let servers = servers.as_mut().context(lacking)?;
                servers.fleet.launch().await;
                let urls = servers.fleet.urls();
                Ok(System { urls, processes: Processes::Fleet(servers) })
            }
        }
    }

    /// CPU time of the servers without certificates.
    pub(crate) fn servers_cpu(&self) -> Result<Cpu> {
        self.plain.as_ref().map_or_else(|| Ok(Cpu::new()), Servers::cpu)
    }
}

impl Servers {
    /// Starts the servers and makes empty databases.
    async fn start(tls: FleetTls) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // The servers run as somebody else, who must get to their own folders in it.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        fs::write(folder.path().join(KEY_FILE), SECRET)?;
        let options = FleetOptions {
            program: places::program()?,
            config: configuration()?,
            plugins: places::project().join("target/plugins"),
            folder: folder.path().to_owned(),
            twice: BUSY.to_vec(),
            spare: false,
            tls,
            usual_ports: false,
            network: None,
        };
        Ok(Self { fleet: Fleet::prepare(options).await, folder })
    }

    fn store(&self) -> Store {
        let databases = self.fleet.databases().clone();
        let ca = self.fleet.folder().join("certs/ca.pem");
        Store::Servers { databases, broker: self.fleet.nats.url(), ca }
    }

    fn cpu(&self) -> Result<Cpu> {
        let mut all = Cpu::new();
        let servers = [(Part::Nats, self.fleet.nats.pid()), (Part::Redis, self.fleet.redis.pid())];
        for (part, pid) in servers {
            all.insert(part, cpu::used(pid.context("a server has ended")?)?.own);
        }
        let postgres = self.fleet.postgres.pid().context("PostgreSQL has ended")?;
        let used = cpu::used(postgres)?;
        all.insert(Part::Postgres, used.own + used.children);
        for pid in cpu::children(postgres)? {
            let part = self.session(pid).map_or(Part::Postgres, Part::Sessions);
            // One that ended meanwhile counts with its parent's children the next time.
            if let Ok(used) = cpu::used(pid) {
                *all.entry(part).or_default() += used.own;
            }
        }
        Ok(all)
    }

    /// The service whose session a process of `PostgreSQL` is: its title has the database's name.
    fn session(&self, pid: u32) -> Option<&'static str> {
        let title = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let title = String::from_utf8_lossy(&title);
        let is_of = |url: &str| {
            let path = url.split('?').next().unwrap_or(url);
            let name = path.rsplit('/').next().unwrap_or(path);
            title.split([' ', '\0']).any(|word| word == name)
        };
        let mut databases = self.fleet.databases().iter();
        databases.find(|(_, url)| is_of(url)).map(|(service, _)| *service)
    }
}

impl System<'_> {
    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let process = |running: &Running| anyhow::Ok((Part::Process, running.cpu()?));
        match &self.processes {
            Processes::Embedded(running) => Ok(Cpu::from([process(running)?])),
            Processes::Servers(running, servers) => {
                let mut all = servers.cpu()?;
                all.extend([process(running)?]);
                Ok(all)
            }
            Processes::Fleet(servers) => {
                let mut all = servers.cpu()?;
                for host in servers.fleet.hosts().filter(|host| host.is_running()) {
                    let pid = host.pid().context("a process that runs has an id")?;
                    *all.entry(Part::Service(host.service())).or_default() += cpu::used(pid)?.own;
                }
                Ok(all)
            }
        }
    }

    /// Ends Pillion's processes in order; servers stay.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.processes {
            Processes::Embedded(running) | Processes::Servers(running, _) => running.stop(),
            Processes::Fleet(servers) => {
                servers.fleet.stop().await;
                Ok(())
            }
        }
    }
}

/// What was used between two moments.
pub(crate) fn since(before: &Cpu, now: &Cpu) -> Cpu {
    let used = |(part, now): (&Part, &Duration)| {
        (*part, now.saturating_sub(before.get(part).copied().unwrap_or_default()))
    };
    now.iter().map(used).collect()
}
