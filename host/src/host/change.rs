//! What an operator changes while requests flow: a swap of one plugin, and the way back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Activation, Host, read_component};
use crate::audit::{self, Attempt, AttemptedChange};
use crate::changes::Changes;
use crate::error::{ActivateError, LoadError, LoadErrorReason};
use crate::generation::{Cause, Record};
use crate::host_calls::now_us;
use crate::options::{RollbackRequest, SwapRequest};
use crate::plugin::LoadedPlugin;
use crate::report::GenerationInfo;
use crate::spec::GenerationSpec;

impl Host {
    /// Exchanges one plugin's component or configuration while requests flow. Nothing changes
    /// unless the new version loads, describes itself and takes its configuration. A change that
    /// asks for what runs already makes no generation. Blocks; returns when the requests of the
    /// generation before are done, but for streams, or the drain deadline is over.
    pub fn swap(&self, name: &str, change: SwapRequest) -> Result<GenerationInfo, ActivateError> {
        let mut activation = self.lock();
        let mut attempt = Attempt::new(change.by.as_deref(), "swap");
        let swapped = self.try_swap(&mut activation, name, change, &mut attempt);
        self.conclude(attempt, swapped)
    }

    fn try_swap(
        &self,
        activation: &mut Activation,
        name: &str,
        change: SwapRequest,
        attempt: &mut Attempt,
    ) -> Result<GenerationInfo, ActivateError> {
        attempt.plugins.insert(name.to_owned(), AttemptedChange::default());
        let Some(current) = activation.record.clone() else {
            return Err(ActivateError::NotLoaded(name.to_owned()));
        };
        attempt.from = Some(current.id);
        let mut spec = current.spec.clone();
        let Some(plugin) = spec.plugins.get_mut(name) else {
            return Err(ActivateError::NotLoaded(name.to_owned()));
        };
        let from = plugin.digest;
        attempt.plugins.insert(name.to_owned(), AttemptedChange { from, ..Default::default() });
        let mut components = BTreeMap::new();
        if let Some(path) = change.component {
            plugin.component = path;
            plugin.digest = change.digest;
            let (digest, bytes) = read_component(name, plugin)?;
            plugin.digest = Some(digest);
            components.insert(digest, bytes);
        } else if let (Some(expected), Some(found)) = (change.digest, plugin.digest)
            && expected != found
        {
            let reason = LoadErrorReason::Digest { expected, found };
            return Err(LoadError { plugin: name.to_owned(), reason }.into());
        }
        if let Some(config) = change.config {
            plugin.config = config;
        }
        if Changes::between(&current.spec, &spec).is_empty() {
            attempt
                .plugins
                .insert(name.to_owned(), AttemptedChange { from, to: from, ..Default::default() });
            return Ok(unchanged(&current));
        }
        attempt.plugins.clear();
        *attempt = attempt.clone().between(&current.spec, &spec);
        let cause = Cause::Swap { plugin: name.to_owned() };
        let record = self.record(cause, current.base, spec, Some(current.id));
        let running = self.generation();
        let generation = self.build(record.id, &record.spec, &running.plugins, &components)?;
        drop(running);
        self.keep(&mut components)?;
        self.flip(activation, record, Arc::new(generation))
    }

    /// Brings back the set that ran before the running one, as [`RollbackRequest::default`] does.
    pub fn rollback(&self) -> Result<GenerationInfo, ActivateError> {
        self.roll_back(&RollbackRequest::default())
    }

    /// Brings back an earlier set. Its instances are still warm when it was the last one to run.
    pub fn roll_back(&self, request: &RollbackRequest) -> Result<GenerationInfo, ActivateError> {
        let mut activation = self.lock();
        let mut attempt = Attempt::new(request.by.as_deref(), "rollback");
        let rolled_back = self.try_roll_back(&mut activation, request.to, &mut attempt);
        self.conclude(attempt, rolled_back)
    }

