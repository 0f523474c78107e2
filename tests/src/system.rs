//! A system as an operator starts it: `pillion up` as a process of its own, in a folder of its
//! own, on free ports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use pillion_test_servers::{Fleet, Nats, Postgres, PostgresOptions};
use serde_json::{Value, json};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::client::Client;
use crate::{build, fleet, token};

/// The first start seeds accounts, whose passwords take time to hash on a busy machine.
const READY_DEADLINE: Duration = Duration::from_mins(2);
/// The system picks a port.
pub const FREE: &str = "127.0.0.1:0";

/// More than the drain deadline.
const EXIT_DEADLINE: Duration = Duration::from_secs(30);

/// Servers for a system that has outgrown files: a `PostgreSQL` with a database for each service,
/// and a NATS.
#[derive(Debug)]
pub struct Servers {
    /// All databases.
    pub postgres: Postgres,
    /// The broker.
    pub nats: Nats,
    environment: Vec<(String, String)>,
}

impl Servers {
    /// Starts them, with everything on the disk that they acknowledge.
    pub async fn start() -> Self {
        const SERVICES: [&str; 9] = [
            "gateway",
            "identity",
            "users",
            "tweets",
            "graph",
            "engagements",
            "timelines",
            "search",
            "notifications",
        ];
        let postgres =
            Postgres::start(PostgresOptions { fsync: true, ..PostgresOptions::default() }).await;
        let nats = Nats::start().await;
        let mut environment = Vec::new();
        for service in SERVICES {
            let variable = format!("PILLION_DATABASE_{}", service.to_uppercase());
            environment.push((variable, postgres.database().await));
        }
        Self { postgres, nats, environment }
    }

    /// The URL of each service's database, by service.
    pub fn database_urls(&self) -> BTreeMap<String, String> {
        let service = |variable: &str| {
            variable.strip_prefix("PILLION_DATABASE_").map(str::to_ascii_lowercase)
        };
        let urls = self.environment.iter();
        urls.filter_map(|(variable, url)| Some((service(variable)?, url.clone()))).collect()
    }
}

/// The fleet that the tests of a program take turns with, and its configuration as it was made.
static SHARED: Mutex<Option<(Fleet, String)>> = Mutex::const_new(None);

/// A running `pillion up`, which is killed when this is dropped; or the same as a fleet, which is
/// somebody else's then.
#[derive(Debug)]
pub struct System {
    child: Option<Child>,
    fleet: Option<MappedMutexGuard<'static, Fleet>>,
    config: PathBuf,
    /// For the program, at every start.
    environment: Vec<(String, String)>,
    /// The size of the disk that the data folder is, when it has one of its own.
    disk: Option<&'static str>,
    /// For the next start only.
    once: Vec<(String, String)>,
    folder: tempfile::TempDir,
    ready: Value,
    /// For its public address.
    pub client: Client,
}

impl System {
    /// With the project's own configuration.
    pub fn start() -> Self {
        Self::start_with(str::to_owned)
    }

    /// With the project's configuration, changed as text.
    pub fn start_with(change: impl FnOnce(&str) -> String) -> Self {
        let mut system = Self::new(change, Vec::new());
        system.launch();
        system
    }

    /// With the configuration changed as text, on these servers, whose databases are made ready.
    pub fn start_on(servers: &Servers, change: impl FnOnce(&str) -> String) -> Self {
        let url = "# url = \"nats://127.0.0.1:4222\"";
        let change =
            |text: &str| change(text).replacen(url, &format!("url = {:?}", servers.nats.url()), 1);
        let mut system = Self::new(change, servers.environment.clone());
        let migrated = system.pillion(&["migrate"]).output().expect("the program runs");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        system.launch();
        system
    }

    /// Every service its own process, the busy ones twice, with the configuration changed as text:
    /// the fleet of this program, which whoever comes first makes, in this folder, and which ends
    /// with the program. Everybody waits for their turn, and finds what others left there.
    pub fn start_on_fleet(folder: &Path, change: impl Fn(&str) -> String + Send + Sync) -> Self {
        let mut system = Self::new(&change, Vec::new());
        let file = folder.join("pillion.toml");
        let fleet = wait(async {
            let mut shared = SHARED.lock().await;
            if shared.is_none() {
                let options = fleet::options(folder, None, str::to_owned);
                let made = Fleet::prepare(options).await;
                *shared = Some((made, std::fs::read_to_string(&file).expect("a configuration")));
            }
            let (fleet, made) = shared.as_mut().expect("it was made");
            let wanted = change(made);
            if std::fs::read_to_string(&file).expect("a configuration") != wanted {
                fleet.stop().await;
                std::fs::write(&file, wanted).expect("a file in a folder of ours");
            }
            // Who came before may have left it stopped.
            fleet.launch().await;
            MutexGuard::map(shared, |shared| &mut shared.as_mut().expect("it was made").0)
        });
        system.client = Client::new(&fleet.urls()[0]);
        system.fleet = Some(fleet);
        system
    }

