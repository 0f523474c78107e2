//! A circuit breaker per version of a plugin, and a failure budget per client.
//!
//! The breaker opens when most requests of most clients fail: a failure *rate* over a window, with
//! a minimum number of requests and of distinct clients. One client, however many of its requests
//! fail, never opens it. While it is open the plugin's failure policy answers. It closes again
//! after a self-check on a fresh instance and a few requests that are let through one at a time.

mod clients;
mod sketch;

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::HookError;
use crate::fields::Phase;
use crate::spec::BreakerSpec;
use clients::Clients;
use sketch::{AtomicSketch, Sketch};

/// Requests that must succeed in the half-open state before the breaker closes.
const HALF_OPEN_SUCCESSES: u32 = 3;

/// How long a probe may take before the next request may be one: its client may have left.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A version is on trial until it has been active for this long and has run this many hooks.
/// Only then does opting in to a fallback have an effect.
const TRIAL: Duration = Duration::from_mins(1);
const TRIAL_CALLS: u64 = 1_000;

/// Hooks that ran, by phase.
pub(crate) type Calls = [u64; 3];

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const HALF_OPEN: u8 = 2;

/// Who makes a request, as far as the breaker needs to know. Both are keyed hashes; 0 is unknown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The client's address (IPv6: its /64), or else its caller: distinct clients are counted by
    /// it, because one address can have any number of accounts.
    pub(crate) source: u64,
    /// The caller, or else the address: failures are charged to it.
    pub(crate) client: u64,
}

/// What a hook was admitted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Normal,
    /// The one request that a half-open breaker lets through.
    Probe,
    /// A later hook of the same request: only its failure counts.
    LaterPhaseOfProbe,
}

/// A change of state that is to be logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    Opened { length: Duration, failures: u64, calls: u64, clients: u64 },
    HalfOpened,
    Closed,
}

/// What came of a failure.
#[derive(Debug, Default)]
pub(crate) struct Charged {
    pub(crate) transition: Option<Transition>,
    /// The client has just used up its failure budget.
    pub(crate) throttled: bool,
}

/// One version's breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSpec,
    origin: Instant,
    state: AtomicU8,
    /// Distinct clients of the running and the last half of the window.
    seen: [AtomicSketch; 2],
    /// Which of them is the running one.
    running: AtomicUsize,
    inner: Mutex<Inner>,
    /// Made with the first failure: until then a request costs one load.
    clients: OnceLock<Clients>,
}

/// Half of the window.
#[derive(Debug)]
struct Half {
    calls_before: Calls,
    failures: Calls,
    failing: Sketch,
}

impl Half {
    fn new(calls_before: Calls) -> Self {
        Self { calls_before, failures: [0; 3], failing: Sketch::default() }
    }
}

#[derive(Debug)]
struct Inner {
    last: Half,
    current: Half,
    current_began: Instant,
    /// When the version became active, and the calls until then; `None` when it is not on trial.
    trial: Option<(Instant, u64)>,
    /// When it last changed its state, and how long the last open state was to be.
    changed: Instant,
    length: Duration,
    probes: Probes,
}

