//! Which keys of two configurations differ. Only their names: values may be secrets.

use std::collections::BTreeSet;

use super::Loaded;

/// Segments of a key's path that are named, at most.
const DEPTH_MAX: usize = 3;

/// The keys that differ, such as `server.requests`, `plugins.auth.config` or `sinks.access`, in
/// their order. A default that is written out is no difference.
pub(crate) fn changed_keys(old: &Loaded, new: &Loaded) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let (before, after) = (table(old), table(new));
    differing("", &before, &after, 1, &mut keys);
    keys.retain(|key| !is_same(key, old, new));
    keys
}

/// What was read before can be read again.
fn table(loaded: &Loaded) -> toml::Table {
    loaded.text.parse().unwrap_or_default()
}

fn differing(
    path: &str,
    old: &toml::Table,
    new: &toml::Table,
    depth: usize,
    keys: &mut BTreeSet<String>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let empty = toml::Value::Table(toml::Table::new());
    for name in names {
        let own = format!("{path}{name}");
        match (old.get(name), new.get(name)) {
            (before, after) if before == after => {}
            (Some(toml::Value::Table(_)) | None, Some(toml::Value::Table(_)) | None)
                if depth < deepest(&own) =>
            {
                let before = old.get(name).unwrap_or(&empty).as_table();
                let after = new.get(name).unwrap_or(&empty).as_table();
                if let (Some(before), Some(after)) = (before, after) {
                    differing(&format!("{own}."), before, after, depth + 1, keys);
                }
                if before.is_none_or(toml::Table::is_empty)
                    && after.is_none_or(toml::Table::is_empty)
                {
                    keys.insert(own);
                }
            }
            _ => {
                keys.insert(own);
            }
        }
    }
}

/// A sink and a key set are named as a whole.
fn deepest(key: &str) -> usize {
    if key.starts_with("sinks") || key.starts_with("keysets") { 2 } else { DEPTH_MAX }
}

/// Whether what a key says is the same all the same, because one of the two says the default.
fn is_same(key: &str, old: &Loaded, new: &Loaded) -> bool {
    let (old, new) = (&old.config, &new.config);
    let mut path = key.split('.');
    match (path.next().unwrap_or_default(), path.next()) {
        ("server", _) => old.server == new.server,
        ("log", Some("filter")) => old.log.filter == new.log.filter,
        ("log", _) => old.log.format == new.log.format,
        ("host", _) => old.host == new.host,
        ("tokens", _) => old.tokens == new.tokens,
        ("accounts", _) => old.accounts == new.accounts,
        ("tls", _) => old.tls == new.tls,
        ("broker", _) => old.broker == new.broker,
        ("state", _) => old.state == new.state,
        ("fleet", _) => old.fleet == new.fleet,
        ("sinks", Some(name)) => old.sinks.get(name) == new.sinks.get(name),
        ("keysets", Some(name)) => old.keysets.get(name) == new.keysets.get(name),
        ("services", Some(name)) => old.services.get(name) == new.services.get(name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BUILT_IN, Overrides};
    use super::*;

    fn loaded(text: &str) -> Loaded {
        Loaded {
            config: super::super::reading::parse(text).unwrap(),
            name: "pillion.toml".to_owned(),
            base: std::path::PathBuf::new(),
            text: text.to_owned(),
            file: None,
            overrides: Overrides::default(),
        }
    }

    fn changed(changes: &[(&str, &str)]) -> Vec<String> {
        let new = changes.iter().fold(BUILT_IN.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        changed_keys(&loaded(BUILT_IN), &loaded(&new)).into_iter().collect()
    }

    #[test]
    fn keys_are_named_as_deep_as_helps_and_never_with_values() {
        assert_eq!(changed(&[]), [""; 0]);
        assert_eq!(
            changed(&[
                ("requests = 1024", "requests = 77"),
                ("filter = \"info\"", "filter = \"debug\""),
                ("sample = 1.0", "sample = 0.5"),
                ("burst = 300", "burst = 301"),
                ("flush_ms = 50", "flush_ms = 51"),
                ("# plugin_dir =", "plugin_dir ="),
            ]),
            [
                "host.plugin_dir",
                "log.filter",
                "plugins.logging.config",
                "plugins.ratelimit-address.config",
                "server.requests",
                "sinks.access"
            ]
        );
    }

    #[test]
    fn what_is_added_or_removed_is_named_and_a_default_that_is_written_out_is_not() {
        let without = BUILT_IN.replacen("requests = 1024", "", 1);
        assert!(changed_keys(&loaded(BUILT_IN), &loaded(&without)).is_empty());
        let added = format!("{BUILT_IN}\n[sinks.other]\npath = \"x\"\n");
        let keys: Vec<_> = changed_keys(&loaded(BUILT_IN), &loaded(&added)).into_iter().collect();
        assert_eq!(keys, ["sinks.other"]);
        let keys: Vec<_> = changed_keys(&loaded(&added), &loaded(BUILT_IN)).into_iter().collect();
        assert_eq!(keys, ["sinks.other"]);
    }
}