    /// Not started yet.
    pub fn new(change: impl FnOnce(&str) -> String, environment: Vec<(String, String)>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("pillion.toml");
        let text =
            std::fs::read_to_string(build::root().join("pillion.toml")).expect("pillion.toml");
        let plugins = build::plugin("auth");
        let plugins = plugins.parent().expect("a file is in a folder");
        let text = text.replace(
            "# plugin_dir = \"target/plugins\"",
            &format!("plugin_dir = {:?}", plugins.display().to_string()),
        );
        // A key that suites can sign with, beside identity's own, which nobody else has.
        std::fs::write(folder.path().join("test.key"), token::SECRET).expect("a key file");
        let text = text.replace(
            "# [keysets.access-tokens.hs256]\n# partner-2026 = \"partner.key\"",
            "[keysets.access-tokens.hs256]\ntest = \"test.key\"",
        );
        // It may speak for everybody.
        let text = text.replacen(
            "[plugins.auth.config.routes]\n",
            "[plugins.auth.config.partners.test]\nissuer = \"pillion\"\naudience = \"pillion-api\"\n\
             scopes = [\"*\"]\nusers = [\"*\"]\nclients = [\"*\"]\n\n[plugins.auth.config.routes]\n",
            1,
        );
        std::fs::write(&config, change(&text)).expect("a configuration");
        Self {
            child: None,
            fleet: None,
            config,
            environment,
            disk: None,
            once: Vec::new(),
            folder,
            ready: Value::Null,
            client: Client::new(""),
        }
    }

    /// Gives the data folder a disk of its own, which is the process's alone and goes with it.
    /// A size is what `mount` takes: `16m`.
    pub fn on_a_disk_of(&mut self, size: &'static str) {
        self.disk = Some(size);
    }

    /// Sets an environment variable of the next start only.
    pub fn once(&mut self, name: &str, value: &str) {
        self.once.push((name.to_owned(), value.to_owned()));
    }

    /// `pillion` with this system's configuration and data folder: a command and its arguments.
    pub fn pillion(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(build::pillion());
        command.args(arguments).arg("--config").arg(&self.config).arg("--data").arg(self.data());
        command.envs(self.environment.iter().cloned());
        command
    }

    /// `pillion` with arguments only, such as `events lag --data …`.
    pub fn bare(arguments: &[&str]) -> Output {
        Command::new(build::pillion()).args(arguments).output().expect("the program runs")
    }

