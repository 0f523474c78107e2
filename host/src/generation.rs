//! A generation: the set of plugins that runs, and its durable record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde::{Deserialize, Serialize};

use crate::artifacts::write_durably;
use crate::chain::Chain;
use crate::completions::Completions;
use crate::crash;
use crate::error::ActivateError;
use crate::plugin::LoadedPlugin;
use crate::spec::{Digest, GenerationSpec};

/// Records that are kept; older ones go, with the components that only they name.
const RECORDS_MAX: usize = 32;

/// The running set.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) id: u64,
    pub(crate) chains: Vec<Chain>,
    pub(crate) plugins: BTreeMap<String, Arc<LoadedPlugin>>,
    /// Of the requests on it, those whose response is a stream: it may take for ever, and who
    /// waits for the others does not wait for it.
    pub(crate) streams: AtomicUsize,
    /// The host's queue for completion hooks.
    pub(crate) completions: Arc<Completions>,
}

impl Generation {
    pub(crate) fn new(
        id: u64,
        chains: Vec<Chain>,
        plugins: BTreeMap<String, Arc<LoadedPlugin>>,
        completions: Arc<Completions>,
    ) -> Self {
        Self { id, chains, plugins, streams: AtomicUsize::new(0), completions }
    }

    /// Where the chain of a service is; `None` when no plugin is in it.
    pub(crate) fn place(&self, service: &str) -> Option<usize> {
        self.chains.iter().position(|chain| *chain.service == *service && chain.len() > 0)
    }
}

/// Why there is a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// The configuration is new or has changed.
    Configuration,
    /// A set that was decided for many hosts.
    Fleet {
        /// Of the document that holds it.
        revision: u64,
    },
    /// One plugin was exchanged.
    Swap {
        /// Which.
        plugin: String,
    },
    /// One plugin kept failing, and its version before was brought back.
    Fallback {
        /// Which.
        plugin: String,
        /// The generation whose version it is.
        to: u64,
    },
    /// An earlier set was brought back.
    Rollback {
        /// The generation whose set it is.
        to: u64,
    },
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Configuration => f.write_str("configuration"),
            Self::Fleet { revision } => write!(f, "revision {revision} of the fleet"),
            Self::Swap { plugin } => write!(f, "swap of {plugin}"),
            Self::Fallback { plugin, to } => write!(f, "fallback of {plugin} to that of {to}"),
            Self::Rollback { to } => write!(f, "rollback to {to}"),
        }
    }
}

/// What is on disk of a generation: enough to bring it back without anything else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    /// Microseconds since 1970.
    pub(crate) activated_us: u64,
    #[serde(flatten)]
    pub(crate) cause: Cause,
    /// The digest of the configuration's own set, with its components. While the configuration
    /// says the same, this record holds at the next start.
    pub(crate) base: Digest,
    /// The digest of the set that was decided for many hosts, when this came of one. While that
    /// one holds, so does this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) desired: Option<Digest>,
    /// Each plugin's `digest` is set.
    pub(crate) spec: GenerationSpec,
    /// The generation that ran before, for rollback.
    pub(crate) previous: Option<u64>,
}

/// The folder of records: `N.json` for each, and `active`, which names one.
#[derive(Debug)]
pub(crate) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:010}.json"))
    }

    fn active_path(&self) -> PathBuf {
        self.folder.join("active")
    }

    /// Makes `record` the one that holds after a restart. The record is on disk before `active`
    /// names it, and naming it is one rename: a crash leaves the old or the new one, never
    /// something between.
    pub(crate) fn activate(&self, record: &Record) -> Result<(), ActivateError> {
        let failed = |path: &Path| {
            let what = format!("cannot write the activation record {}", path.display());
            move |source| ActivateError::Record { what, source }
        };
        let path = self.path(record.id);
        let json =
            serde_json::to_vec_pretty(record).map_err(io::Error::other).map_err(failed(&path))?;
        crash::point("activate.record.before");
        write_durably(&path, &json).map_err(failed(&path))?;
        crash::point("activate.record.after");
        let active = self.active_path();
        write_durably(&active, record.id.to_string().as_bytes()).map_err(failed(&active))?;
        crash::point("activate.active.after");
        Ok(())
    }

    /// The record that held last. Damaged ones are passed over, with a word to the operator.
    pub(crate) fn active(&self) -> Option<Record> {
        let named = fs::read_to_string(self.active_path()).ok()?.trim().parse::<u64>().ok();
        if let Some(record) = named.and_then(|id| self.read(id)) {
            return Some(record);
        }
        tracing::error!(folder = %self.folder.display(), "the active activation record is damaged; the newest readable one before it is used");
        self.ids()
            .into_iter()
            .rev()
            .filter(|id| named.is_none_or(|named| *id < named))
            .find_map(|id| self.read(id))
    }

    pub(crate) fn read(&self, id: u64) -> Option<Record> {
        let path = self.path(id);
        let json = fs::read(&path).ok()?;
        match serde_json::from_slice(&json) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "an activation record cannot be read");
                None
            }
        }
    }

    /// All that are there, oldest first.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut ids: Vec<u64> = entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok())
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The number that the next generation gets. Also past records that were written but never
    /// became active: a number is never used twice.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids().last().map_or(1, |last| last + 1)
    }

    /// Drops the oldest records beyond the bound. Gives the digests that the others name.
    pub(crate) fn prune(&self) -> BTreeSet<String> {
        let ids = self.ids();
        let surplus = ids.len().saturating_sub(RECORDS_MAX);
        for id in ids.iter().take(surplus) {
            if let Err(error) = fs::remove_file(self.path(*id)) {
                tracing::warn!(id, %error, "cannot remove an old activation record");
            }
        }
        ids.iter()
            .skip(surplus)
            .filter_map(|id| self.read(*id))
            .flat_map(|record| record.spec.plugins.into_values())
            .filter_map(|plugin| plugin.digest.map(|digest| digest.hex()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64) -> Record {
        Record {
            id,
            activated_us: 1,
            cause: Cause::Configuration,
            base: Digest::of(b""),
            desired: None,
            spec: GenerationSpec::default(),
            previous: None,
        }
    }

    #[test]
    fn the_last_activated_record_holds_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path().join("generations")).unwrap();
        assert!(records.active().is_none());
        for id in 1..=40 {
            assert_eq!(records.next_id(), id);
            records.activate(&record(id)).unwrap();
            records.prune();
        }
        assert_eq!(records.active().unwrap().id, 40);
        assert_eq!(records.ids().len(), RECORDS_MAX);
    }

    #[test]
    fn a_record_that_was_written_but_not_named_does_not_hold() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path().to_owned()).unwrap();
        records.activate(&record(1)).unwrap();
        write_durably(&records.path(2), &serde_json::to_vec(&record(2)).unwrap()).unwrap();
        assert_eq!(records.active().unwrap().id, 1);
        assert_eq!(records.next_id(), 3);
    }

    #[test]
    fn a_damaged_record_falls_back_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path().to_owned()).unwrap();
        records.activate(&record(1)).unwrap();
        records.activate(&record(2)).unwrap();
        fs::write(records.path(2), b"{ truncat").unwrap();
        assert_eq!(records.active().unwrap().id, 1);
    }
}
