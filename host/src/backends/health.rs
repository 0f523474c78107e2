//! Whether a back end is asked at all: one that does not answer costs a few requests their
//! time-out, not each of them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many time-outs in a row, and it is taken to be down. One may be a pause of either side.
const TIME_OUTS_MAX: u32 = 3;

/// What is known of a back end. It is up until something else is known.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_down: AtomicBool,
    down: Mutex<Option<Down>>,
    time_outs: AtomicU32,
    /// It has answered since somebody asked for this.
    answered: AtomicBool,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    reason: String,
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

    /// Takes note of an answer. If it was down until now: for how long.
    pub(super) fn answered(&self) -> Option<Duration> {
        self.time_outs.store(0, Ordering::Relaxed);
        self.answered.store(true, Ordering::Relaxed);
        if self.is_up() {
            return None;
        }
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_down.store(false, Ordering::Relaxed);
        down.take().map(|down| down.since.elapsed())
    }

    /// Whether it has answered since the last time that this was asked.
    pub(super) fn take_answered(&self) -> bool {
        self.answered.swap(false, Ordering::Relaxed)
    }

    /// Takes note of a failure; one that shows that it is `gone` counts at once, a time-out
    /// together with others. If it is down from now on: why.
    pub(super) fn failed(&self, reason: String, gone: bool) -> Option<String> {
        let time_outs = self.time_outs.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(down) = down.as_mut() {
            down.reason = reason;
            return None;
        }
        if !gone && time_outs < TIME_OUTS_MAX {
            return None;
        }
        *down = Some(Down { since: Instant::now(), reason: reason.clone() });
        self.is_down.store(true, Ordering::Relaxed);
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_time_outs_in_a_row_or_one_loss_take_it_down_until_it_answers() {
        let health = Health::default();
        for _ in 0..10 {
            assert_eq!(health.failed("slow".to_owned(), false), None);
            assert_eq!(health.failed("slow".to_owned(), false), None);
            assert_eq!(health.answered(), None, "an answer between them forgives");
        }
        assert!(health.is_up() && health.down().is_none());
        health.failed("slow".to_owned(), false);
        health.failed("slow".to_owned(), false);
        assert_eq!(health.failed("slow".to_owned(), false).as_deref(), Some("slow"));
        assert!(health.down().is_some_and(|reason| reason.contains("slow")));
        assert_eq!(health.failed("still".to_owned(), true), None, "said once");
        assert!(health.answered().is_some());
        assert!(health.is_up());
        assert_eq!(health.failed("refused".to_owned(), true).as_deref(), Some("refused"));
    }
}
