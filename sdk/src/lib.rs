//! What a Pillion plugin is written with.
//!
//! A plugin is a WebAssembly component that sees every request of a service: it can let it
//! pass, change it, answer it, look at the response, and observe how it ended. This crate gives
//! typed access to what the host passes, typed decisions, and typed configuration.
//!
//! ```
//! use pillion_plugin::{ConfigError, Decision, HttpResponse, OnRequest, Plugin, fields, schemars};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     /// User agents to turn away.
//!     unwanted: Vec<String>,
//! }
//!
//! struct Doorman(Config);
//!
//! fields! { struct Seen<'a> { agent: Option<&'a [u8]> = "header:user-agent" } }
//!
//! impl Plugin for Doorman {
//!     type Config = Config;
//!     fn new(config: Config) -> Result<Self, Vec<ConfigError>> { Ok(Self(config)) }
//! }
//!
//! impl OnRequest for Doorman {
//!     type Fields<'a> = Seen<'a>;
//!     fn on_request(&mut self, seen: Seen<'_>) -> Decision {
//!         match seen.agent {
//!             Some(agent) if self.0.unwanted.iter().any(|it| it.as_bytes() == agent) =>
//!                 HttpResponse::problem(403, "Forbidden", "Not with this user agent.").into(),
//!             _ => Decision::Continue,
//!         }
//!     }
//! }
//! pillion_plugin::export!(Doorman: request);
//!
//! # fn main() {
//! // In a test, natively, without any host:
//! use pillion_plugin::testing::{self, Request};
//! let mut doorman = testing::configure::<Doorman>(r#"{"unwanted": ["bad/1.0"]}"#).unwrap();
//! let decision = Request::get("/").header("user-agent", "good/1.0").on_request(&mut doorman);
//! assert_eq!(decision, Decision::Continue);
//! let errors = testing::configure::<Doorman>(r#"{"unwanted": [3]}"#).err().unwrap();
//! assert_eq!(errors[0].key, "unwanted[0]");
//! # }
//! ```
//!
//! Build it with `crate-type = ["cdylib", "rlib"]` and
//! `cargo build --target wasm32-wasip2 --release`.
//!
//! # What a call costs
//! A hook gets exactly the fields that it declared, in two buffers that are read in place; a
//! hook that continues allocates nothing more. Whatever else it needs it asks the host for, by
//! the functions of [`current`], [`kv`], [`limiter`] and so on, about 0.1 µs a call. Modules
//! other than [`current`] and [`log`] need a grant by the operator.
//!
//! # Tests
//! On any target but wasm those functions talk to [`testing`]'s host in memory, so that
//! `cargo test` runs a plugin as it is.

#[rustfmt::skip]
#[expect(
    clippy::allow_attributes,
    reason = "the generator cannot say which of its lints will fire on which target"
)]
#[allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes_without_reason,
    reason = "generated from the contract; the calling convention of components is unsafe by nature"
)]
#[doc(hidden)]
pub mod bindings;

#[cfg(target_family = "wasm")]
mod component;
mod config;
mod decision;
mod export;
mod fields;
mod plugin;
mod route_map;

pub mod clock;
pub mod crypto;
pub mod current;
pub mod kv;
pub mod limiter;
pub mod log;
pub mod metrics;
pub mod random;
pub mod revocations;
pub mod sink;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod timestamp;

pub use bindings::pillion::plugin::types::{
    Attribute, Caller, ConfigError, Decision, Descriptor, Edits, Header, HttpResponse,
    ResponseDecision, ResponseEdits,
};
pub use decision::Problem;
pub use export::Exported;
pub use fields::{Kind, Packed, Phase, Value, Values, View};
pub use plugin::{OnComplete, OnRequest, OnResponse, Plugin};
pub use route_map::{Route, RouteMap};
pub use schemars::{self, JsonSchema};

/// What the macros expand to. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    #[cfg(target_family = "wasm")]
    pub use crate::component::{Component, Instance};
    pub use crate::export::{completion, descriptor, plugin_name, request, response};
    pub use crate::fields::{Phase, check_phase, checked};
}
