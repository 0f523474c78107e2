//! The way back from a version that keeps failing: when a plugin fails again after a quarantine,
//! the version before it takes its place, while everything else stays as it is.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread;

use super::{Activation, Host};
use crate::error::{ActivateError, HostError};
use crate::generation::{Cause, Record};
use crate::spec::PluginSpec;

impl Host {
    /// Starts the thread that listens for alarms; it ends with the host.
    pub(super) fn guard(&self, alarms: mpsc::Receiver<Arc<str>>) -> Result<(), HostError> {
        let host = Arc::downgrade(&self.0);
        thread::Builder::new()
            .name("pillion-guard".to_owned())
            .spawn(move || {
                while let Ok(name) = alarms.recv() {
                    let Some(inner) = host.upgrade() else {
                        break;
                    };
                    if let Err(error) = Self(inner).fall_back(&name) {
                        tracing::error!(
                            plugin = &*name, %error,
                            "the version before the one that keeps failing does not load"
                        );
                    }
                }
            })
            .map(drop)
            .map_err(|source| HostError::Io {
                what: "cannot start the thread that watches over plugins".to_owned(),
                source,
            })
    }

    fn fall_back(&self, name: &str) -> Result<(), ActivateError> {
        let mut activation = self.lock();
        let running = self.generation();
        let (Some(current), Some(failing)) = (activation.record.clone(), running.plugins.get(name))
        else {
            return Ok(());
        };
        // It may have been exchanged since.
        if !failing.quarantined() {
            return Ok(());
        }
        activation.set_aside.push((name.to_owned(), failing.spec.clone()));
        let Some((to, before)) = self.version_before(&activation, &current, name) else {
            tracing::error!(plugin = name, "there is no version before the one that keeps failing");
            return Ok(());
        };
        let mut spec = current.spec.clone();
        spec.plugins.insert(name.to_owned(), before.clone());
        let cause = Cause::Fallback { plugin: name.to_owned(), to };
        let mut record = self.record(cause, current.base, spec, Some(current.id));
        record.desired = current.desired;
        let mut loaded = running.plugins.clone();
        drop(running);
        if let Some(warm) = warm(&activation, name, &before) {
            loaded.insert(name.to_owned(), warm);
        }
        let generation = self.build(record.id, &record.spec, &loaded, &BTreeMap::new())?;
        drop(loaded);
        tracing::error!(plugin = name, to, "it keeps failing; its version before takes its place");
        self.flip(&mut activation, record, Arc::new(generation)).map(drop)
    }

    /// The newest other version of a plugin that ran under the same configuration and has not
    /// kept failing itself, with the generation that had it.
    fn version_before(
        &self,
        activation: &Activation,
        current: &Record,
        name: &str,
    ) -> Option<(u64, PluginSpec)> {
        let mut previous = current.previous;
        while let Some(record) = previous.and_then(|id| self.0.records.read(id)) {
            if record.base != current.base {
                return None;
            }
            previous = record.previous;
            let Some(version) = record.spec.plugins.get(name) else {
                continue;
            };
            let failed = |(of, spec): &(String, PluginSpec)| of == name && spec == version;
            if !activation.set_aside.iter().any(failed) {
                return Some((record.id, version.clone()));
            }
        }
        None
    }
}

/// The same version with its instances still warm, if it ran just before.
fn warm(
    activation: &Activation,
    name: &str,
    version: &PluginSpec,
) -> Option<Arc<crate::plugin::LoadedPlugin>> {
    let (_, generation) = activation.previous.as_ref()?;
    generation.plugins.get(name).filter(|loaded| loaded.spec == *version).map(Arc::clone)
}
