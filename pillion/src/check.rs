//! `pillion check`: the configuration and every plugin in it, tried out as at a start.

use anyhow::{Context as _, Result, bail};
use pillion_chassis::ServiceKeys;
use pillion_host::{Host, Keyring, PluginReport};

use crate::certificates;
use crate::cli;
use crate::config::{Loaded, Overrides, SERVICES};
use crate::keys;
use crate::output::print;
use crate::process::host_options;
use crate::tracing_output;

/// The files for encrypted connections, where some are configured; no server is asked. Of those that
/// each service has for itself, the ones that are on this machine.
fn servers(loaded: &Loaded) -> Result<()> {
    let all = loaded.server_tls(None);
    let mut found = vec![all.clone()];
    for service in SERVICES {
        let own = loaded.server_tls(Some(service));
        let is_here = own.client.as_ref().is_some_and(|files| files.certificate.exists());
        if own != all && is_here {
            found.push(own);
        }
    }
    let context = || format!("{}: [tls.servers]", loaded.name);
    found.iter().try_for_each(|tls| tls.check().with_context(context))
}

/// A warning when a plugin limits clients by their address, and clients behind a proxy would all have
/// the proxy's.
fn shared_address(loaded: &Loaded, report: &PluginReport) -> Option<String> {
    const ADDRESS: &str = "address";
    let server = &loaded.config.server;
    let description = report.description.as_ref()?;
    let plugin = loaded.config.plugins.get(&report.name)?;
    let mut fields = description.phases.iter().flat_map(|phase| &phase.fields);
    let reads_address = fields.any(|field| field == ADDRESS);
    // One that can be told to limit by address does so only then.
    let is_optional = description.config_schema.pointer("/properties/address").is_some();
    let is_chosen = !is_optional || plugin.config.contains_key(ADDRESS);
    let clients = loaded.config.services.get(SERVICES[0])?;
    let faces_clients = clients.plugins.contains(&report.name);
    let is_limiter = reads_address && is_chosen && plugin.grants.limiter;
    let proxies_are_known = !server.trusted_proxies.is_empty();
    if !is_limiter || !faces_clients || proxies_are_known {
        return None;
    }
    let listen = clients.listen.unwrap_or(server.listen);
    let name = &report.name;
    Some(if listen.ip().is_loopback() {
        format!(
            "note: `{name}` limits by client address. Behind a reverse proxy on this machine set \
             server.trusted_proxies = [\"{}\"], or all clients share one address.",
            listen.ip()
        )
    } else {
        format!(
            "WARNING: `{name}` limits by client address, and {listen} is reachable from other \
             machines. Behind a reverse proxy or load balancer set server.trusted_proxies, or all \
             clients share its address and one of them can lock out all others."
        )
    })
}

/// Says for each plugin whether it would start; touches no data and no port.
pub(crate) fn check(check: &cli::Check) -> Result<()> {
    let loaded = Loaded::load(check.config.as_deref(), Overrides::default())?;
    tracing_output::filter(&loaded.config)?;
    for keyset in loaded.config.keysets.values() {
        keys::of_files(&loaded, keyset)?;
    }
    if let Some(path) = loaded.service_key() {
        ServiceKeys::open(&path).with_context(|| format!("{}: tokens.service_key", loaded.name))?;
    }
    certificates::public(&loaded)?;
    servers(&loaded)?;
    let scratch = tempfile::tempdir()?;
    let options = host_options(&loaded, None, scratch.path(), scratch.path(), Keyring::default())?;
    let host = Host::new(options)?;
    let reports = host.check(&loaded.generation(&SERVICES));
    let mut failed = 0;
    for report in &reports {
        let verdict = match &report.error {
            None => "ok".to_owned(),
            Some(error) => {
                failed += 1;
                format!("FAILED: {error}")
            }
        };
        print(&format!("{:<18} {verdict}", report.name))?;
    }
    if failed > 0 {
        bail!(
            "{failed} of {} plugins would not start; {} has their settings",
            reports.len(),
            loaded.name
        );
    }
    for report in &reports {
        if let Some(warning) = shared_address(&loaded, report) {
            print(&warning)?;
        }
    }
    print(&format!(
        "{}: {} plugins and {} services in order",
        loaded.name,
        reports.len(),
        SERVICES.len()
    ))
}
