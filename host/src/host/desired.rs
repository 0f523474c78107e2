//! A set that was decided elsewhere, for many hosts: activated here, or what runs goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Host, base_digest};
use crate::audit::Attempt;
use crate::error::{ActivateError, LoadError, LoadErrorReason};
use crate::generation::{Cause, Record};
use crate::report::GenerationInfo;
use crate::spec::{Digest, GenerationSpec};

/// What stands for the configuration's own set in the records of sets that came from elsewhere:
/// so a failing version falls back to one of an earlier revision, and a configuration that is
/// followed again counts at once.
const BASE: &[u8] = b"decided for many hosts";

impl Host {
    /// Activates a set that was decided for many hosts, unless it is what runs already. Each
    /// plugin's digest must be set; components that this host does not keep come in
    /// `components`. `by` made the change, for the audit log. Nothing changes unless all of them
    /// load. Blocks as [`Self::swap`] does.
    ///
    /// In a host that has just been made it takes the place of [`Self::start`]. A version that
    /// kept failing and was replaced by the one before it stays so while the set is the same.
    pub fn activate(
        &self,
        revision: u64,
        by: Option<&str>,
        spec: GenerationSpec,
        mut components: BTreeMap<Digest, Vec<u8>>,
    ) -> Result<GenerationInfo, ActivateError> {
        let mut activation = self.lock();
        for (digest, bytes) in &components {
            let found = Digest::of(bytes);
            if found != *digest {
                let reason = LoadErrorReason::Digest { expected: *digest, found };
                return Err(LoadError { plugin: digest.short(), reason }.into());
            }
        }
        let desired = Some(base_digest(&spec));
        let running = activation.record.clone();
        let starts = running.is_none();
        let before = running.or_else(|| self.0.records.active());
        if let Some(record) = before.clone().filter(|record| record.desired == desired) {
            if !starts {
                return Ok(GenerationInfo::of(&record, record.id));
            }
            match self.build(record.id, &record.spec, &BTreeMap::new(), &components) {
                Ok(generation) => {
                    self.keep(&mut components)?;
                    self.0.current.store(Arc::new(generation));
                    let info = GenerationInfo::of(&record, record.id);
                    activation.record = Some(record);
                    return Ok(info);
                }
                Err(error) => tracing::error!(
                    generation = record.id, %error,
                    "the recorded generation does not load; the set it came of is used"
                ),
            }
        }
        let cause = Cause::Fleet { revision };
        let previous = before.as_ref().map(|record| record.id);
        let record = Record { desired, ..self.record(cause, Digest::of(BASE), spec, previous) };
        let attempt = Attempt::new(by, "fleet");
        let none = GenerationSpec::default();
        let earlier = before.as_ref().map_or(&none, |before| &before.spec);
        let attempt = Attempt { from: previous, ..attempt.between(earlier, &record.spec) };
        let running = self.generation();
        let built = self
            .build(record.id, &record.spec, &running.plugins, &components)
            .and_then(|generation| self.keep(&mut components).map(|()| generation));
        drop(running);
        let flipped = built.and_then(|built| self.flip(&mut activation, record, Arc::new(built)));
        self.conclude(attempt, flipped)
    }

    /// The components of a set that this host does not keep, by the plugin's name. One that is
    /// kept but damaged counts as not kept.
    pub fn missing(&self, spec: &GenerationSpec) -> BTreeMap<String, Digest> {
        let named = spec.plugins.iter().filter_map(|(name, plugin)| Some((name, plugin.digest?)));
        named
            .filter(|(_, digest)| self.0.artifacts.component(digest).is_err())
            .map(|(name, digest)| (name.clone(), digest))
            .collect()
    }

    /// The generation that runs; `None` before the first.
    pub fn running(&self) -> Option<GenerationInfo> {
        let activation = self.lock();
        activation.record.as_ref().map(|record| GenerationInfo::of(record, record.id))
    }
}
