//! The failure budgets of clients: a bounded table without a lock for who looks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::spec::BreakerSpec;

/// Clients whose failures are remembered, per version of a plugin. In a full set the one whose
/// failures are oldest makes room.
const CLIENTS_MAX: usize = 1_024;
const WAYS: usize = 4;

/// What a failure costs at least: a trap takes microseconds, and the instance that is made in
/// its place some tens of them.
const FAILURE_MIN: Duration = Duration::from_millis(1);

/// One client within its window.
#[derive(Debug, Default)]
struct Client {
    /// Its hash; 0 when the place is free.
    key: AtomicU64,
    /// When its window began, in milliseconds.
    began_ms: AtomicU64,
    calls: AtomicU32,
    failures: AtomicU32,
    spent_us: AtomicU64,
    /// Until when it is refused; 0 when it is not.
    until_ms: AtomicU64,
}

/// Clients that had a failure lately.
#[derive(Debug)]
pub(super) struct Clients(Box<[Client]>);

impl Clients {
    pub(super) fn new() -> Self {
        let mut clients = Vec::new();
        clients.resize_with(CLIENTS_MAX, Client::default);
        Self(clients.into())
    }

    fn set(&self, key: u64) -> &[Client] {
        let begin = usize::try_from(key >> 8).unwrap_or_default() % (CLIENTS_MAX / WAYS) * WAYS;
        self.0.get(begin..begin + WAYS).unwrap_or_default()
    }

    /// Counts a request of this client; for how many milliseconds it is still refused.
    pub(super) fn look(&self, key: u64, now_ms: u64) -> Option<u64> {
        let own = |client: &&Client| client.key.load(Ordering::Relaxed) == key;
        let client = self.set(key).iter().find(own).filter(|_| key != 0)?;
        client.calls.fetch_add(1, Ordering::Relaxed);
        let left = client.until_ms.load(Ordering::Relaxed).saturating_sub(now_ms);
        (left > 0).then_some(left)
    }

    /// Charges a failure; whether the client has just used up its budget. Under the breaker's
    /// lock. A client of which most requests succeed is not refused: an address may be shared.
    pub(super) fn charge(
        &self,
        key: u64,
        took: Duration,
        now_ms: u64,
        settings: &BreakerSpec,
    ) -> bool {
        let set = self.set(key);
        let own = set.iter().find(|client| client.key.load(Ordering::Relaxed) == key);
        let oldest = || set.iter().min_by_key(|client| client.began_ms.load(Ordering::Relaxed));
        let Some(client) = own.or_else(oldest) else {
            return false;
        };
        let window_ms = u64::from(settings.window_ms);
        let began_ms = client.began_ms.load(Ordering::Relaxed);
        if own.is_none() || now_ms.saturating_sub(began_ms) >= window_ms {
            client.key.store(key, Ordering::Relaxed);
            client.began_ms.store(now_ms, Ordering::Relaxed);
            client.calls.store(1, Ordering::Relaxed);
            client.failures.store(0, Ordering::Relaxed);
            client.spent_us.store(0, Ordering::Relaxed);
            client.until_ms.store(0, Ordering::Relaxed);
        }
        let cost = u64::try_from(took.max(FAILURE_MIN).as_micros()).unwrap_or(u64::MAX / 2);
        let spent = client.spent_us.fetch_add(cost, Ordering::Relaxed).saturating_add(cost);
        let failures = client.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let over = spent >= u64::from(settings.client_failure_budget_ms) * 1_000
            && failures.saturating_mul(2) >= client.calls.load(Ordering::Relaxed);
        if !over || client.until_ms.load(Ordering::Relaxed) > now_ms {
            return false;
        }
        let began_ms = client.began_ms.load(Ordering::Relaxed);
        client.until_ms.store((began_ms + window_ms).max(now_ms + 1_000), Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_client_that_keeps_failing_is_refused_until_its_window_is_over() {
        let (clients, settings) = (Clients::new(), BreakerSpec::default());
        let budget = u64::from(settings.client_failure_budget_ms);
        let fail = |key, now| {
            clients.look(key, now);
            clients.charge(key, MS, now, &settings)
        };
        for number in 1..budget {
            assert!(!fail(7, number), "{number}");
        }
        assert_eq!(clients.look(7, budget), None);
        assert!(fail(7, budget));
        let window = u64::from(settings.window_ms);
        assert_eq!(clients.look(7, budget + 1), Some(window - budget));
        assert_eq!(clients.look(8, budget + 1), None, "another client");
        assert_eq!(clients.look(7, window + 1), None, "a new window");
        assert!(!fail(7, window + 1));
    }

    #[test]
    fn a_client_that_mostly_succeeds_is_not_refused() {
        let (clients, settings) = (Clients::new(), BreakerSpec::default());
        for number in 0..1_000 {
            assert!(!clients.charge(7, MS, number, &settings));
            for _ in 0..3 {
                assert_eq!(clients.look(7, number), None);
            }
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let (clients, settings) = (Clients::new(), BreakerSpec::default());
        for key in 1..1_000_000_u64 {
            clients.charge(key.wrapping_mul(0x9e37_79b9_7f4a_7c15), MS, key, &settings);
        }
        assert_eq!(clients.0.len(), CLIENTS_MAX);
    }
}
