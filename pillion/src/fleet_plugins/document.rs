//! The document that says what all hosts run, and what a host says of itself.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use pillion_chassis::Timestamp;
use pillion_host::{Cause, Digest, GenerationSpec, PluginSpec};
use serde::{Deserialize, Serialize};

/// The form of the document that this program reads and writes.
const FORMAT: u32 = 1;

/// Of a document: what fits into one message of a NATS server as it comes, with room to spare. A
/// full set with all of its routes and quotas takes some 30 KiB, and the document holds two.
pub(super) const DOCUMENT_BYTES_MAX: usize = 768 << 10;

/// What all hosts run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    format: u32,
    /// One more with every change.
    pub(super) revision: u64,
    /// Microseconds since 1970.
    pub(super) changed_us: i64,
    /// What the last change was.
    pub(super) change: Cause,
    /// Who made it, for the hosts' audit logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
    /// Every plugin with its digest, and the chains of every service.
    pub(super) set: GenerationSpec,
    /// What ran before, for a rollback.
    pub(super) previous: Option<Earlier>,
}

/// The set of an earlier revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Earlier {
    pub(super) revision: u64,
    pub(super) set: GenerationSpec,
}

impl Document {
    /// The one that follows on `before`; the first one without.
    pub(super) fn after(
        before: Option<&Self>,
        change: Cause,
        set: GenerationSpec,
        now: Timestamp,
    ) -> Self {
        Self {
            format: FORMAT,
            revision: before.map_or(0, |before| before.revision) + 1,
            changed_us: now.as_micros(),
            change,
            by: None,
            set: without_paths(set),
            previous: before
                .map(|before| Earlier { revision: before.revision, set: before.set.clone() }),
        }
    }

    /// Reads one and checks that it is whole.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(
            bytes.len() <= DOCUMENT_BYTES_MAX,
            "the document has {} bytes, over its bound of {DOCUMENT_BYTES_MAX}",
            bytes.len()
        );
        let found: serde_json::Value =
            serde_json::from_slice(bytes).context("the document is not JSON")?;
        let format = found.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
        ensure!(
            format == u64::from(FORMAT),
            "the document is of form {format}, and this program reads form {FORMAT}: update the \
             program, or write the document anew with `pillion plugin publish --fleet`"
        );
        let document: Self =
            serde_json::from_value(found).context("the document is not as it must be")?;
        document.check()?;
        Ok(document)
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        self.check()?;
        let json = serde_json::to_vec_pretty(self)?;
        ensure!(
            json.len() <= DOCUMENT_BYTES_MAX,
            "the document would have {} bytes, over its bound of {DOCUMENT_BYTES_MAX}",
            json.len()
        );
        Ok(json)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.revision > 0, "the document's revision is 0; the first one is 1");
        for set in std::iter::once(&self.set).chain(self.previous.iter().map(|it| &it.set)) {
            for (name, plugin) in &set.plugins {
                ensure!(plugin.digest.is_some(), "the plugin `{name}` has no digest");
            }
            for (service, chain) in &set.chains {
                let unknown = chain.iter().find(|name| !set.plugins.contains_key(*name));
                if let Some(name) = unknown {
                    bail!("the chain of {service} names the plugin `{name}`, which is not there");
                }
            }
        }
        Ok(())
    }

    /// What a host with these services runs. A service that the document does not know is an
    /// error: it would be served without its plugins.
    pub(super) fn of_services(&self, services: &[&str]) -> Result<GenerationSpec> {
        let mut chains = BTreeMap::new();
        for service in services {
            let chain = self.set.chains.get(*service).with_context(|| {
                format!(
                    "revision {} of the fleet's plugins has no chain for the service {service}, \
                     which would be served without plugins; add it to pillion.toml and run \
                     `pillion plugin publish --fleet`",
                    self.revision
                )
            })?;
            chains.insert((*service).to_owned(), chain.clone());
        }
        let used = |name: &String| chains.values().any(|chain: &Vec<String>| chain.contains(name));
        let plugins = self.set.plugins.iter().filter(|(name, _)| used(name));
        let plugins = plugins.map(|(name, plugin)| (name.clone(), plugin.clone())).collect();
        Ok(GenerationSpec { plugins, chains })
    }

    /// Of all components that this set or the one before it needs.
    pub(super) fn digests(&self) -> Vec<Digest> {
        let sets = std::iter::once(&self.set).chain(self.previous.iter().map(|it| &it.set));
        let plugins = sets.flat_map(|set| set.plugins.values());
        let mut digests: Vec<Digest> = plugins.filter_map(|plugin| plugin.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    }
}

