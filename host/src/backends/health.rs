//! Whether a back end is asked at all: one that does not answer costs a few requests their
//! time-out, not each of them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many time-outs in a row, and it is taken to be down. One may be a pause of either side.
const TIME_OUTS_MAX: u32 = 3;

/// An outage that begins this soon after the last one that was logged is not logged itself, so
/// that a backend that fails and recovers four times a second does not fill the log.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// What is known of a back end. It is up until something else is known.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_down: AtomicBool,
    down: Mutex<Option<Down>>,
    /// When an outage was last logged.
    logged: Mutex<Option<Instant>>,
    time_outs: AtomicU32,
    /// It has answered since somebody asked for this.
    answered: AtomicBool,
}

/// What a failure changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// It was up until now.
    pub(super) is_down_now: bool,
    /// The reason, when it is to be logged that it is down.
    pub(super) to_log: Option<String>,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    reason: String,
    /// Whether its beginning was logged, and so its end is to be.
    is_logged: bool,
}

impl Health {
    pub(super) fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    /// What to tell who asks while it is down.
    pub(super) fn down(&self) -> Option<String> {
        if self.is_up() {
            return None;
        }
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.as_ref().map(|down| {
            format!("unavailable for {:.1} s: {}", down.since.elapsed().as_secs_f32(), down.reason)
        })
    }

    /// Takes note of an answer. If it was down until now, and that was logged: for how long.
    pub(super) fn answered(&self) -> Option<Duration> {
        self.time_outs.store(0, Ordering::Relaxed);
        self.answered.store(true, Ordering::Relaxed);
        if self.is_up() {
            return None;
        }
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_down.store(false, Ordering::Relaxed);
        down.take().filter(|down| down.is_logged).map(|down| down.since.elapsed())
    }

    /// Whether it has answered since the last time that this was asked.
    pub(super) fn take_answered(&self) -> bool {
        self.answered.swap(false, Ordering::Relaxed)
    }

    /// Takes note of a failure; one that shows that it is `gone` counts at once, a time-out
    /// together with others.
    pub(super) fn failed(&self, reason: String, gone: bool) -> Change {
        let time_outs = self.time_outs.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(down) = down.as_mut() {
            // One that was too soon after the last one is logged when it lasts.
            let logs = !down.is_logged && self.may_log();
            down.is_logged |= logs;
            let to_log = logs.then(|| reason.clone());
            down.reason = reason;
            return Change { is_down_now: false, to_log };
        }
        if !gone && time_outs < TIME_OUTS_MAX {
            return Change::default();
        }
        let is_logged = self.may_log();
        let to_log = is_logged.then(|| reason.clone());
        *down = Some(Down { since: Instant::now(), reason, is_logged });
        self.is_down.store(true, Ordering::Relaxed);
        Change { is_down_now: true, to_log }
    }

    fn may_log(&self) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may_log = logged.is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL);
        if may_log {
            *logged = Some(now);
        }
        may_log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(reason: &str) -> Change {
        Change { is_down_now: true, to_log: Some(reason.to_owned()) }
    }

    #[test]
    fn three_time_outs_in_a_row_or_one_loss_take_it_down_until_it_answers() {
        let health = Health::default();
        for _ in 0..10 {
            assert_eq!(health.failed("slow".to_owned(), false), Change::default());
            assert_eq!(health.failed("slow".to_owned(), false), Change::default());
            assert_eq!(health.answered(), None, "an answer between them forgives");
        }
        assert!(health.is_up() && health.down().is_none());
        health.failed("slow".to_owned(), false);
        health.failed("slow".to_owned(), false);
        assert_eq!(health.failed("slow".to_owned(), false), begins("slow"));
        assert!(health.down().is_some_and(|reason| reason.contains("slow")));
        assert_eq!(health.failed("still".to_owned(), true), Change::default(), "said once");
        assert!(health.answered().is_some());
        assert!(health.is_up());
        assert!(health.failed("refused".to_owned(), true).is_down_now);
    }

    #[test]
    fn an_outage_soon_after_another_is_logged_only_when_it_lasts() {
        let health = Health::default();
        assert_eq!(health.failed("refused".to_owned(), true), begins("refused"));
        assert!(health.answered().is_some());
        let again = Change { is_down_now: true, to_log: None };
        assert_eq!(health.failed("refused".to_owned(), true), again);
        assert_eq!(health.failed("refused".to_owned(), true), Change::default());
        *health.logged.lock().unwrap() = Instant::now().checked_sub(LOG_INTERVAL);
        let lasts = Change { is_down_now: false, to_log: Some("still".to_owned()) };
        assert_eq!(health.failed("still".to_owned(), true), lasts);
        assert_eq!(health.failed("still".to_owned(), true), Change::default());
        assert!(health.answered().is_some(), "its end is logged, too");
    }
}