#[derive(Debug, Default)]
struct Probes {
    in_flight: Option<Instant>,
    successes: u32,
    /// Clients whose probe failed: each has one.
    failed: Vec<u64>,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSpec, now: Instant, calls: Calls) -> Self {
        Self {
            settings,
            origin: now,
            state: AtomicU8::new(CLOSED),
            seen: [AtomicSketch::default(), AtomicSketch::default()],
            running: AtomicUsize::new(0),
            inner: Mutex::new(Inner {
                last: Half::new(calls),
                current: Half::new(calls),
                current_began: now,
                trial: None,
                changed: now,
                length: Duration::ZERO,
                probes: Probes::default(),
            }),
            clients: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts from scratch: the version has just become active. `trial`: in place of another one.
    pub(crate) fn activate(&self, now: Instant, calls: Calls, trial: bool) {
        let mut inner = self.lock();
        self.seen.iter().for_each(AtomicSketch::clear);
        inner.last = Half::new(calls);
        inner.current = Half::new(calls);
        inner.current_began = now;
        inner.trial = trial.then(|| (now, calls.iter().sum()));
        inner.changed = now;
        inner.length = Duration::ZERO;
        inner.probes = Probes::default();
        self.state.store(CLOSED, Ordering::Relaxed);
    }

    /// Whether the failure policy answers for every request, or for all but probes.
    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Relaxed) != CLOSED
    }

    /// `closed`, `open` or `half-open`.
    pub(crate) fn state(&self) -> &'static str {
        match self.state.load(Ordering::Relaxed) {
            CLOSED => "closed",
            OPEN => "open",
            _ => "half-open",
        }
    }

    /// Whether a hook of this request may run. The usual case is three loads.
    pub(crate) fn admit(&self, source: u64) -> Result<Admission, HookError> {
        if self.state.load(Ordering::Relaxed) != CLOSED {
            return self.admit_probe(source);
        }
        if let Some(seen) = self.seen.get(self.running.load(Ordering::Relaxed)) {
            seen.insert(source);
        }
        Ok(Admission::Normal)
    }

    #[cold]
    fn admit_probe(&self, source: u64) -> Result<Admission, HookError> {
        let mut inner = self.lock();
        match self.state.load(Ordering::Relaxed) {
            CLOSED => Ok(Admission::Normal),
            HALF_OPEN => {
                let now = Instant::now();
                let busy = |since: Instant| now.saturating_duration_since(since) < PROBE_TIMEOUT;
                if inner.probes.in_flight.is_some_and(busy) || inner.probes.failed.contains(&source)
                {
                    return Err(HookError::BreakerOpen);
                }
                inner.probes.in_flight = Some(now);
                Ok(Admission::Probe)
            }
            _ => Err(HookError::BreakerOpen),
        }
    }

    /// Whether this client has used up its failure budget; for how many seconds still. `client`
    /// is evaluated only after a first failure.
    pub(crate) fn throttles(&self, client: impl FnOnce() -> u64) -> Option<u64> {
        let until = self.clients.get()?.look(client(), self.now_ms(Instant::now()))?;
        Some(until.div_ceil(1_000).max(1))
    }

    fn now_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }

    /// A probe's hook succeeded.
    pub(crate) fn probe_succeeded(&self, now: Instant, calls: Calls) -> Option<Transition> {
        let mut inner = self.lock();
        inner.probes.in_flight = None;
        inner.probes.successes += 1;
        let is_over = inner.probes.successes >= HALF_OPEN_SUCCESSES
            && self.state.load(Ordering::Relaxed) == HALF_OPEN;
        is_over.then(|| self.close(&mut inner, now, calls))
    }

    /// Charges a failure to its client and counts it. `calls` are those of all hooks so far.
    pub(crate) fn failed(
        &self,
        now: Instant,
        phase: Phase,
        origin: Origin,
        took: Duration,
        admission: Admission,
        calls: Calls,
    ) -> Charged {
        let mut inner = self.lock();
        let throttled = origin.client != 0
            && self.clients.get_or_init(Clients::new).charge(
                origin.client,
                took,
                self.now_ms(now),
                &self.settings,
            );
        let transition = match self.state.load(Ordering::Relaxed) {
            CLOSED => self.count(&mut inner, now, phase, origin.source, calls),
            HALF_OPEN if admission != Admission::Normal => {
                self.probe_failed(&mut inner, now, origin.source)
            }
            // Its hook was already running when the breaker opened.
            _ => None,
        };
        Charged { transition, throttled }
    }

    fn count(
        &self,
        inner: &mut Inner,
        now: Instant,
        phase: Phase,
        source: u64,
        calls: Calls,
    ) -> Option<Transition> {
        let place = phase as usize;
        let of = |counts: &Calls| counts.get(place).copied().unwrap_or_default();
        if let Some(failures) = inner.current.failures.get_mut(place) {
            *failures += 1;
        }
        inner.current.failing.insert(source);
        let failures = of(&inner.last.failures) + of(&inner.current.failures);
        let ran = of(&calls).saturating_sub(of(&inner.last.calls_before)).max(failures);
        let failing = inner.last.failing.union(&inner.current.failing).estimate();
        let seen = self.seen.iter().fold(Sketch::default(), |all, half| all.union(&half.load()));
        let seen = seen.estimate().max(failing);
        let settings = &self.settings;
        let is_over = |part: u64, whole: u64| {
            part.saturating_mul(100)
                >= whole.saturating_mul(u64::from(settings.failure_rate_threshold))
        };
        if ran < u64::from(settings.minimum_requests)
            || failing < u64::from(settings.minimum_clients)
            || !is_over(failures, ran)
            || !is_over(failing, seen)
        {
            return None;
        }
        let since = now.saturating_duration_since(inner.changed);
        let length = if inner.length.is_zero() || since >= settings.open_max() {
            settings.open()
        } else {
            inner.length.saturating_mul(2)
        };
        Some(self.open(inner, now, length, (failures, ran, failing)))
    }

    fn open(
        &self,
        inner: &mut Inner,
        now: Instant,
        length: Duration,
        (failures, calls, clients): (u64, u64, u64),
    ) -> Transition {
        inner.length = length.min(self.settings.open_max());
        inner.changed = now;
        inner.probes = Probes::default();
        self.state.store(OPEN, Ordering::Relaxed);
        Transition::Opened { length: inner.length, failures, calls, clients }
    }

    fn close(&self, inner: &mut Inner, now: Instant, calls: Calls) -> Transition {
        self.seen.iter().for_each(AtomicSketch::clear);
        inner.last = Half::new(calls);
        inner.current = Half::new(calls);
        inner.current_began = now;
        inner.changed = now;
        inner.probes = Probes::default();
        self.state.store(CLOSED, Ordering::Relaxed);
        Transition::Closed
    }

    /// Failed probes count by distinct clients, so that one client cannot keep it open.
    fn probe_failed(&self, inner: &mut Inner, now: Instant, source: u64) -> Option<Transition> {
        inner.probes.in_flight = None;
        inner.probes.failed.push(source);
        let failed = inner.probes.failed.len() as u64;
        let enough = u64::from(self.settings.minimum_clients);
        let successes = u64::from(inner.probes.successes);
        (failed >= enough && failed > successes).then(|| self.open_again(inner, now))
    }

    fn open_again(&self, inner: &mut Inner, now: Instant) -> Transition {
        let failed = inner.probes.failed.len() as u64;
        let counts = (failed, failed + u64::from(inner.probes.successes), failed);
        let length = inner.length.max(self.settings.open()).saturating_mul(2);
        self.open(inner, now, length, counts)
    }

    /// Moves the window on. Called several times a second while the version is active.
    pub(crate) fn tick(&self, now: Instant, calls: Calls) -> Option<Transition> {
        let mut inner = self.lock();
        if now.saturating_duration_since(inner.current_began) >= self.settings.window() / 2 {
            inner.last = std::mem::replace(&mut inner.current, Half::new(calls));
            inner.current_began = now;
            let next = 1 - self.running.load(Ordering::Relaxed).min(1);
            if let Some(seen) = self.seen.get(next) {
                seen.clear();
            }
            self.running.store(next, Ordering::Relaxed);
        }
        // Too few clients to decide by count: by majority, then.
        let is_over = now.saturating_duration_since(inner.changed) >= inner.length;
        if self.state.load(Ordering::Relaxed) != HALF_OPEN || !is_over {
            return None;
        }
        let failed = inner.probes.failed.len() as u64;
        if failed == 0 && inner.probes.successes == 0 {
            return None;
        }
        if failed > u64::from(inner.probes.successes) {
            Some(self.open_again(&mut inner, now))
        } else {
            Some(self.close(&mut inner, now, calls))
        }
    }

    /// Whether it has been open for long enough to look whether the plugin works again.
    pub(crate) fn wants_probe(&self, now: Instant) -> bool {
        if self.state.load(Ordering::Relaxed) != OPEN {
            return false;
        }
        let inner = self.lock();
        now.saturating_duration_since(inner.changed) >= inner.length
    }

    /// What came of the self-check after [`Self::wants_probe`].
    pub(crate) fn self_checked(&self, now: Instant, passed: bool) -> Option<Transition> {
        let mut inner = self.lock();
        if self.state.load(Ordering::Relaxed) != OPEN {
            return None;
        }
        if passed {
            inner.changed = now;
            inner.probes = Probes::default();
            self.state.store(HALF_OPEN, Ordering::Relaxed);
            return Some(Transition::HalfOpened);
        }
        Some(self.open_again(&mut inner, now))
    }

    /// Ends the trial: what was to be decided on it has been.
    pub(crate) fn end_trial(&self) {
        self.lock().trial = None;
    }

    /// Whether these are still the version's first requests.
    pub(crate) fn is_on_trial(&self, now: Instant, calls: Calls) -> bool {
        self.lock().trial.is_some_and(|(began, before)| {
            let ran = calls.iter().sum::<u64>().saturating_sub(before);
            now.saturating_duration_since(began) < TRIAL || ran < TRIAL_CALLS
        })
    }
}

#[cfg(test)]
mod tests;
