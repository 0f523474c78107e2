//! Another configuration in a host that runs: its sinks and its set of plugins, both or neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Host, base_digest, resolve};
use crate::error::{ActivateError, HostError};
use crate::generation::Cause;
use crate::report::GenerationInfo;
use crate::sinks::SinkSpec;
use crate::spec::GenerationSpec;

/// Why a configuration was not taken. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// A sink cannot be opened.
    #[error(transparent)]
    Sinks(#[from] HostError),
    /// The set of plugins cannot be activated.
    #[error(transparent)]
    Activate(#[from] ActivateError),
}

impl Host {
    /// Applies another configuration while requests flow: opens all log sinks again, and
    /// activates `spec`, the configuration's set of plugins, as [`Self::start`] would, if it is
    /// not what the running generation is based on. In that case swaps that were made since stay.
    /// Without `spec` only the sinks change. Nothing changes unless everything opens and loads.
    /// Blocks as [`Self::swap`] does. The new generation, when there is one.
    ///
    /// # Errors
    ///
    /// What cannot be opened or loaded.
    pub fn reload(
        &self,
        spec: Option<GenerationSpec>,
        sinks: &BTreeMap<String, SinkSpec>,
    ) -> Result<Option<GenerationInfo>, ReloadError> {
        let prepared = self.0.sinks.prepare(sinks)?;
        match spec.map(|spec| self.reconfigure(spec)).transpose() {
            Ok(info) => {
                self.0.sinks.commit(prepared, sinks);
                Ok(info.flatten())
            }
            Err(error) => {
                self.0.sinks.discard(prepared);
                Err(error.into())
            }
        }
    }

    fn reconfigure(&self, spec: GenerationSpec) -> Result<Option<GenerationInfo>, ActivateError> {
        let mut activation = self.lock();
        let (resolved, mut components) = resolve(spec)?;
        let base = base_digest(&resolved);
        let running = activation.record.clone();
        if running.as_ref().is_some_and(|record| record.base == base) {
            return Ok(None);
        }
        let before = running.as_ref().map(|record| record.id);
        let record = self.record(Cause::Configuration, base, resolved, before);
        let loaded = self.generation();
        let generation = self.build(record.id, &record.spec, &loaded.plugins, &components)?;
        drop(loaded);
        self.keep(&mut components)?;
        if let Some(running) = running.filter(|running| running.cause != Cause::Configuration) {
            tracing::warn!(
                generation = running.id,
                cause = %running.cause,
                "reloaded configuration replaces plugins that were changed at run time; a rollback \
                 restores them"
            );
        }
        self.flip(&mut activation, record, Arc::new(generation)).map(Some)
    }
}
