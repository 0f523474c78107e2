//! What differs between two sets of plugins, in the words of the configuration.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::spec::{GenerationSpec, PluginSpec};

/// How a set differs from the one that ran before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// By plugin: `added`, `removed`, or which of its settings are others. The component is another
    /// one when its digest is, wherever it came from.
    pub plugins: BTreeMap<String, Vec<&'static str>>,
    /// Services that have another chain.
    pub chains: Vec<String>,
}

impl Changes {
    /// Whether the sets are the same, wherever their components came from.
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty() && self.chains.is_empty()
    }

    pub(crate) fn between(before: &GenerationSpec, after: &GenerationSpec) -> Self {
        let mut plugins = BTreeMap::new();
        for (name, plugin) in &after.plugins {
            let settings = match before.plugins.get(name) {
                None => vec!["added"],
                Some(earlier) => settings(earlier, plugin),
            };
            if !settings.is_empty() {
                plugins.insert(name.clone(), settings);
            }
        }
        let removed = before.plugins.keys().filter(|name| !after.plugins.contains_key(*name));
        plugins.extend(removed.map(|name| (name.clone(), vec!["removed"])));
        let all = before.chains.keys().chain(after.chains.keys());
        let differ = |service: &&String| {
            before.chains.get(*service).unwrap_or(&Vec::new())
                != after.chains.get(*service).unwrap_or(&Vec::new())
        };
        let mut chains: Vec<String> = all.filter(differ).cloned().collect();
        chains.sort();
        chains.dedup();
        Self { plugins, chains }
    }
}

/// The settings that differ, by their names in the configuration.
fn settings(before: &PluginSpec, after: &PluginSpec) -> Vec<&'static str> {
    // All of them, so that a new one is not forgotten here.
    let PluginSpec {
        component: _,
        digest,
        config,
        grants,
        limits,
        failure_policy,
        mode,
        breaker,
        fallback,
        self_check,
    } = before;
    let all = [
        ("component", *digest != after.digest),
        ("config", *config != after.config),
        ("grants", *grants != after.grants),
        ("limits", *limits != after.limits),
        ("failure_policy", *failure_policy != after.failure_policy),
        ("mode", *mode != after.mode),
        ("breaker", *breaker != after.breaker),
        ("fallback", *fallback != after.fallback),
        ("self_check", *self_check != after.self_check),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::Digest;

    fn set() -> GenerationSpec {
        let mut set = GenerationSpec::default();
        for name in ["auth", "ratelimit"] {
            let mut plugin = PluginSpec::new(format!("{name}.wasm"));
            plugin.digest = Some(Digest::of(name.as_bytes()));
            set.plugins.insert(name.to_owned(), plugin);
        }
        set.chains.insert("users".to_owned(), vec!["auth".to_owned()]);
        set
    }

    #[test]
    fn each_kind_of_change_is_told() {
        let before = set();
        assert_eq!(Changes::between(&before, &before), Changes::default());
        let mut after = set();
        let plugin = |set: &mut GenerationSpec, change: fn(&mut PluginSpec)| {
            change(set.plugins.get_mut("ratelimit").unwrap());
        };
        plugin(&mut after, |plugin| plugin.component = "elsewhere/ratelimit.wasm".into());
        assert_eq!(Changes::between(&before, &after), Changes::default());
        plugin(&mut after, |plugin| plugin.config = json!({ "strict": true }));
        let changes = Changes::between(&before, &after);
        assert_eq!(changes.plugins, BTreeMap::from([("ratelimit".to_owned(), vec!["config"])]));
        plugin(&mut after, |plugin| {
            plugin.digest = Some(Digest::of(b"new"));
            plugin.limits.deadline_ms += 1;
        });
        after.plugins.remove("auth");
        after.chains.insert("users".to_owned(), Vec::new());
        after.plugins.insert("logging".to_owned(), PluginSpec::new("logging.wasm"));
        after.chains.insert("gateway".to_owned(), vec!["logging".to_owned()]);
        let changes = Changes::between(&before, &after);
        let expected = [
            ("auth", vec!["removed"]),
            ("logging", vec!["added"]),
            ("ratelimit", vec!["component", "config", "limits"]),
        ];
        let expected = expected.map(|(name, settings)| (name.to_owned(), settings));
        assert_eq!(changes.plugins, BTreeMap::from(expected));
        assert_eq!(changes.chains, ["gateway", "users"]);
    }
}