    /// `pillion up` with this configuration, for tests that expect it to fail.
    pub fn command(&self, data: &Path, listen: &str, admin_listen: &str) -> Command {
        let mut command = Command::new(build::pillion());
        command
            .arg("up")
            .arg("--config")
            .arg(&self.config)
            .arg("--data")
            .arg(data)
            .args(["--listen", listen, "--admin-listen", admin_listen])
            .arg("--ready-file")
            .arg(self.ready_file())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn ready_file(&self) -> PathBuf {
        self.folder.path().join("ready.json")
    }

    /// Starts it (again) and waits until it says that it is ready.
    pub fn launch(&mut self) {
        if let Some(fleet) = &mut self.fleet {
            wait(fleet.launch());
            // Connections of an earlier run lead nowhere.
            self.client = Client::new(&fleet.urls()[0]);
            return;
        }
        self.spawn();
        assert!(self.is_ready_in_time(), "it ended before it was ready:\n{}", self.log());
    }

    /// The program in a namespace of mounts of its own: root makes it, and anybody else is root
    /// in a namespace of users of their own.
    fn on_disk(&self, size: &str) -> Command {
        let data = self.data();
        std::fs::create_dir_all(&data).expect("a folder in a folder of ours");
        let program = self.command(&data, FREE, FREE);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user"]);
        let script =
            "mount -t tmpfs -o size=\"$1\",mode=700 tmpfs \"$2\" && shift 2 && exec \"$@\"";
        command.args(["sh", "-c", script, "sh", size]).arg(&data);
        command.arg(program.get_program()).args(program.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        // The old one would look like the new one.
        if let Err(error) = std::fs::remove_file(self.ready_file()) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log");
        let mut command = match self.disk {
            None => self.command(&self.data(), FREE, FREE),
            Some(size) => self.on_disk(size),
        };
        command.envs(std::mem::take(&mut self.once)).stderr(log);
        self.child = Some(command.spawn().expect("the program starts"));
    }

    /// Waits until it says that it is ready; `false` when it ends before.
    fn is_ready_in_time(&mut self) -> bool {
        let began = Instant::now();
        self.ready = loop {
            if let Ok(text) = std::fs::read_to_string(self.ready_file()) {
                break serde_json::from_str(&text).expect("the ready file is whole JSON");
            }
            if !self.is_alive() {
                return false;
            }
            assert!(began.elapsed() < READY_DEADLINE, "it is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        };
        self.client = Client::new(self.ready_text("url"));
        true
    }

    fn ready_text(&self, key: &str) -> String {
        self.ready.get(key).and_then(Value::as_str).expect("the ready file has it").to_owned()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder around the data folder, for files that a test makes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A member of the ready file's `demo`.
    pub fn demo(&self, key: &str) -> String {
        self.ready
            .pointer(&format!("/demo/{key}"))
            .and_then(Value::as_str)
            .expect("the ready file has it")
            .to_owned()
    }

    /// The admin API, without its token.
    pub fn admin(&self) -> Client {
        Client::new(self.ready_text("admin_url"))
    }

    /// The admin API's token.
    pub fn admin_token(&self) -> String {
        self.ready_text("admin_token")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("stderr.log")
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `pillion plugin …` against this system.
    pub fn plugin_command(&self, arguments: &[&str]) -> Output {
        Command::new(build::pillion())
            .arg("plugin")
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .output()
            .expect("the program runs")
    }

    /// The process, if it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The process that runs.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    /// Waits until the process has ended by itself; whether it did in time.
    pub async fn ended(&mut self, deadline: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < deadline {
            if !self.is_alive() {
                self.child = None;
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// How the process has ended by itself, if it has; told once.
    pub fn ending(&mut self) -> Option<ExitStatus> {
        let ending = self.child.as_mut()?.try_wait().expect("a child of ours")?;
        self.child = None;
        Some(ending)
    }

    /// Starts it like [`Self::launch`]; `false` when it ended before it was ready.
    pub fn try_launch(&mut self) -> bool {
        self.spawn();
        self.is_ready_in_time()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(fleet) = &mut self.fleet {
            return fleet.kill();
        }
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self) {
        if let Some(fleet) = &mut self.fleet {
            return wait(fleet.stop());
        }
        let mut child = self.child.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a child of ours");
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child of ours") {
                assert!(status.success(), "it ended with {status}:\n{}", self.log());
                return;
            }
            assert!(began.elapsed() < EXIT_DEADLINE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The admin API of a process with this service, and its token.
    pub fn admin_of(&self, service: &str) -> (Client, String) {
        let Some(fleet) = &self.fleet else { return (self.admin(), self.admin_token()) };
        let mut hosts = fleet.hosts();
        let host = hosts.find(|host| host.service() == service && host.is_running());
        let host = host.unwrap_or_else(|| panic!("no process of {service} runs"));
        let ready = std::fs::read_to_string(host.ready_file()).expect("it is ready");
        let ready: Value = serde_json::from_str(&ready).expect("the ready file is whole JSON");
        let token = ready["admin_token"].as_str().expect("the ready file has it");
        (Client::new(host.admin_url()), token.to_owned())
    }

    /// What every process with one of these services lists there.
    async fn listed(&self, services: &[&str], path: &str) -> Vec<Value> {
        // All are in one process, unless it is a fleet.
        let places = if self.fleet.is_some() { services } else { &services[..1] };
        let mut all = Vec::new();
        for service in places {
            let (admin, token) = self.admin_of(service);
            let answer = admin.get(path).bearer(&token).send().await.expect(200).json();
            all.extend(answer["data"].as_array().expect("a list").iter().cloned());
        }
        all
    }

    /// How far each service has come with the events of others.
    pub async fn events(&self) -> Vec<Value> {
        self.listed(&fleet::WITH_EVENTS, "/admin/v1/events").await
    }

    /// Every saga, those at their end, too.
    pub async fn sagas(&self) -> Vec<Value> {
        self.listed(&["identity", "users", "graph"], "/admin/v1/sagas?all=true").await
    }

    /// Makes the tables of a service again of its events, and says what came of it.
    pub async fn rebuild(&self, service: &str) -> Value {
        let path = format!("/admin/v1/events/{service}/rebuild");
        let (admin, token) = self.admin_of(service);
        admin.post(&path).bearer(&token).send().await.expect(200).json()["data"].clone()
    }

    /// Registers an account and logs it in: its id and a token with all scopes.
    pub async fn register(&self, username: &str) -> (String, String) {
        let account =
            json!({ "username": username, "name": username, "password": "correct horse battery" });
        let made = self.client.post("/pillion/v1/accounts").json(&account).send().await.expect(201);
        let id = made.json().pointer("/data/id").and_then(Value::as_str).expect("an id").to_owned();
        (id, self.login(username, "").await)
    }

    /// Logs an account of [`Self::register`] in; an empty `scope` means all.
    pub async fn login(&self, username: &str, scope: &str) -> String {
        let mut login = json!({ "username": username, "password": "correct horse battery" });
        if !scope.is_empty() {
            login["scope"] = scope.into();
        }
        let answer = self.client.post("/pillion/v1/login").json(&login).send().await.expect(200);
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- standard error of the system:\n{}", self.log());
            for host in self.fleet.iter().flat_map(|fleet| fleet.hosts()) {
                eprintln!("--- standard error of {}:\n{}", host.name(), host.log());
            }
        }
    }
}

/// Waits, in a test's own task, for something that needs the runtime's timer.
fn wait<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a thread").block_on(work)
        });
        waiting.join().expect("no panic")
    })
}
