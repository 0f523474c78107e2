//! The plugins under comparison: a host, and the three of them in one chain.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use pillion_host::{
    GenerationSpec, Grants, Host, HostOptions, InstanceMode, Key, PluginSpec, RouteTable, SinkSpec,
    SinkTarget,
};
use serde_json::{Map, Value, json};

use crate::places;
use crate::workload::{
    AUDIENCE, CACHE_ENTRIES, CACHE_TTL_S, ISSUER, KEYSET, KID, LIMIT, ROUTES, SECRET, SERVICE,
    SINK, WINDOW_S,
};

/// How long a log line may wait in memory. Shorter than the default of 50 ms: one thread writes
/// more lines here than a buffer of 1 MiB holds in that time, and a line that is dropped is work
/// that is not done.
pub(crate) const FLUSH: Duration = Duration::from_millis(10);

/// Whether a token that was checked is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Every signature and claim, every time.
    CheckAlways,
    /// In a bounded cache.
    Cache,
}

/// A host with the outputs and keys that the plugins use. `log` gets the access log.
pub fn host(state: &Path, log: &Path, workers: usize) -> Result<Host> {
    let mut options = HostOptions::new(state);
    options.workers = workers;
    let sink = SinkSpec { target: SinkTarget::File(log.to_owned()), flush: FLUSH };
    options.sinks.insert(SINK.to_owned(), sink);
    options.keyring.set(KEYSET, [(KID.to_owned(), Key::hmac_sha256(SECRET))]);
    Host::new(options).context("the plugin host cannot start")
}

/// The routes that the plugins know.
pub fn routes() -> RouteTable {
    RouteTable::new(ROUTES.map(|route| (route.method, route.template.to_owned())))
}

/// Logging, auth and rate limit around [`SERVICE`].
pub fn plugins(tokens: Tokens, mode: InstanceMode) -> Result<GenerationSpec> {
    let entries = match tokens {
        Tokens::CheckAlways => 0,
        Tokens::Cache => CACHE_ENTRIES,
    };
    let routes: Map<String, Value> = ROUTES
        .iter()
        .map(|route| {
            let key = format!("{} {}", route.method, route.template);
            (key, json!({ "scopes": route.scopes }))
        })
        .collect();
    let auth = json!({
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "keyset": KEYSET,
        "cache_entries": entries,
        "cache_ttl_s": CACHE_TTL_S,
        "partners": { KID: {
            "issuer": ISSUER, "audience": AUDIENCE, "scopes": ["*"], "users": ["*"],
            "clients": ["*"],
        } },
        "routes": routes,
    });
    let limits = json!({ "user": LIMIT, "app": LIMIT, "window_s": WINDOW_S });
    let mut spec = GenerationSpec::default();
    for (name, grants, config) in [
        ("logging", vec![format!("sink:{SINK}")], json!({ "sink": SINK })),
        (
            "auth",
            vec!["identity".to_owned(), format!("crypto:{KEYSET}"), "revocations".to_owned()],
            auth,
        ),
        ("ratelimit", vec!["limiter".to_owned()], json!({ "windows": { "default": limits } })),
    ] {
        let mut plugin = PluginSpec::new(places::plugin(name)?);
        plugin.grants = Grants::try_from(grants).map_err(anyhow::Error::msg)?;
        plugin.config = config;
        plugin.mode = mode;
        spec.plugins.insert(name.to_owned(), plugin);
    }
    let chain = ["logging", "auth", "ratelimit"].map(str::to_owned);
    spec.chains.insert(SERVICE.to_owned(), chain.to_vec());
    Ok(spec)
}
