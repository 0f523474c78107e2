//! The configuration of a fleet, made of another one by setting keys in its text, so that its
//! comments stay true.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::{FleetOptions, FleetTls};

/// So long callers need to turn to the other process of a pair: two health checks.
const DRAIN_DELAY_MS: u32 = 3_000;

/// What was made for the fleet.
pub(super) struct Made<'a> {
    /// Where each service's processes listen.
    pub(super) addresses: BTreeMap<&'static str, Vec<SocketAddr>>,
    /// The key of the tokens that services have for themselves.
    pub(super) service_key: &'a Path,
    /// The key that encrypts signing keys.
    pub(super) encryption_key: &'a Path,
    /// The folder of certificates, if there are any.
    pub(super) certificates: &'a Path,
}

/// The text for all processes of the fleet.
pub(super) fn text(options: &FleetOptions, made: &Made, nats: &str, redis: &str) -> String {
    let quoted = |text: &str| format!("{text:?}");
    let path = |path: &Path| format!("{:?}", path.display().to_string());
    let mut text = options.config.clone();
    let mut set = |section: &str, key: &str, value: String| {
        text = with_key(&text, section, key, &value);
    };
    set("server", "drain_delay_ms", DRAIN_DELAY_MS.to_string());
    set("host", "plugin_dir", path(&options.plugins));
    set("tokens", "service_key", path(made.service_key));
    set("tokens", "key_encryption_key", path(made.encryption_key));
    set("broker", "url", quoted(nats));
    set("state", "kv", quoted(redis));
    set("state", "limiter", quoted(redis));
    if options.tls != FleetTls::None {
        for (key, file) in
            [("ca", "ca.pem"), ("certificate", "{service}.pem"), ("key", "{service}.key")]
        {
            set("tls", key, path(&made.certificates.join(file)));
        }
    }
    let scheme = if options.tls == FleetTls::None { "http" } else { "https" };
    for (service, addresses) in &made.addresses {
        let urls: Vec<String> = addresses.iter().map(|it| format!("\"{scheme}://{it}\"")).collect();
        set(&format!("services.{service}"), "url", format!("[{}]", urls.join(", ")));
    }
    text
}

/// The text of a configuration with a key of a section set, in the place of the same key or of a comment that shows
/// it, else first.
pub fn with_key(text: &str, section: &str, key: &str, value: &str) -> String {
    let header = format!("[{section}]");
    let line = format!("{key} = {value}");
    let names = |found: &str| {
        let found = found.strip_prefix("# ").unwrap_or(found);
        found.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let lines: Vec<&str> = text.lines().collect();
    let begin = lines.iter().position(|line| *line == header);
    let Some(begin) = begin else {
        return format!("{text}\n{header}\n{line}\n");
    };
    let rest = lines.iter().skip(begin + 1);
    let there = rest.take_while(|line| !line.starts_with('[')).position(|line| names(line));
    let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    match there {
        Some(offset) => {
            if let Some(there) = lines.get_mut(begin + 1 + offset) {
                *there = line;
            }
        }
        None => lines.insert(begin + 1, line),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_where_it_stands_or_is_shown() {
        let text = "[a]\n# Where.\n# x = 1\ny = 2\n\n[b]\nx = 3\n";
        assert_eq!(with_key(text, "a", "x", "9"), "[a]\n# Where.\nx = 9\ny = 2\n\n[b]\nx = 3\n");
        assert_eq!(with_key(text, "b", "x", "9"), "[a]\n# Where.\n# x = 1\ny = 2\n\n[b]\nx = 9\n");
        assert_eq!(with_key("[b]\nx = 3\n", "b", "z", "9"), "[b]\nz = 9\nx = 3\n");
        assert_eq!(with_key("[b]\n", "c", "z", "9"), "[b]\n\n[c]\nz = 9\n");
    }
}
