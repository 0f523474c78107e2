//! What belongs to a plugin's name, not to a version of it, and so outlives instances and swaps.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::kv::Kv;
use crate::limiter::Limiter;
use crate::spec::Digest;
use crate::stats::Stats;

/// State and counters of one plugin.
#[derive(Debug)]
pub(crate) struct PluginShared {
    pub(crate) name: Arc<str>,
    pub(crate) kv: Kv,
    pub(crate) limiter: Limiter,
    pub(crate) outside: OutsideCounters,
    /// Counters of the versions that are loaded, by digest.
    stats: Mutex<BTreeMap<Digest, Weak<Stats>>>,
    pub(crate) breaker: BreakerCounters,
    pub(crate) log: LogBudget,
    /// Instances that exist, and the linear memory that they hold.
    pub(crate) instances: AtomicUsize,
    pub(crate) memory_bytes: AtomicUsize,
}

impl PluginShared {
    pub(crate) fn new(name: &str, origin: Instant) -> Self {
        Self {
            name: name.into(),
            kv: Kv::default(),
            limiter: Limiter::new(origin),
            outside: OutsideCounters::default(),
            stats: Mutex::default(),
            breaker: BreakerCounters::default(),
            log: LogBudget::new(origin),
            instances: AtomicUsize::new(0),
            memory_bytes: AtomicUsize::new(0),
        }
    }

    /// Returns the counters of a component, shared by all of its configurations. They are dropped
    /// with the last version that uses them.
    pub(crate) fn stats(&self, digest: Digest) -> Arc<Stats> {
        let mut all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, stats| stats.strong_count() > 0);
        if let Some(stats) = all.get(&digest).and_then(Weak::upgrade) {
            return stats;
        }
        let stats = Arc::new(Stats::default());
        all.insert(digest, Arc::downgrade(&stats));
        stats
    }

    /// The counters of all versions that are loaded.
    pub(crate) fn all_stats(&self) -> Vec<(Digest, Arc<Stats>)> {
        let all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(|(digest, stats)| Some((*digest, stats.upgrade()?))).collect()
    }
}

/// What became of a plugin's breakers, over all versions.
#[derive(Debug, Default)]
pub(crate) struct BreakerCounters {
    pub(crate) opened: AtomicU64,
    pub(crate) half_opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    /// Clients that used up their failure budget.
    pub(crate) throttled_clients: AtomicU64,
    pub(crate) fallbacks: AtomicU64,
}

/// What is known of a plugin's state outside this process.
#[derive(Debug, Default)]
pub(crate) struct OutsideCounters {
    /// Keys of its limiter and bytes of its entries, by the last answer.
    pub(crate) keys: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) wait_micros: AtomicU64,
}

impl OutsideCounters {
    pub(crate) fn waited(&self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.wait_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// So many lines a second, then silence.
#[derive(Debug)]
pub(crate) struct LogBudget {
    origin: Instant,
    second: AtomicU64,
    lines: AtomicU32,
    pub(crate) dropped: AtomicU64,
}

impl LogBudget {
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            second: AtomicU64::new(0),
            lines: AtomicU32::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether one more line may be written.
    pub(crate) fn take(&self, now: Instant, lines_max: u32) -> bool {
        // Off by one, so that the second that begins with the host is a new one too.
        let second = now.saturating_duration_since(self.origin).as_secs() + 1;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        let allowed = self.lines.fetch_add(1, Ordering::Relaxed) < lines_max;
        if !allowed {
            self.lines.store(lines_max, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_a_second() {
        let origin = Instant::now();
        let budget = LogBudget::new(origin);
        let at = |ms: u64| {
            (0..50).filter(|_| budget.take(origin + Duration::from_millis(ms), 10)).count()
        };
        assert_eq!(at(0), 10);
        assert_eq!(at(999), 0);
        assert_eq!(at(1_000), 10);
        assert_eq!(budget.dropped.load(Ordering::Relaxed), 130);
    }
}
