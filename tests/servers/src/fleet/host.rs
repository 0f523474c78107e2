//! One process of a fleet: started, ended, killed, started again.

use std::fs::{self, DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::Place;
use crate::program::Owner;

/// From its start until it is ready, on a busy machine.
const READY_DEADLINE: Duration = Duration::from_mins(2);

/// From the signal that ends it until it has ended: more than its drain.
const END_DEADLINE: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(20);

/// What a process keeps compiled, in the folder of its plugins.
const COMPILED: [&str; 3] = ["components", "machine-code", "machine-code.key"];

/// Which process, and how it is started.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// Its service.
    pub(super) service: &'static str,
    /// 1 or 2.
    pub(super) copy: u8,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Where it is.
    pub(super) place: Place,
    /// For clients and other services.
    pub(super) listen: SocketAddr,
    /// For operators.
    pub(super) admin_listen: SocketAddr,
    /// The program `pillion`.
    pub(super) program: PathBuf,
    /// The fleet's configuration.
    pub(super) config: PathBuf,
    /// The fleet's folder.
    pub(super) folder: PathBuf,
    /// The variable with its database.
    pub(super) environment: Option<(String, String)>,
}

/// A process that runs or may be started.
#[derive(Debug)]
pub struct Host {
    spec: Spec,
    member: bool,
    child: Option<Child>,
    pid_file: PathBuf,
}

impl Host {
    /// Not started yet. A `member` is started with the fleet; any other takes over when it is told
    /// to.
    pub(super) fn new(spec: Spec, member: bool, pids: &Path) -> Self {
        let pid_file = pids.join(format!("{}-{}", spec.service, spec.copy));
        Self { spec, member, child: None, pid_file }
    }

    /// `tweets-2`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.spec.service, self.spec.copy)
    }

    /// Its service.
    pub fn service(&self) -> &'static str {
        self.spec.service
    }

    /// Which of its service's processes it is: 1 or 2.
    pub fn copy(&self) -> u8 {
        self.spec.copy
    }

    pub(super) fn is(&self, service: &str, copy: u8) -> bool {
        self.spec.service == service && self.spec.copy == copy
    }

    /// Whether it is started with the fleet.
    pub fn is_member(&self) -> bool {
        self.member
    }

    /// Whether it was started and not ended.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.spec.place
    }

    /// `http://HOST:PORT`, or https.
    pub fn url(&self) -> String {
        format!("{}://{}", self.spec.scheme, self.spec.listen)
    }

    /// Where operators connect, from its own place.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.spec.admin_listen)
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.spec.folder.join("data").join(self.name())
    }

    /// What it writes when it is ready: its addresses and the operators' token, as JSON.
    pub fn ready_file(&self) -> PathBuf {
        self.spec.folder.join(format!("{}.ready.json", self.name()))
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.spec.folder.join(format!("{}.log", self.name()))
    }

    /// `pillion` with these arguments, in this process's place and about its data folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let Spec { place, program, folder, service, .. } = &self.spec;
        let mut command = place.command(Owner::SELF, program, folder);
        command.args(arguments).arg("--data").arg(self.data()).args(["--service", service]);
        command.stdin(Stdio::null());
        command
    }

    /// Takes over what another process has compiled.
    pub(super) fn warm(&self, other: &Self) {
        let state = |host: &Self| host.data().join(format!("host-{}", host.service()));
        let (from, to) = (state(other), state(self));
        if to.exists() {
            return;
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.data())
            .expect("a folder of ours");
        fs::create_dir(&to).expect("a folder of ours");
        for name in COMPILED {
            copy(&from.join(name), &to.join(name));
        }
    }

    /// Starts it.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name());
        // The old one would look like the new one.
        if let Err(error) = fs::remove_file(self.ready_file()) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let Spec { place, program, folder, service, listen, admin_listen, config, .. } = &self.spec;
        let mut command = place.command(Owner::SELF, program, folder);
        command.args(["serve", service, "--config"]).arg(config);
        command.arg("--data").arg(self.data()).arg("--ready-file").arg(self.ready_file());
        command.args(["--listen", &listen.to_string()]);
        command.args(["--admin-listen", &admin_listen.to_string()]);
        command.envs(self.spec.environment.clone());
        // Out of reach of the terminal's Ctrl-C: they end in order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {}: {error}", program.display());
        });
        fs::write(&self.pid_file, format!("{}\n", child.id())).expect("a file of ours");
        self.child = Some(child);
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) {
        let began = Instant::now();
        while !self.ready_file().exists() {
            assert!(self.is_alive(), "{} ended before it was ready:\n{}", self.name(), self.log());
            let late = began.elapsed() > READY_DEADLINE;
            assert!(!late, "{} is not ready:\n{}", self.name(), self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Asks it to end, with SIGTERM.
    pub fn end(&mut self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::TERM).expect("a child of ours");
    }

    /// Waits for a good end after [`Self::end`].
    pub async fn ended(&mut self) {
        let began = Instant::now();
        loop {
            let child = self.child.as_mut().expect("it runs");
            if let Some(status) = child.try_wait().expect("a child of ours") {
                self.forget();
                assert!(status.success(), "{} ended with {status}:\n{}", self.name(), self.log());
                return;
            }
            let late = began.elapsed() > END_DEADLINE;
            assert!(!late, "{} does not end:\n{}", self.name(), self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let child = self.child.as_mut().expect("it runs");
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
        self.forget();
    }

    /// Its process id may be somebody else's from now on.
    fn forget(&mut self) {
        self.child = None;
        fs::remove_file(&self.pid_file).expect("a file of ours");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).expect("what a process of ours has made");
        return;
    }
    fs::create_dir(to).expect("a folder of ours");
    for entry in fs::read_dir(from).expect("what a process of ours has made").flatten() {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
