//! Runs sandboxed WebAssembly plugins around a tower service.
//!
//! A plugin is a component that implements the world `pillion:plugin/plugin` (see `wit/`). A
//! [`Host`] loads plugins, checks them on trial instances, and activates them as a *generation*
//! by one atomic pointer flip; [`PluginLayer`] puts a chain of them around any axum or tower
//! service. Each worker thread has a warm instance of each plugin and calls it synchronously:
//! nothing is awaited while one is held, so the hot path takes no lock. Only plugins whose `kv` or
//! `limiter` is kept in `SQLite` or Redis run on a fiber, which is left while an answer is awaited.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pillion_host::{GenerationSpec, Host, HostOptions, PluginSpec, RouteTable};
//!
//! let host = Host::new(HostOptions::new("state"))?;
//! let mut spec = GenerationSpec::default();
//! spec.plugins.insert("hello".into(), PluginSpec::new("hello.wasm"));
//! spec.chains.insert("app".into(), vec!["hello".into()]);
//! host.start(spec)?;
//! let layer = host.layer("app", RouteTable::default()); // axum: Router::layer(layer)
//! # Ok(()) }
//! ```
//!
//! `examples/axum.rs` is a whole server.

mod artifacts;
mod audit;
mod backends;
mod breaker;
mod chain;
mod changes;
mod completions;
mod crash;
mod edits;
mod engine;
mod error;
mod exchange;
mod fields;
#[cfg(test)]
mod fuzz;
mod generation;
mod host;
mod host_calls;
mod instance;
mod keyring;
mod kv;
mod layer;
mod limiter;
mod options;
mod plugin;
mod refusal;
mod report;
mod revocations;
mod routes;
mod self_check;
mod series;
mod shared;
mod sinks;
mod spec;
mod state;
mod stats;
mod text;
mod trace;
mod wit;

pub use artifacts::{Compiler, compile_in_child};
pub use audit::{Attempt, AttemptedChange};
pub use changes::Changes;
pub use completions::{FlushNotifier, FlushWatch};
pub use error::{ActivateError, ConfigProblem, HostError, LoadError, LoadErrorReason};
pub use exchange::{Caller, ClientAddress, RequestId};
pub use fields::Phase;
pub use generation::Cause;
pub use host::{Host, ReloadError};
pub use keyring::{Key, Keyring};
pub use layer::{PluginBody, PluginFuture, PluginLayer, PluginService};
pub use options::{
    HostOptions, INSTANCES_MAX, RedisTls, RollbackRequest, StateBackend, SwapRequest,
    instances_needed,
};
pub use plugin::{Description, PhaseDescription};
pub use report::{ComponentReport, GenerationInfo, PluginReport, PluginStatus};
pub use revocations::{REVOCATIONS_MAX, Revocations, RevocationsFull};
pub use routes::RouteTable;
pub use sinks::{SinkSpec, SinkTarget};
pub use spec::{
    BreakerSpec, Digest, FailurePolicy, Fallback, GenerationSpec, Grants, InstanceMode, Limits,
    PluginSpec,
};
pub use stats::PhaseTotals;
pub use text::{ITEM_BYTES_MAX, is_unprintable, printable};
