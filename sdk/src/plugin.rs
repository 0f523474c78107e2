//! What a plugin implements.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{ConfigError, Decision, ResponseDecision, View};

/// A plugin: its configuration and how it begins.
///
/// One value lives in each instance. The phases of one request may run in different instances:
/// keep what a later phase needs in an attribute, and what outlives the request in
/// [`kv`](crate::kv) or [`limiter`](crate::limiter).
pub trait Plugin: Sized + 'static {
    /// The configuration, read from JSON. Give it `#[serde(deny_unknown_fields)]`, so that a
    /// misspelt key is an error that names it. Doc comments become the schema's descriptions.
    type Config: DeserializeOwned + JsonSchema;

    /// The grants without which it cannot work: `"kv"`, `"limiter"`, `"crypto"`, `"identity"`, ….
    const GRANTS: &'static [&'static str] = &[];

    /// Makes the plugin of a configuration that has the right shape.
    ///
    /// # Errors
    /// Everything else that is wrong with it, each naming its key; see [`ConfigError::new`].
    fn new(config: Self::Config) -> Result<Self, Vec<ConfigError>>;
}

/// The phase before the handler.
pub trait OnRequest: Plugin {
    /// The fields it wants; see [`fields!`](crate::fields!).
    type Fields<'a>: View<'a>;

    /// Decides about a request by its head.
    fn on_request(&mut self, fields: Self::Fields<'_>) -> Decision;
}

/// The phase after the handler, or after a plugin further in has answered.
pub trait OnResponse: Plugin {
    /// The fields it wants; see [`fields!`](crate::fields!).
    type Fields<'a>: View<'a>;

    /// Decides about a response by its head.
    fn on_response(&mut self, fields: Self::Fields<'_>) -> ResponseDecision;
}

/// The phase after the last byte of the response, or after the client has gone.
pub trait OnComplete: Plugin {
    /// The fields it wants; see [`fields!`](crate::fields!).
    type Fields<'a>: View<'a>;

    /// Observes a request that is over.
    fn on_complete(&mut self, fields: Self::Fields<'_>);
}