    fn try_roll_back(
        &self,
        activation: &mut Activation,
        to: Option<u64>,
        attempt: &mut Attempt,
    ) -> Result<GenerationInfo, ActivateError> {
        let current = activation.record.clone().ok_or(ActivateError::NothingToRollBackTo)?;
        attempt.from = Some(current.id);
        let to = match to {
            Some(id) => self.0.records.read(id).ok_or(ActivateError::NoSuchGeneration(id))?,
            None => self.set_before(&current).ok_or(ActivateError::NothingToRollBackTo)?,
        };
        *attempt = attempt.clone().between(&current.spec, &to.spec);
        if Changes::between(&current.spec, &to.spec).is_empty() {
            return Ok(unchanged(&current));
        }
        let warm = self.warm(activation, &to.spec);
        let cause = Cause::Rollback { to: to.id };
        let record = self.record(cause, current.base, to.spec, Some(current.id));
        let generation = self.build(record.id, &record.spec, &warm, &BTreeMap::new())?;
        drop(warm);
        self.flip(activation, record, Arc::new(generation))
    }

    /// The newest set before the running one that differs from it. A rollback counts as the
    /// generation that it went back to, so the next one goes further; and a version that a
    /// fallback has replaced is not brought back.
    fn set_before(&self, current: &Record) -> Option<Record> {
        let read = |id: Option<u64>| id.and_then(|id| self.0.records.read(id));
        let mut stands_for = current.clone();
        // Each is older than the one before, so this ends.
        let mut at = loop {
            let earlier = match &stands_for.cause {
                Cause::Rollback { to } if *to < stands_for.id => read(Some(*to)),
                Cause::Fallback { .. } => read(stands_for.previous),
                _ => break read(stands_for.previous),
            };
            let is_fallback = matches!(stands_for.cause, Cause::Fallback { .. });
            match earlier {
                Some(replaced) if is_fallback => break read(replaced.previous),
                Some(earlier) => stands_for = earlier,
                None => break read(stands_for.previous),
            }
        };
        while let Some(record) = at {
            if !Changes::between(&record.spec, &current.spec).is_empty() {
                return Some(record);
            }
            at = read(record.previous.filter(|previous| *previous < record.id));
        }
        None
    }

    /// What of this set is loaded: in the running generation, or in the one before.
    fn warm(
        &self,
        activation: &Activation,
        spec: &GenerationSpec,
    ) -> BTreeMap<String, Arc<LoadedPlugin>> {
        let running = self.generation();
        let before = activation.previous.as_ref().map(|(_, generation)| &generation.plugins);
        let found = spec.plugins.iter().filter_map(|(name, plugin)| {
            let mut loaded = [Some(&running.plugins), before].into_iter().flatten();
            let same = loaded.find_map(|set| set.get(name).filter(|it| it.spec == *plugin))?;
            Some((name.clone(), Arc::clone(same)))
        });
        found.collect()
    }

    /// Writes down what came of an attempt. The same refusal over and over, as of a host that
    /// follows a document, is written down once.
    pub(super) fn conclude(
        &self,
        attempt: Attempt,
        result: Result<GenerationInfo, ActivateError>,
    ) -> Result<GenerationInfo, ActivateError> {
        let outcome = match &result {
            Ok(info) if info.unchanged => "unchanged",
            Ok(_) => "activated",
            Err(_) => "refused",
        };
        let made = result.as_ref().ok().filter(|info| !info.unchanged);
        let attempt = Attempt {
            at_us: now_us(),
            outcome: outcome.to_owned(),
            generation: made.map(|info| info.generation),
            reason: result.as_ref().err().map(audit::reason),
            ..attempt
        };
        if attempt.action != "fleet" || !self.0.audit.repeats(&attempt) {
            self.0.audit.record(attempt);
        }
        result
    }
}

fn unchanged(current: &Record) -> GenerationInfo {
    GenerationInfo {
        changes: Some(Changes::default()),
        unchanged: true,
        ..GenerationInfo::of(current, current.id)
    }
}
