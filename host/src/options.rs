//! How a host is set up, and what a swap may change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::artifacts::Compiler;
use crate::keyring::Keyring;
use crate::sinks::SinkSpec;
use crate::spec::{Digest, GenerationSpec, InstanceMode};

/// Instances that exist at once, over all workers, plugins and generations. Each is a slot of
/// address space (4 GiB and a guard, of the 128 TiB that a process has); only touched pages take
/// memory.
const INSTANCES_MAX_DEFAULT: u32 = 1_000;
const INSTANCES_MAX: u32 = 16_000;

/// Generations whose instances may exist at once: the running one, the one before, and the one
/// that is being made.
const GENERATIONS_AT_ONCE: usize = 3;

/// How long a swap waits for the requests of the generation before.
const DRAIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

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
    /// How components become machine code.
    pub compiler: Compiler,
    /// Instances that may exist at once.
    pub instances_max: u32,
    /// How long a swap waits for requests on the generation before; they are never cut, the
    /// answer then says how many are left.
    pub drain_deadline: Duration,
}

impl HostOptions {
    /// The defaults, with everything kept under `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            sinks: BTreeMap::new(),
            keyring: Keyring::default(),
            compiler: Compiler::InProcess,
            instances_max: INSTANCES_MAX_DEFAULT,
            drain_deadline: DRAIN_DEADLINE_DEFAULT,
        }
    }
}

impl HostOptions {
    /// Makes room for this set with `requests` at once. The set itself may grow by swaps to
    /// `fresh` mode only as far as the default goes.
    #[must_use]
    pub fn sized_for(mut self, spec: &GenerationSpec, requests: usize) -> Self {
        let warm = self.workers * spec.plugins.len() * GENERATIONS_AT_ONCE;
        let is_fresh = |name: &&String| {
            spec.plugins.get(*name).is_some_and(|plugin| plugin.mode == InstanceMode::Fresh)
        };
        let fresh = spec.chains.values().flatten().filter(is_fresh).count() * requests;
        let wanted = u32::try_from(warm + fresh).unwrap_or(INSTANCES_MAX);
        self.instances_max = wanted.clamp(INSTANCES_MAX_DEFAULT, INSTANCES_MAX);
        self
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
}
