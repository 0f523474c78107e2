//! One server as a process: started, stopped, paused, killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::folder::Folder;
use crate::place::Place;
use crate::port;
use crate::program::Owner;

/// Starts on other ports before something else must be wrong.
const PORTS_MAX: u32 = 5;

/// From its start until it says that it is ready, recovery included, on a busy machine.
const READY_DEADLINE: Duration = Duration::from_mins(1);

/// From the signal that ends it until it has ended.
const END_DEADLINE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(5);

/// Writes its process id and becomes the server. Where the folder is gone, because the tests
/// have ended already, it becomes nothing.
const LAUNCH: &str = r#"echo $$ >"$1" && shift && exec "$@""#;

/// How a kind of server is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// `PostgreSQL`.
    pub(crate) name: &'static str,
    /// What its log says when it takes connections.
    pub(crate) ready: &'static str,
    /// Ends it in order, without waiting for its clients.
    pub(crate) stop: Signal,
    /// Ends it at once, and all that belongs to it.
    pub(crate) end: (Signal, &'static str),
}

/// What is to be run; the arguments for the port follow the others.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) port_argument: &'static str,
    pub(crate) owner: Owner,
    pub(crate) place: Place,
}

/// A server on one port, running or not. Ended and removed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    kind: Kind,
    program: Program,
    port: u16,
    running: Mutex<Option<Child>>,
    folder: Folder,
}

