//! What can go wrong, each with the culprit's name and the way out.

use std::io;
use std::path::PathBuf;

use crate::spec::Digest;
use crate::text::{self, Message};

/// A plugin could not be loaded. The running generation is untouched.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {reason}")]
pub struct LoadError {
    /// The name that the operator gave it, or the file's name.
    pub plugin: String,
    /// Why.
    #[source]
    pub reason: LoadErrorReason,
}

/// Why a plugin could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadErrorReason {
    /// The component's file could not be read.
    #[error("cannot read {}: {source}{hint}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The bytes are not those that were pinned or recorded.
    #[error(
        "digest differs: expected {expected}, the file has {found}; if the change is wanted, update the pin"
    )]
    Digest {
        /// Pinned or recorded.
        expected: Digest,
        /// Of the file.
        found: Digest,
    },
    /// The component is over `component_bytes`.
    #[error(
        "the component has {bytes} bytes, over its bound of {bytes_max}; raise limits.component_bytes if that is right"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The bytes are not a component.
    #[error("{}", Message(.0))]
    NotAComponent(String),
    /// The compiler refused it or ran into its limits.
    #[error("does not compile: {}", Message(.0))]
    Compile(String),
    /// It does not export what a plugin must.
    #[error("{}", Message(.0))]
    WrongWorld(String),
    /// It imports something that no plugin gets.
    #[error(
        "imports `{}`, which plugins never get{hint}",
        text::printable(import, text::ITEM_BYTES_MAX)
    )]
    ForbiddenImport {
        /// The interface.
        import: String,
        /// What it may use instead.
        hint: &'static str,
    },
    /// `describe` names a grant that it was not given.
    #[error("needs the grant \"{}\"; add it to its grants if you trust it with that", Message(.0))]
    NeedsGrant(String),
    /// `describe` returned something invalid.
    #[error("its description is invalid: {}", Message(.0))]
    Descriptor(String),
    /// `configure` refused the configuration.
    #[error("refuses its configuration: {}", join(.0))]
    Config(Vec<ConfigProblem>),
    /// A hook failed on the synthetic request of the self-check.
    #[error(
        "its self-check failed: the {phase} hook, on a plain GET / without any other header: {failure}; `self_check = false` skips it"
    )]
    SelfCheck {
        /// The hook.
        phase: &'static str,
        /// How.
        failure: String,
    },
    /// It failed while it was instantiated, described or configured.
    #[error("failed in {step}: {}", Message(failure))]
    Failed {
        /// `instantiate`, `describe` or `configure`.
        step: &'static str,
        /// How.
        failure: String,
    },
    /// All slots for instances are taken.
    #[error(
        "all slots for instances are taken: fewer workers, or fewer plugins in `fresh` mode, need fewer"
    )]
    NoRoom,
    /// The operator's settings contradict each other.
    #[error("{0}")]
    Settings(String),
    /// The store of artefacts or the cache failed.
    #[error("{what}: {source}")]
    Store {
        /// What was being done, and where.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// One thing that a plugin says is wrong with its configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConfigProblem {
    /// The key's path; empty for the whole.
    pub key: String,
    /// What is wrong and what to write instead.
    pub reason: String,
}

impl ConfigProblem {
    /// From what the component returned: escaped, and cut to what a person reads.
    pub(crate) fn of(key: &str, reason: &str) -> Self {
        let item = |text| text::printable(text, text::ITEM_BYTES_MAX).into_owned();
        Self { key: item(key), reason: item(reason) }
    }
}

fn join(problems: &[ConfigProblem]) -> String {
    let one = |problem: &ConfigProblem| match problem.key.as_str() {
        "" => problem.reason.clone(),
        key => format!("`{key}`: {}", problem.reason),
    };
    let shown = problems.iter().take(text::ITEMS_MAX).map(one).collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(text::ITEMS_MAX) {
        0 => shown,
        left_out => format!("{shown}; and {left_out} more"),
    }
}

/// A set of plugins could not be activated. The running generation is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// One of its plugins could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A chain names a plugin that is not there.
    #[error(
        "the chain of `{service}` names the plugin `{plugin}`, which is not configured{suggestion}"
    )]
    UnknownPlugin {
        /// The chain's service.
        service: String,
        /// The name.
        plugin: String,
        /// The nearest name that there is.
        suggestion: String,
    },
    /// Nothing of that name runs.
    #[error("no plugin `{0}` is loaded; `pillion plugin list` shows what is")]
    NotLoaded(String),
    /// There is no generation to go back to.
    #[error("there is no previous generation to go back to")]
    NothingToRollBackTo,
    /// The generation to go back to is not on record.
    #[error("generation {0} is not on record; `pillion plugin history` shows what is")]
    NoSuchGeneration(u64),
    /// The activation record could not be written or read.
    #[error("{what}: {source}")]
    Record {
        /// What was being done, and where.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The host itself could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Wasmtime refused the configuration of the engine.
    #[error("the WebAssembly engine cannot start: {0:#}")]
    Engine(wasmtime::Error),
    /// A file or folder could not be made, read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and where.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The back end for the plugins' state cannot be used as it is configured.
    #[error("{0}")]
    State(String),
}

/// How a hook failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("it exceeded its CPU time deadline: limits.{key} = {ms}")]
    Deadline { key: &'static str, ms: u32 },
    #[error("it wanted more memory than limits.memory_bytes = {0} allows")]
    Memory(usize),
    #[error("{what} than limits.{key} = {value} allows")]
    Limit { key: &'static str, value: usize, what: &'static str },
    #[error("its stack overflowed")]
    Stack,
    #[error("it made more host calls than limits.host_calls = {0} allows")]
    HostCalls(u32),
    #[error("it trapped: {}", Message(.0))]
    Trap(String),
    #[error("its decision is invalid: {}", Message(.0))]
    Decision(String),
    #[error("no instance could be made: {}", Message(.0))]
    Instance(String),
    #[error("all slots for instances are taken")]
    NoRoom,
    #[error("its circuit breaker is open")]
    BreakerOpen,
    #[error("too many requests of this client made it fail; refused for {0} s")]
    Throttled(u64),
}

impl HookError {
    /// The value of the label `reason` in metrics.
    pub(crate) const REASONS: [&'static str; 11] = [
        "deadline",
        "memory",
        "stack",
        "host-calls",
        "trap",
        "decision",
        "instance",
        "breaker-open",
        "no-room",
        "throttled",
        "limit",
    ];

    /// Whether the hook did not run, for a reason that is not the plugin's own.
    pub(crate) fn is_rejection(&self) -> bool {
        matches!(self, Self::BreakerOpen | Self::Throttled(_) | Self::NoRoom)
    }

    /// The indexes in [`Self::REASONS`] of hooks that did not run.
    pub(crate) const REJECTIONS: [usize; 3] = [7, 8, 9];

    /// The index in [`Self::REASONS`].
    pub(crate) fn reason(&self) -> usize {
        match self {
            Self::Deadline { .. } => 0,
            Self::Memory(_) => 1,
            Self::Stack => 2,
            Self::HostCalls(_) => 3,
            Self::Trap(_) => 4,
            Self::Decision(_) => 5,
            Self::Instance(_) => 6,
            Self::BreakerOpen => 7,
            Self::NoRoom => 8,
            Self::Throttled(_) => 9,
            Self::Limit { .. } => 10,
        }
    }
}
