//! The program as a process of its own: what its files may be read by, what ends it, and what
//! `check` refuses. Without plugins, which suites elsewhere are about.

#![expect(
    clippy::unwrap_used,
    reason = "a suite that finds what it did not expect ends there, with the reason"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A start opens nine databases; a debug build on a busy machine takes its time.
const START: Duration = Duration::from_mins(1);

const CONFIG: &str = "
[sinks.access]
path = \"logs/access.log\"
[services]
gateway = { plugins = [] }
identity = { plugins = [] }
users = { plugins = [] }
tweets = { plugins = [] }
graph = { plugins = [] }
engagements = { plugins = [] }
timelines = { plugins = [] }
search = { plugins = [] }
notifications = { plugins = [] }
";

struct Setting {
    folder: TempDir,
    config: PathBuf,
}

impl Setting {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("pillion.toml");
        fs::write(&config, format!("{CONFIG}{more}")).unwrap();
        Self { folder, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whatever mask and variables the tests themselves run with.
    fn pillion(&self, command: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 022 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pillion")]);
        for variable in ["DATA", "LISTEN", "ADMIN_LISTEN", "LOG"] {
            shell.env_remove(format!("PILLION_{variable}"));
        }
        shell.arg(command).arg("--config").arg(&self.config);
        shell
    }

    /// A process that is ready.
    fn up(&self) -> Running {
        let ready = self.path("ready.json");
        let child = (self.pillion("up"))
            .args(["--no-seed", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(self.path("data"))
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Running(child);
        let begun = Instant::now();
        while !ready.exists() {
            assert!(running.0.try_wait().unwrap().is_none(), "ended before it was ready");
            assert!(begun.elapsed() < START, "not ready after {START:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }

    fn check(&self) -> Output {
        self.pillion("check").output().unwrap()
    }
}

/// Ends with the test, however the test ends.
struct Running(Child);

impl Running {
    fn terminate(&mut self) {
        let id = Pid::from_child(&self.0);
        kill_process(id, Signal::TERM).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every file below, with what its group and others may do with it.
fn open_to_others(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(metadata) = fs::metadata(&path) else {
            // A database's log may go while we look.
            continue;
        };
        if metadata.is_dir() {
            files.extend(open_to_others(&path));
        }
        files.push((path, metadata.permissions().mode() & 0o077));
    }
    files
}

#[test]
fn data_is_its_owners_alone_and_sigterm_ends_the_process() {
    let setting = Setting::new("");
    let data = setting.path("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    // What others may already have a look at stays open, and is no reason for new files to be.
    fs::write(data.join("photo.jpg"), "").unwrap();
    fs::set_permissions(data.join("photo.jpg"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut running = setting.up();
    let files = open_to_others(&data);
    for name in ["identity.sqlite", "logs/access.log", "admin.json", "users.lock"] {
        assert!(files.iter().any(|(path, _)| *path == data.join(name)), "{name}: {files:?}");
    }
    for (path, others) in files.iter().filter(|(path, _)| !path.ends_with("photo.jpg")) {
        assert_eq!(*others, 0, "{}: {others:03o}", path.display());
    }
    running.terminate();
    assert!(running.0.wait().unwrap().success());
    assert!(!data.join("admin.json").exists());
}

/// Neither the start nor the check waits for a reader that may never come.
#[test]
fn s18_a_log_file_that_is_a_fifo_without_a_reader_is_refused_with_the_reason() {
    let setting = Setting::new("");
    let folder = setting.path("data/logs");
    fs::create_dir_all(&folder).unwrap();
    let fifo = folder.join("access.log");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let start = || {
        let mut up = setting.pillion("up");
        up.args(["--no-seed", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        up.arg("--data").arg(setting.path("data")).stdout(Stdio::null());
        up
    };
    let mut child = start().stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > START {
            child.kill().unwrap();
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{text}");
    for expected in ["the sink `access`", "access.log", "FIFO that no process reads"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // With a reader it starts.
    let _reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut running = setting.up();
    running.terminate();
    assert!(running.0.wait().unwrap().success());
}

#[test]
fn check_refuses_what_a_start_refuses() {
    let sound = Setting::new("").check();
    assert!(sound.status.success(), "{sound:?}");
    for (more, expected) in [
        ("[log]\nfilter = \"info,=\"\n", "log.filter: `info,=` is no filter"),
        ("[server]\nresponse_timeout_ms = 99\n", "99 is out of range: write 100 to 600000"),
        (
            "[plugins.a]\ncomponent = \"a.wasm\"\nlimits = { memory_bytes = 4611686018427387904 }\n",
            "plugins.a.limits.memory_bytes: 4611686018427387904 is out of range",
        ),
        (
            "[plugins.a]\ncomponent = \"a.wasm\"\nlimits = { deadline_ms = 4000000000 }\n",
            "4000000000 is out of range: write 1 to 60000",
        ),
    ] {
        let refused = Setting::new(more).check();
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && text.contains(expected), "{more}: {text}");
    }
}