impl Process {
    /// Starts it on a free port. Waits until it is ready.
    pub(crate) fn start(kind: Kind, program: Program, folder: Folder) -> Self {
        let mut process =
            Self { kind, program, port: port::free(), running: Mutex::new(None), folder };
        for _ in 0..PORTS_MAX {
            match process.launch() {
                Ok(child) => {
                    *process.running() = Some(child);
                    return process;
                }
                // Most likely somebody else has taken the port meanwhile.
                Err(_status) => process.port = port::free(),
            }
        }
        panic!("{} does not start:\n{}", kind.name, process.log());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running().as_ref().map(Child::id)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.program.place
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged since it was first started.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `Err` when it ends instead of being ready.
    fn launch(&self) -> Result<Child, ExitStatus> {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let mut before = log.metadata().expect("a log").len();
        let Program { owner, place, .. } = &self.program;
        let mut command = place.command(*owner, "sh", self.folder.path());
        command.args(["-c", LAUNCH, "sh"]).arg(self.folder.pid_file()).arg(&self.program.path);
        command.args(&self.program.arguments);
        command.arg(self.program.port_argument).arg(self.port.to_string());
        command.process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start sh: {error}"));
        let began = Instant::now();
        let mut said = Vec::new();
        loop {
            let mut log = File::open(self.log_path()).expect("a log");
            log.seek(SeekFrom::Start(before)).expect("a log");
            before += u64::try_from(log.read_to_end(&mut said).expect("a log")).unwrap_or_default();
            if String::from_utf8_lossy(&said).contains(self.kind.ready) {
                return Ok(child);
            }
            if let Some(status) = child.try_wait().expect("a child of ours") {
                return Err(status);
            }
            if began.elapsed() > READY_DEADLINE {
                child.kill().expect("a child of ours");
                child.wait().expect("a child of ours");
                panic!("{} is not ready in time:\n{}", self.kind.name, self.log());
            }
            sleep(POLL);
        }
    }

    /// Starts it on the same port after it was stopped or killed. Waits until it is ready.
    pub(crate) fn start_again(&self) {
        let mut running = self.running();
        assert!(running.is_none(), "{} runs already", self.kind.name);
        let began = Instant::now();
        // What a killed one leaves behind, such as its last children, goes within moments.
        while running.is_none() {
            match self.launch() {
                Ok(child) => *running = Some(child),
                Err(status) if began.elapsed() > READY_DEADLINE => {
                    panic!("{} ends with {status}:\n{}", self.kind.name, self.log())
                }
                Err(_status) => sleep(POLL),
            }
        }
    }

    /// Ends it in order. Waits until it has ended.
    pub(crate) fn stop(&self) {
        let mut running = self.running();
        let Some(child) = running.as_mut() else {
            panic!("{} does not run", self.kind.name);
        };
        let pid = Pid::from_child(child);
        signal(pid, self.kind.stop);
        self.go_on(pid);
        assert!(ended(child, END_DEADLINE), "{} does not end:\n{}", self.kind.name, self.log());
        self.forget(&mut running);
    }

    /// Ends it and its children with SIGKILL. Waits until it has ended.
    pub(crate) fn kill(&self) {
        let mut running = self.running();
        let Some(child) = running.as_mut() else {
            panic!("{} does not run", self.kind.name);
        };
        // Stopped, it has no new children.
        for pid in self.hold(Pid::from_child(child)) {
            signal(pid, Signal::KILL);
        }
        child.wait().expect("a child of ours");
        self.forget(&mut running);
    }

    /// Stops it and its children with SIGSTOP: connections stay open, and nobody answers.
    pub(crate) fn pause(&self) {
        let running = self.running();
        let Some(child) = running.as_ref() else {
            panic!("{} does not run", self.kind.name);
        };
        self.hold(Pid::from_child(child));
    }

    /// Lets it go on after [`Self::pause`].
    pub(crate) fn resume(&self) {
        let running = self.running();
        let Some(child) = running.as_ref() else {
            panic!("{} does not run", self.kind.name);
        };
        self.go_on(Pid::from_child(child));
    }

    /// Stops a process and its children; gives all of them.
    fn hold(&self, pid: Pid) -> Vec<Pid> {
        hold(pid);
        let mut held = vec![pid];
        held.extend(children(pid));
        let pids: Vec<String> = held.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
        // First who must be woken up if we are killed now.
        fs::write(self.folder.pid_file(), format!("{}\n", pids.join(" "))).expect("a file of ours");
        for child in held.iter().skip(1) {
            hold(*child);
        }
        held
    }

    fn go_on(&self, pid: Pid) {
        for child in children(pid) {
            signal(child, Signal::CONT);
        }
        signal(pid, Signal::CONT);
        let only = format!("{}\n", pid.as_raw_nonzero());
        fs::write(self.folder.pid_file(), only).expect("a file of ours");
    }

    /// Its process id may be somebody else's from now on.
    fn forget(&self, running: &mut Option<Child>) {
        *running = None;
        fs::remove_file(self.folder.pid_file()).expect("a file of ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut running = self.running();
        let Some(child) = running.as_mut() else {
            return;
        };
        let pid = Pid::from_child(child);
        signal(pid, self.kind.end.0);
        self.go_on(pid);
        if !ended(child, END_DEADLINE) {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
        self.forget(&mut running);
    }
}

/// Whether it ends in time.
fn ended(child: &mut Child, deadline: Duration) -> bool {
    let began = Instant::now();
    loop {
        if child.try_wait().expect("a child of ours").is_some() {
            return true;
        }
        if began.elapsed() > deadline {
            return false;
        }
        sleep(POLL);
    }
}

/// A process that has ended needs no signal any more.
fn signal(pid: Pid, signal: Signal) {
    let _gone = kill_process(pid, signal);
}

/// Stops a process and waits until it stands.
fn hold(pid: Pid) {
    signal(pid, Signal::STOP);
    let began = Instant::now();
    while let Some((state, _parent)) = stat(pid.as_raw_nonzero().get())
        && !matches!(state, 'T' | 'Z' | 'X')
        && began.elapsed() < END_DEADLINE
    {
        sleep(POLL);
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().get();
    fs::read_dir("/proc")
        .expect("the servers' suites run on Linux")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| stat(*pid).is_some_and(|(_state, of)| of == parent))
        .filter_map(Pid::from_raw)
        .collect()
}

/// A process's state and parent; `None` when it has gone.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the program's name, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
