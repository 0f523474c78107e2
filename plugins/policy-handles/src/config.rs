//! The operator's configuration, and what is wrong with it.

use pillion_plugin::{ConfigError, Route, schemars};
use serde::Deserialize;

use crate::PolicyHandles;

/// Entries of each list. A hook looks at every prefix, within its deadline.
const ENTRIES_MAX: usize = 10_000;

/// Configuration of the policy on handles: at least one name or prefix.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// User names that nobody gets, whatever their case.
    #[serde(default)]
    pub names: Vec<String>,
    /// What no user name may begin with, whatever its case.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Routes, as `METHOD TEMPLATE`, whose query field `username` is looked at. Of a saga's steps
    /// only `reserve_handle` is.
    #[serde(default = "routes")]
    pub routes: Vec<String>,
}

/// Where the users service is asked for a handle.
fn routes() -> Vec<String> {
    vec!["PUT /internal/sagas/{saga_id}/steps/{step}".to_owned()]
}

/// Everything that is wrong, or the plugin.
pub(crate) fn check(config: &Config) -> Result<PolicyHandles, Vec<ConfigError>> {
    let mut errors = Vec::new();
    if config.names.is_empty() && config.prefixes.is_empty() {
        errors.push(ConfigError::new("", "refuses nothing: set `names` or `prefixes`"));
    }
    for (key, entries) in [("names", &config.names), ("prefixes", &config.prefixes)] {
        if entries.len() > ENTRIES_MAX {
            let reason = format!("has {} entries; at most {ENTRIES_MAX}", entries.len());
            errors.push(ConfigError::new(key, reason));
        }
        for (place, entry) in entries.iter().enumerate() {
            // An empty prefix would refuse everybody, an empty name nobody: neither is meant.
            if entry.trim().is_empty() || entry.trim() != entry {
                let reason = "must not be empty, nor begin or end with a space";
                errors.push(ConfigError::new(format!("{key}[{place}]"), reason));
            }
        }
    }
    let mut routes = Vec::new();
    for (place, text) in config.routes.iter().enumerate() {
        match text.parse::<Route>() {
            Ok(route) => routes.push((route, ())),
            Err(reason) => errors.push(ConfigError::new(format!("routes[{place}]"), reason)),
        }
    }
    if config.routes.is_empty() {
        errors.push(ConfigError::new("routes", "must not be empty: it would look at nothing"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let folded = |entries: &[String]| entries.iter().map(|entry| entry.to_lowercase()).collect();
    Ok(PolicyHandles {
        names: config.names.iter().map(|name| name.to_lowercase()).collect(),
        prefixes: folded(&config.prefixes),
        routes: routes.into_iter().collect(),
    })
}
