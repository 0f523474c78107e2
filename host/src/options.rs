//! How a host is set up, and what a swap may change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::artifacts::Compiler;
use crate::backends;
use crate::keyring::Keyring;
use crate::plugin::{AWAITING_INSTANCES_MAX, IDLE_INSTANCES_PER_WORKER};
use crate::revocations::Revocations;
use crate::sinks::SinkSpec;
use crate::spec::{Digest, GenerationSpec, Grants, InstanceMode, PluginSpec};

/// Instances that exist at once, over all workers, plugins and generations. Each is a slot of
/// address space (4 GiB and a guard, of the 128 TiB that a process has); only touched pages take
/// memory.
const INSTANCES_MAX_DEFAULT: u32 = 1_000;
pub(crate) const POOL_SLOTS_MAX: u32 = 16_000;

/// The most instances that exist at once in any host.
pub const INSTANCES_MAX: usize = POOL_SLOTS_MAX as usize;

/// Instances that `requests` at once need for certain with this set: a warm one of every plugin
/// for each worker, and for each request those of the chain with the most plugins in `fresh` mode.
pub fn instances_needed(spec: &GenerationSpec, workers: usize, requests: usize) -> usize {
    let is_fresh = |name: &&String| {
        spec.plugins.get(*name).is_some_and(|plugin| plugin.mode == InstanceMode::Fresh)
    };
    let fresh = spec.chains.values().map(|chain| chain.iter().filter(is_fresh).count()).max();
    let warm = spec.plugins.values().filter(|plugin| plugin.mode == InstanceMode::Warm).count();
    workers.saturating_mul(warm).saturating_add(fresh.unwrap_or(0).saturating_mul(requests))
}

/// Generations whose instances may exist at once: the running one, the one before, and the one
/// that is being made.
const GENERATIONS_AT_ONCE: usize = 3;

/// How long a swap waits for the requests of the generation before.
const DRAIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// How long one call to state outside this process may take. Redis in the same data centre answers
/// in under 1 ms; what takes 250 times that long is not going to help the request any more.
const STATE_CALL_MAX_DEFAULT: Duration = Duration::from_millis(250);

/// The file of [`StateBackend::Sqlite`] where the configuration names none.
const STATE_FILE: &str = "plugin-state.sqlite";

/// Where the plugins' `kv` or `limiter` keeps what it holds.
///
/// Plugins that meet a back end other than [`Self::Memory`] run on a fiber, so that no thread
/// waits for it; all others are called directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StateBackend {
    /// In this process: nothing is faster, and a restart forgets it.
    #[default]
    Memory,
    /// In this file, which is made when it is missing. It survives restarts, and hosts on the
    /// same machine may share it.
    Sqlite(PathBuf),
    /// In Redis 5 or newer, or Valkey, at this URL: `redis://[user:password@]host:port/database`,
    /// `rediss://` for TLS, or `redis+unix:///path`. All hosts that name it share what it holds,
    /// and its clock. What it evicts or loses in a restart is forgotten: `maxmemory-policy
    /// noeviction`, and persistence where limits have to outlive it.
    Redis(String),
}

impl StateBackend {
    /// Reads what a configuration says: `memory`, `sqlite` (a file under `state_dir`),
    /// `sqlite:PATH`, or the URL of a Redis or Valkey.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, and what to write instead.
    pub fn parse(text: &str, state_dir: &Path) -> Result<Self, String> {
        const KNOWN: &str = "write \"memory\", \"sqlite\", \"sqlite:PATH\", \"redis://HOST:PORT\" or \
                             \"rediss://HOST:PORT\"";
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            None if text == "sqlite" => Ok(Self::Sqlite(state_dir.join(STATE_FILE))),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some((
                "redis" | "valkey" | "rediss" | "valkeys" | "redis+unix" | "valkey+unix" | "unix",
                _,
            )) => backends::check_url(text).map(|()| Self::Redis(text.to_owned())),
            // A URL may hold a password: it is not repeated.
            Some((scheme, _)) => Err(format!("`{scheme}:` is no back end for state; {KNOWN}")),
            None => Err(format!("`{text}` is no back end for state; {KNOWN}")),
        }
    }

    /// Whether calls to it wait for something outside this process.
    pub(crate) fn awaits(&self) -> bool {
        *self != Self::Memory
    }
}