/// Only the file's name: a path of the machine that wrote the document says nothing elsewhere.
fn without_paths(mut set: GenerationSpec) -> GenerationSpec {
    for PluginSpec { component, .. } in set.plugins.values_mut() {
        *component = component.file_name().unwrap_or_default().into();
    }
    set
}

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// Its name, one of a kind.
    pub(super) host: String,
    /// The service that it runs, or `all`.
    pub(super) service: String,
    /// Its own generation.
    pub(super) generation: Option<u64>,
    /// The revision whose set that is; none while it runs its configuration's.
    pub(super) revision: Option<u64>,
    pub(super) state: State,
    /// Why it does not run what it should.
    pub(super) error: Option<String>,
    /// When it said so, in microseconds since 1970.
    pub(super) at_us: i64,
}

/// How a host stands with the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// It runs what the document says.
    Current,
    /// There is no document yet; it runs its configuration's set.
    Configuration,
    /// It is fetching or activating a new revision.
    Activating,
    /// The newest revision cannot be activated here; it stays on an earlier one.
    Failed,
    /// A version kept failing here, and the one before it took its place.
    FellBack,
    /// It cannot read the document; it runs what it last had.
    SourceAway,
}

impl State {
    pub(super) const ALL: [Self; 6] = [
        Self::Current,
        Self::Configuration,
        Self::Activating,
        Self::Failed,
        Self::FellBack,
        Self::SourceAway,
    ];

    /// As in metrics and tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Configuration => "configuration",
            Self::Activating => "activating",
            Self::Failed => "failed",
            Self::FellBack => "fell-back",
            Self::SourceAway => "source-away",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> GenerationSpec {
        let mut set = GenerationSpec::default();
        let mut plugin = PluginSpec::new("/somewhere/auth.wasm");
        plugin.digest = Some(Digest::of(b"auth"));
        set.plugins.insert("auth".to_owned(), plugin.clone());
        plugin.digest = Some(Digest::of(b"logging"));
        set.plugins.insert("logging".to_owned(), plugin);
        set.chains.insert("users".to_owned(), vec!["auth".to_owned()]);
        set.chains.insert("gateway".to_owned(), vec!["logging".to_owned(), "auth".to_owned()]);
        set
    }

    fn document() -> Document {
        let now = Timestamp::from_micros(5);
        let first = Document::after(None, Cause::Configuration, set(), now);
        Document::after(Some(&first), Cause::Swap { plugin: "auth".to_owned() }, set(), now)
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let document = document();
        assert_eq!((document.revision, document.previous.as_ref().unwrap().revision), (2, 1));
        let json = document.to_json().unwrap();
        assert_eq!(Document::parse(&json).unwrap(), document);
        assert!(!String::from_utf8(json).unwrap().contains("somewhere"), "no path of this machine");
        assert_eq!(document.digests().len(), 2);
    }

    #[test]
    fn a_host_takes_its_own_part_and_never_serves_what_is_not_there() {
        let users = document().of_services(&["users"]).unwrap();
        assert_eq!(users.plugins.keys().collect::<Vec<_>>(), ["auth"]);
        assert_eq!(users.chains.len(), 1);
        let error = document().of_services(&["users", "tweets"]).unwrap_err().to_string();
        assert!(error.contains("no chain for the service tweets"), "{error}");
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let json = String::from_utf8(document().to_json().unwrap()).unwrap();
        for (from, to, reason) in [
            ("\"format\": 1", "\"format\": 2", "of form 2"),
            ("\"revision\": 2", "\"revision\": 0", "revision is 0"),
            ("\"gateway\": [\n        \"logging\"", "\"gateway\": [\n        \"none\"", "`none`"),
            ("\"previous\"", "\"earlier\"", "not as it must be"),
            ("{\n", "", "not JSON"),
        ] {
            let changed = json.replacen(from, to, 1);
            assert_ne!(changed, json, "{from}");
            let error = format!("{:#}", Document::parse(changed.as_bytes()).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
        let mut unpinned = document();
        unpinned.set.plugins.get_mut("auth").unwrap().digest = None;
        assert!(unpinned.to_json().unwrap_err().to_string().contains("`auth` has no digest"));
    }
}
