//! Quarantine: a plugin that keeps failing is taken out of the way of requests for a while, and
//! for longer each time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many failures within so long put a plugin into quarantine.
const QUARANTINE_FAILURES: usize = 5;
const QUARANTINE_WINDOW: Duration = Duration::from_secs(10);
/// The first quarantine's length; each further one without a quiet minute is twice as long.
const QUARANTINE_BACK_OFF: Duration = Duration::from_secs(1);
const QUARANTINE_BACK_OFF_MAX: Duration = Duration::from_mins(1);

/// Takes a plugin that keeps failing out of the way of requests for a while.
#[derive(Debug)]
pub(crate) struct Quarantine {
    origin: Instant,
    /// Nanoseconds since `origin` until which it holds; 0 when it does not, so that the usual
    /// case is one load.
    until: AtomicU64,
    failures: Mutex<Failures>,
}

/// A quarantine that has just begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) length: Duration,
    /// It was let back, and failed again.
    pub(crate) again: bool,
}

#[derive(Debug, Default)]
struct Failures {
    recent: Vec<Instant>,
    last: Option<(Instant, Duration)>,
}

impl Quarantine {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), until: AtomicU64::new(0), failures: Mutex::default() }
    }

    /// Whether it holds now.
    pub(crate) fn holds(&self) -> bool {
        match self.until.load(Ordering::Relaxed) {
            0 => false,
            until if u128::from(until) > self.origin.elapsed().as_nanos() => true,
            _ => {
                self.until.store(0, Ordering::Relaxed);
                false
            }
        }
    }

    /// Counts a failure; if this one began a quarantine, what is to be said of it.
    pub(crate) fn failure(&self, now: Instant) -> Option<Begun> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        // Hooks that were already running when it began are not its own failures.
        if failures.last.is_some_and(|(began, length)| now < began + length) {
            return None;
        }
        failures.recent.retain(|at| now.saturating_duration_since(*at) < QUARANTINE_WINDOW);
        failures.recent.push(now);
        // On probation one failure is enough.
        let probation = failures.last.filter(|(began, length)| {
            now.saturating_duration_since(*began) < *length + QUARANTINE_BACK_OFF_MAX
        });
        let length = match probation {
            Some((_, length)) => (length * 2).min(QUARANTINE_BACK_OFF_MAX),
            None if failures.recent.len() >= QUARANTINE_FAILURES => QUARANTINE_BACK_OFF,
            None => return None,
        };
        failures.recent.clear();
        failures.last = Some((now, length));
        let until = now.saturating_duration_since(self.origin) + length;
        self.until.store(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Some(Begun { length, again: probation.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarantine_begins_with_the_fifth_failure_and_backs_off() {
        let quarantine = Quarantine::new();
        let now = Instant::now();
        let at = |ms| quarantine.failure(now + Duration::from_millis(ms));
        assert_eq!([at(0), at(1), at(2), at(3)], [None; 4]);
        let begun = |s, again| Some(Begun { length: Duration::from_secs(s), again });
        assert_eq!(at(4), begun(1, false));
        assert!(quarantine.holds());
        assert_eq!([at(5), at(999)], [None; 2], "hooks that were running already");
        assert_eq!(at(2_000), begun(2, true), "on probation one failure is enough");
        assert_eq!(at(100_000), None, "forgiven after a quiet minute");
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let quarantine = Quarantine::new();
        let now = Instant::now();
        for minute in 0..20 {
            assert_eq!(quarantine.failure(now + Duration::from_secs(minute * 60)), None);
        }
        assert!(!quarantine.holds());
    }
}
