//! What follows from a hook's failure: a log line, a charge to the breaker and to the client, and
//! perhaps a fallback; and how an open breaker closes again.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::LoadedPlugin;
use crate::breaker::{Admission, Transition};
use crate::error::{HookError, LoadErrorReason};
use crate::exchange::Exchange;
use crate::fields::Phase;
use crate::spec::{Fallback, InstanceMode};

impl LoadedPlugin {
    /// Runs all hooks on a synthetic request, on an instance of its own that shares no state with
    /// others: what it keeps, limits, counts and writes is forgotten.
    pub(crate) fn self_check(&self) -> Result<(), LoadErrorReason> {
        let mut spec = self.spec.clone();
        spec.self_check = false;
        spec.mode = InstanceMode::Warm;
        let granted = self.granted.rehearsal();
        let rehearsal =
            Self::load(&self.component, spec, self.digest, self.component_bytes, granted, 1)?;
        crate::self_check::run(rehearsal)
    }

    /// Logs a failure within the plugin's log budget, and charges it to the breaker and the client.
    pub(crate) fn failed(
        &self,
        error: &HookError,
        exchange: Option<&Exchange>,
        phase: Phase,
        took: Duration,
        admission: Admission,
    ) {
        let now = Instant::now();
        let shared = &self.granted.shared;
        if shared.log.take(now, self.granted.limits.log_lines_per_second) {
            tracing::error!(
                plugin = &*shared.name,
                version = self.description.version,
                digest = self.digest.short(),
                request = exchange.map_or("-", |exchange| &*exchange.request_id),
                phase = phase.name(),
                %error,
                "a hook failed"
            );
        }
        // Too many requests at once are not the plugin's doing.
        let Some(exchange) = exchange.filter(|_| !error.is_rejection()) else {
            return;
        };
        let calls = self.stats.ran();
        let charged = self.breaker.failed(now, phase, exchange.origin(), took, admission, calls);
        if charged.throttled {
            shared.breaker.throttled_clients.fetch_add(1, Ordering::Relaxed);
            if shared.log.take(now, self.granted.limits.log_lines_per_second) {
                tracing::warn!(
                    plugin = &*shared.name,
                    address = exchange.address.map(tracing::field::display),
                    request = &*exchange.request_id,
                    "client throttled: its requests made the plugin fail too often"
                );
            }
        }
        if let Some(transition) = charged.transition {
            self.changed(transition);
        }
        if self.spec.fallback == Fallback::Previous {
            self.suspect.store(true, Ordering::Relaxed);
        }
    }

    /// Why the version before should take this one's place, when the operator has opted in and
    /// these are this version's first requests: its breaker is open, or a request has failed and
    /// so does a self-check, on which no client has any influence.
    pub(crate) fn falls_back(&self) -> Option<String> {
        // Never for an identity plugin: a client that can make a version fail must not be able to
        // bring back an older one that decides who the callers are.
        if self.spec.fallback != Fallback::Previous || self.granted.identity {
            return None;
        }
        let suspect = self.suspect.swap(false, Ordering::Relaxed);
        if !(suspect || self.breaker.is_open())
            || !self.breaker.is_on_trial(Instant::now(), self.stats.ran())
        {
            return None;
        }
        if self.breaker.is_open() {
            return Some("most of its first requests fail".to_owned());
        }
        self.self_check().err().map(|error| error.to_string())
    }

    /// A probe's hook succeeded.
    pub(crate) fn probe_succeeded(&self) {
        if let Some(transition) = self.breaker.probe_succeeded(Instant::now(), self.stats.ran()) {
            self.changed(transition);
        }
    }

    /// Starts the breaker from scratch: the version has just become active.
    pub(crate) fn activated(&self, trial: bool) {
        self.breaker.activate(Instant::now(), self.stats.ran(), trial);
    }

    /// Moves the breaker's window on, and looks whether a plugin works again whose breaker has
    /// been open long enough: first on an instance of its own, at no client's cost.
    pub(crate) fn tick(&self) {
        let now = Instant::now();
        if let Some(transition) = self.breaker.tick(now, self.stats.ran()) {
            self.changed(transition);
        }
        if self.breaker.wants_probe(now) {
            let checked = self.self_check();
            let transition = self.breaker.self_checked(Instant::now(), checked.is_ok());
            if let Err(error) = checked {
                tracing::warn!(plugin = &*self.granted.shared.name, %error, "self-check failed");
            }
            if let Some(transition) = transition {
                self.changed(transition);
            }
        }
    }

    /// Counts and logs a change of the breaker's state. Each is preceded by an open state, whose
    /// shortest length bounds their number.
    fn changed(&self, transition: Transition) {
        let shared = &self.granted.shared;
        let plugin = &*shared.name;
        let digest = self.digest.short();
        match transition {
            Transition::Opened { length, failures, calls, clients } => {
                shared.breaker.opened.fetch_add(1, Ordering::Relaxed);
                let open_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
                tracing::error!(
                    plugin, digest, open_ms, failures, calls, clients,
                    policy = ?self.spec.failure_policy,
                    "circuit breaker opened: the failure policy applies to every request"
                );
            }
            Transition::HalfOpened => {
                shared.breaker.half_opened.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(plugin, digest, "circuit breaker half-open: probing");
            }
            Transition::Closed => {
                shared.breaker.closed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(plugin, digest, "circuit breaker closed: the plugin works again");
            }
        }
    }
}
