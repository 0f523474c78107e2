//! `pillion up` as a process of its own: the project's configuration, on free ports, with limits
//! that no load reaches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use toml::{Table, Value as Toml};

use crate::places;
use crate::system::cpu;
use crate::system::services::Store;
use crate::workload::{KID, LIMIT, SECRET};

/// Plugins are compiled at the first start on a data folder.
const READY_DEADLINE: Duration = Duration::from_mins(2);

/// More than the server's own deadline for draining.
const EXIT_DEADLINE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// What the program is told, without its configuration and its data folder.
pub(crate) const UP: [&str; 6] =
    ["up", "--no-seed", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// The file of our key, beside the configuration.
pub(crate) const KEY_FILE: &str = "bench.key";

/// A folder with a data folder in it, and what it takes to serve it. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// A running system. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
}

impl Place {
    /// With an empty data folder.
    pub(crate) fn new() -> Result<Self> {
        let place = Self { folder: tempfile::tempdir()? };
        fs::create_dir(place.data())?;
        fs::write(place.config(), configuration()?)?;
        fs::write(place.folder.path().join(KEY_FILE), SECRET)?;
        Ok(place)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn store(&self) -> Store {
        Store::Files(self.data())
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("pillion.toml")
    }

    /// The bytes of the data folder's databases.
    pub(crate) fn database_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.data())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(".sqlite") {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(bytes)
    }

    /// What the program has logged since it was last started, a line of JSON each.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_path(self.folder.path())).unwrap_or_default()
    }

    /// Starts the program and waits until it is ready.
    pub(crate) fn start(&self) -> Result<Running> {
        self.start_logging("info")
    }

    /// The same, with levels for its log, such as `info,pillion_host=debug`.
    pub(crate) fn start_logging(&self, levels: &str) -> Result<Running> {
        let mut command = Command::new(places::program()?);
        command.args(UP).arg("--config").arg(self.config()).arg("--data").arg(self.data());
        command.env("PILLION_LOG", levels);
        Running::start(command, self.folder.path())
    }
}

impl Running {
    /// Starts a command that is [`UP`] and waits until it is ready. Its log goes into the folder.
    pub(crate) fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let ready = folder.join("ready.json");
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let log = log_path(folder);
        command.arg("--ready-file").arg(&ready).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(fs::File::create(&log)?).spawn();
        let child = child.with_context(|| {
            format!("cannot start {}", Path::new(command.get_program()).display())
        })?;
        let log = || fs::read_to_string(&log).unwrap_or_default();
        let mut running = Self { child, url: String::new() };
        let began = Instant::now();
        let text = loop {
            if let Ok(text) = fs::read_to_string(&ready) {
                break text;
            }
            if let Some(status) = running.child.try_wait()? {
                bail!("pillion ended with {status} before it was ready:\n{}", log());
            }
            if began.elapsed() > READY_DEADLINE {
                bail!("pillion is not ready in time:\n{}", log());
            }
            thread::sleep(POLL);
        };
        let ready: Value = serde_json::from_str(&text)?;
        let url = ready.get("url").and_then(Value::as_str).context("the ready file has no url")?;
        url.clone_into(&mut running.url);
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time that all of its threads have used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(cpu::used(self.pid())?.own)
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while began.elapsed() < EXIT_DEADLINE {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("pillion ended with {status}");
                }
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("pillion does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `stop` there is nothing left to end.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// The project's configuration with our key beside identity's, and limits far above any load.
pub(crate) fn configuration() -> Result<String> {
    let project = places::project();
    let text = fs::read_to_string(project.join("pillion.toml")).context("no pillion.toml")?;
    made_of(&text, &project).context("pillion.toml")
}

fn made_of(text: &str, project: &Path) -> Result<String> {
    let mut config: Table = text.parse()?;
    let plugins = project.join("target/plugins").display().to_string();
    insert(&mut config, &["host"], "plugin_dir", plugins.into())?;
    insert(&mut config, &["log"], "format", "json".into())?;
    // All clients share one address here.
    for limit in ["connections_per_address", "requests_per_address"] {
        insert(&mut config, &["server"], limit, 512.into())?;
    }
    insert(&mut config, &["keysets", "access-tokens", "hs256"], KID, KEY_FILE.into())?;
    let everything = ["scopes", "users", "clients"];
    let partner = &["plugins", "auth", "config", "partners", KID];
    for key in everything {
        insert(&mut config, partner, key, Toml::Array(vec!["*".into()]))?;
    }
    insert(&mut config, partner, "issuer", "pillion".into())?;
    insert(&mut config, partner, "audience", "pillion-api".into())?;
    let windows = &["plugins", "ratelimit", "config", "windows"];
    raise(table(&mut config, windows)?);
    Ok(toml::to_string(&config)?)
}

/// Every number of requests, whoever's, at every depth.
fn raise(limits: &mut Table) {
    for (key, value) in limits.iter_mut() {
        match value {
            Toml::Table(inner) => raise(inner),
            Toml::Integer(limit) if key == "user" || key == "app" => *limit = LIMIT.into(),
            _ => {}
        }
    }
}

fn insert(config: &mut Table, path: &[&str], key: &str, value: Toml) -> Result<()> {
    table(config, path)?.insert(key.to_owned(), value);
    Ok(())
}

fn table<'a>(config: &'a mut Table, path: &[&str]) -> Result<&'a mut Table> {
    let mut at = config;
    for key in path {
        let inner = at.entry(*key).or_insert_with(|| Toml::Table(Table::new()));
        at = inner.as_table_mut().with_context(|| format!("{key} is no section"))?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_raised_and_the_rest_stays() {
        let project = places::project();
        let text = fs::read_to_string(project.join("pillion.toml")).unwrap();
        let before: Table = text.parse().unwrap();
        let mut after: Table = made_of(&text, &project).unwrap().parse().unwrap();
        let windows = ["plugins", "ratelimit", "config", "windows"];
        let default = table(&mut after, &windows).unwrap()["default"].clone();
        assert_eq!(default["user"].as_integer(), Some(LIMIT.into()));
        assert_eq!(default["window_s"].as_integer(), Some(900));
        let routes = table(&mut after, &windows).unwrap()["routes"].clone();
        assert_eq!(routes["POST /2/tweets"]["user"].as_integer(), Some(LIMIT.into()));
        assert_eq!(after["services"], before["services"]);
        // The benchmark signs tokens itself.
        let auth = table(&mut after, &["plugins", "auth", "config"]).unwrap();
        assert!(auth.remove("partners").is_some());
        assert_eq!(after["plugins"]["auth"], before["plugins"]["auth"]);
    }
}
