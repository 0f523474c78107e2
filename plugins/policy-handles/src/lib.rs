//! The policy on handles: a request that would take a user name which the operator keeps back is
//! answered with 403, before the service sees it.
//!
//! It looks at the query field `username` of the routes of its configuration; whatever else comes
//! passes. Its place is the users service's chain, behind auth, around the step of a saga that
//! reserves a handle:
//!
//! ```toml
//! [plugins.policy-handles]
//! component = "policy-handles.wasm"
//!
//! [plugins.policy-handles.config]
//! names = ["admin", "root"]
//! prefixes = ["pillion"]
//!
//! [services.users]
//! plugins = ["auth", "policy-handles"]
//! ```
//!
//! The saga, a registration or a change of handle, then ends with its compensation, and whoever
//! asked for the name is told why. A name that is taken already stays with its owner: the list is
//! about names that are asked for.

mod config;
mod query;

use std::collections::BTreeSet;

use pillion_plugin::{
    ConfigError, Decision, HttpResponse, OnRequest, Plugin, RouteMap, current, fields,
};

pub use crate::config::Config;

/// The plugin.
#[derive(Debug)]
pub struct PolicyHandles {
    /// In lower case.
    names: BTreeSet<String>,
    /// In lower case.
    prefixes: Vec<String>,
    routes: RouteMap<()>,
}

fields! {
    /// What the request phase sees. The query is read only where it matters.
    #[derive(Debug)]
    pub struct Seen<'a> {
        method: &'a str = "method",
        route: Option<&'a str> = "route",
        path: &'a str = "path",
    }
}

impl Plugin for PolicyHandles {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<ConfigError>> {
        config::check(&config)
    }
}

impl OnRequest for PolicyHandles {
    type Fields<'a> = Seen<'a>;

    fn on_request(&mut self, seen: Seen<'_>) -> Decision {
        let Some(route) = seen.route else {
            return Decision::Continue;
        };
        // Other steps of a saga share the route and may show a name too: they take none.
        let other_step = route.ends_with(STEPS) && query::last_segment(seen.path) != RESERVE_HANDLE;
        if self.routes.get(seen.method, route).is_none() || other_step {
            return Decision::Continue;
        }
        let query = current::field("query").unwrap_or_default();
        let is_refused = query::values(&query, b"username")
            .any(|name| self.keeps_back(&String::from_utf8_lossy(&name).to_lowercase()));
        if !is_refused {
            return Decision::Continue;
        }
        // Without the name: it came from a client, and whoever asked knows it.
        let detail = "This username is not available: it is kept back by the operator's policy. \
                      Choose another one.";
        HttpResponse::problem(403, "Forbidden", detail).into()
    }
}

/// The end of the template of sagas' steps, and the step that reserves a handle.
const STEPS: &str = "/steps/{step}";
const RESERVE_HANDLE: &[u8] = b"reserve_handle";

impl PolicyHandles {
    /// Whether this name, in lower case, is on a list.
    fn keeps_back(&self, name: &str) -> bool {
        self.names.contains(name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

pillion_plugin::export!(PolicyHandles: request);

#[cfg(test)]
mod tests;