/// What a Redis at `rediss://` must show, and what it is shown: PEM files, which are read anew for
/// every connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// The authorities of its certificate; without it, those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// A certificate and its key, for one that asks.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How a host is set up.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Folder for artefacts, machine code and activation records.
    pub state_dir: PathBuf,
    /// Threads that run requests; each gets a warm instance of every plugin.
    pub workers: usize,
    /// Outputs by the name that grants use.
    pub sinks: BTreeMap<String, SinkSpec>,
    /// Keys by the name of their set.
    pub keyring: Keyring,
    /// Access tokens that were revoked.
    pub revocations: Revocations,
    /// How components become machine code.
    pub compiler: Compiler,
    /// Instances that may exist at once.
    pub instances_max: u32,
    /// How long a swap waits for requests on the generation before; they are never cut, the
    /// answer then says how many are left.
    pub drain_deadline: Duration,
    /// Where the plugins' `kv` is kept.
    pub kv: StateBackend,
    /// Where the plugins' `limiter` is kept.
    pub limiter: StateBackend,
    /// For a back end at `rediss://`.
    pub redis_tls: RedisTls,
    /// How long one call to `SQLite` or Redis may take before the plugin is told that it is
    /// unavailable. After three that took longer it is not asked again until it answers a probe.
    pub state_call_max: Duration,
}

impl HostOptions {
    /// The defaults, with everything kept under `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            sinks: BTreeMap::new(),
            keyring: Keyring::default(),
            revocations: Revocations::default(),
            compiler: Compiler::InProcess,
            instances_max: INSTANCES_MAX_DEFAULT,
            drain_deadline: DRAIN_DEADLINE_DEFAULT,
            kv: StateBackend::Memory,
            limiter: StateBackend::Memory,
            redis_tls: RedisTls::default(),
            state_call_max: STATE_CALL_MAX_DEFAULT,
        }
    }
}

impl HostOptions {
    /// Makes room for this set with `requests` at once, once `kv` and `limiter` are chosen. The
    /// set itself may grow by swaps to `fresh` mode only as far as the default goes.
    #[must_use]
    pub fn sized_for(mut self, spec: &GenerationSpec, requests: usize) -> Self {
        let warm = self.workers * spec.plugins.len() * GENERATIONS_AT_ONCE;
        let is_fresh = |name: &&String| {
            spec.plugins.get(*name).is_some_and(|plugin| plugin.mode == InstanceMode::Fresh)
        };
        let awaits =
            |plugin: &&PluginSpec| plugin.mode == InstanceMode::Warm && self.awaits(&plugin.grants);
        let awaiting = spec.plugins.values().filter(awaits).count()
            * (IDLE_INSTANCES_PER_WORKER * self.workers).max(AWAITING_INSTANCES_MAX)
            * GENERATIONS_AT_ONCE;
        let fresh = spec.chains.values().flatten().filter(is_fresh).count() * requests;
        let wanted = u32::try_from(warm + awaiting + fresh).unwrap_or(POOL_SLOTS_MAX);
        self.instances_max = wanted.clamp(INSTANCES_MAX_DEFAULT, POOL_SLOTS_MAX);
        self
    }

    /// Whether a plugin with these grants may wait for state outside this process.
    fn awaits(&self, grants: &Grants) -> bool {
        (grants.kv && self.kv.awaits()) || (grants.limiter && self.limiter.awaits())
    }
}

/// What a swap changes; the rest stays as it is.
#[derive(Clone, Debug, Default)]
pub struct SwapRequest {
    /// Another component.
    pub component: Option<PathBuf>,
    /// What its digest must be.
    pub digest: Option<Digest>,
    /// Another configuration.
    pub config: Option<Value>,
    /// Who makes the change, for the audit log.
    pub by: Option<String>,
}

/// What a rollback goes back to.
#[derive(Clone, Debug, Default)]
pub struct RollbackRequest {
    /// The generation whose set is to run again. Without it: the last one before the running set
    /// that differs from it, so that repeated rollbacks go further back.
    pub to: Option<u64>,
    /// Who makes the change, for the audit log.
    pub by: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_ends_are_read_and_bad_ones_explained() {
        let parse = |text| StateBackend::parse(text, Path::new("state"));
        assert_eq!(parse("memory"), Ok(StateBackend::Memory));
        assert_eq!(parse("sqlite"), Ok(StateBackend::Sqlite("state/plugin-state.sqlite".into())));
        assert_eq!(parse("sqlite:/var/x.db"), Ok(StateBackend::Sqlite("/var/x.db".into())));
        for url in [
            "redis://user:secret@127.0.0.1:6379/2",
            "rediss://user:secret@127.0.0.1:6379",
            "valkey://a",
            "redis+unix:///run/r",
        ] {
            assert_eq!(parse(url), Ok(StateBackend::Redis(url.to_owned())));
        }
        for (text, reason) in [
            ("postgres://a:secret@b", "`postgres:` is no back end"),
            ("redis", "`redis` is no back end"),
            ("sqlite:", "`sqlite:` is no back end"),
            ("rediss://a:secret@b/#insecure", "#insecure"),
            ("redis://:secret@/x", "redis://"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
