//! The limiter of the host in memory: GCRA and windows, in exact integers.

use std::collections::BTreeMap;

use crate::limiter::{LimiterError, Verdict};

/// Every key's state. A key with another quota is another key.
#[derive(Default)]
pub(crate) struct Quotas {
    /// Theoretical arrival time in microseconds, times `burst`: so the emission interval,
    /// `period / burst`, is a whole number.
    buckets: BTreeMap<(String, u32, u32), u128>,
    /// End of the window in microseconds, and how many were taken in it.
    windows: BTreeMap<(String, u32, u32), (u64, u32)>,
}

impl Quotas {
    pub(super) fn gcra(
        &mut self,
        now_us: u64,
        key: &str,
        burst: u32,
        period_ms: u32,
    ) -> Result<Verdict, LimiterError> {
        check(key, burst, period_ms)?;
        let interval = u128::from(period_ms) * 1_000;
        let scale = u128::from(burst);
        let now = u128::from(now_us) * scale;
        let depth = interval * scale;
        let arrival = self.buckets.entry((key.to_owned(), burst, period_ms)).or_insert(now);
        let next = (*arrival).max(now) + interval;
        let allowed = next <= now + depth;
        if allowed {
            *arrival = next;
        }
        let arrival = (*arrival).max(now);
        let wait = if allowed { 0 } else { next - now - depth };
        Ok(Verdict {
            allowed,
            remaining: narrow((now + depth - arrival) / interval),
            reset: wide(arrival.div_ceil(scale * 1_000_000)),
            retry_after_ms: wide(wait.div_ceil(scale * 1_000)),
        })
    }

    pub(super) fn window(
        &mut self,
        now_us: u64,
        key: &str,
        limit: u32,
        window_ms: u32,
    ) -> Result<Verdict, LimiterError> {
        check(key, limit, window_ms)?;
        let length = u64::from(window_ms) * 1_000;
        let state = self.windows.entry((key.to_owned(), limit, window_ms)).or_default();
        if now_us >= state.0 {
            *state = (now_us + length, 0);
        }
        let allowed = state.1 < limit;
        if allowed {
            state.1 += 1;
        }
        Ok(Verdict {
            allowed,
            remaining: limit - state.1,
            reset: state.0.div_ceil(1_000_000),
            retry_after_ms: if allowed { 0 } else { (state.0 - now_us).div_ceil(1_000) },
        })
    }
}

fn check(key: &str, quota: u32, period_ms: u32) -> Result<(), LimiterError> {
    if key.is_empty() {
        return Err(LimiterError::BadKey);
    }
    if quota == 0 || period_ms == 0 {
        return Err(LimiterError::BadQuota);
    }
    Ok(())
}

fn narrow(value: u128) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn wide(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_per_interval() {
        let mut quotas = Quotas::default();
        for remaining in [2, 1, 0] {
            let verdict = quotas.gcra(NOW, "a", 3, 1_000).unwrap();
            assert_eq!((verdict.allowed, verdict.remaining), (true, remaining));
        }
        let refused = quotas.gcra(NOW, "a", 3, 1_000).unwrap();
        assert_eq!(
            refused,
            Verdict { allowed: false, remaining: 0, reset: 1_001, retry_after_ms: 334 }
        );
        assert!(!quotas.gcra(NOW + 333_333, "a", 3, 1_000).unwrap().allowed);
        assert!(quotas.gcra(NOW + 333_334, "a", 3, 1_000).unwrap().allowed);
    }

    #[test]
    fn a_bucket_never_admits_more_than_burst_plus_rate_times_time() {
        let mut quotas = Quotas::default();
        let admitted = (0..10_000)
            .filter(|step| quotas.gcra(NOW + step * 700, "a", 7, 1_000).unwrap().allowed)
            .count();
        assert_eq!(admitted, 7 + 48); // 6.9993 s at 7/s, rounded down
    }

    #[test]
    fn a_window_begins_with_the_first_take() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.window(NOW, "a", 2, 900_000).unwrap().remaining, 1);
        assert_eq!(quotas.window(NOW + 5, "a", 2, 900_000).unwrap().remaining, 0);
        let refused = quotas.window(NOW + 1_000_000, "a", 2, 900_000).unwrap();
        assert_eq!(
            refused,
            Verdict { allowed: false, remaining: 0, reset: 1_900, retry_after_ms: 899_000 }
        );
        assert!(quotas.window(NOW + 900_000_000, "a", 2, 900_000).unwrap().allowed);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.gcra(NOW, "", 1, 1), Err(LimiterError::BadKey));
        assert!(quotas.gcra(NOW, &"k".repeat(257), 1, 1).is_ok(), "the host hashes long keys");
        assert_eq!(quotas.window(NOW, "a", 0, 1), Err(LimiterError::BadQuota));
        assert_eq!(quotas.window(NOW, "a", 1, 0), Err(LimiterError::BadQuota));
    }
}
