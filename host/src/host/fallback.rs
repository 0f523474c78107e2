//! The supervisor of plugins: moves the windows of their circuit breakers on, and, where an
//! operator has opted in, replaces a new version that fails by the one before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{Activation, Host};
use crate::audit::Attempt;
use crate::error::HostError;
use crate::generation::{Cause, Generation, Record};
use crate::plugin::LoadedPlugin;
use crate::report::GenerationInfo;
use crate::spec::PluginSpec;

/// How often plugins are looked at: a version that fails is replaced this soon.
const TICK: Duration = Duration::from_millis(20);

impl Host {
    /// Starts the supervisor's thread; it ends with the host.
    pub(super) fn supervise(&self) -> Result<(), HostError> {
        let host = Arc::downgrade(&self.0);
        thread::Builder::new()
            .name("pillion-plugins".to_owned())
            .spawn(move || {
                loop {
                    thread::sleep(TICK);
                    let Some(inner) = host.upgrade() else {
                        break;
                    };
                    Self(inner).look_after_plugins();
                }
            })
            .map(drop)
            .map_err(|source| HostError::Io {
                what: "cannot start the thread that supervises plugins".to_owned(),
                source,
            })
    }

    fn look_after_plugins(&self) {
        // Not the generation: a swap would wait for this thread as for a request.
        let plugins: Vec<_> = self.0.current.load().plugins.values().map(Arc::clone).collect();
        for plugin in plugins {
            plugin.tick();
            if let Some(reason) = plugin.falls_back() {
                self.fall_back(&plugin, &reason);
                plugin.breaker.end_trial();
            }
        }
    }

    fn fall_back(&self, failing: &Arc<LoadedPlugin>, reason: &str) {
        let name = &*failing.granted.shared.name;
        let mut activation = self.lock();
        let running = self.generation();
        // It may have been replaced since.
        let is_running =
            running.plugins.get(name).is_some_and(|loaded| Arc::ptr_eq(loaded, failing));
        let Some(current) = activation.record.clone().filter(|_| is_running) else {
            return;
        };
        activation.set_aside.push((name.to_owned(), failing.spec.clone()));
        let Some((to, before)) = self.version_before(&activation, &current, name) else {
            tracing::error!(plugin = name, reason, "no version to fall back to");
            return;
        };
        let mut spec = current.spec.clone();
        spec.plugins.insert(name.to_owned(), before.clone());
        let attempt = Attempt::new(Some("host"), "fallback").between(&current.spec, &spec);
        let attempt = Attempt { from: Some(current.id), ..attempt };
        let cause = Cause::Fallback { plugin: name.to_owned(), to };
        let mut record = self.record(cause, current.base, spec, Some(current.id));
        record.desired = current.desired;
        let mut loaded = running.plugins.clone();
        drop(running);
        if let Some(warm) = warm(&activation, name, &before) {
            loaded.insert(name.to_owned(), warm);
        }
        let built = self.build(record.id, &record.spec, &loaded, &BTreeMap::new());
        drop(loaded);
        tracing::error!(
            plugin = name, to, reason,
            digest = %failing.digest,
            "new version fails: falling back to the version before it"
        );
        let flipped =
            built.and_then(|built: Generation| self.flip(&mut activation, record, Arc::new(built)));
        match self.conclude(attempt, flipped) {
            Ok(GenerationInfo { .. }) => {
                failing.granted.shared.breaker.fallbacks.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => tracing::error!(plugin = name, %error, "cannot fall back"),
        }
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
fn warm(activation: &Activation, name: &str, version: &PluginSpec) -> Option<Arc<LoadedPlugin>> {
    let (_, generation) = activation.previous.as_ref()?;
    generation.plugins.get(name).filter(|loaded| loaded.spec == *version).map(Arc::clone)
}
