//! What the server refuses or cuts: counted by reason, and logged once a second with the counts,
//! however many there are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::requests::{header, line};

/// The time between two log lines about one reason.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Why something was refused or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The address has as many connections as it may have.
    ConnectionAddressLimit,
    /// The process has as many connections as it may have, and none of them is idle.
    ConnectionLimit,
    /// A trusted proxy's connection does not begin with the PROXY protocol header it must have.
    ConnectionProxyHeader,
    /// An idle connection made room for a new one.
    ConnectionEvicted,
    /// The client read nothing for too long.
    ConnectionStalled,
    /// The client reset most of its requests before they were answered.
    ConnectionFlooded,
    /// Requests wait too long for processor time or the database.
    RequestOverload,
    /// While requests wait too long, the address has more than its part of what is worked on.
    RequestAddressShare,
    /// The address has as many requests in flight as it may have.
    RequestAddressLimit,
    /// The address has too many bytes of responses that it does not read.
    RequestUnreadBytes,
    /// The process has as many streams as it may have.
    StreamLimit,
    /// The address has as many streams as it may have.
    StreamAddressLimit,
    /// The account has as many streams as it may have.
    StreamAccountLimit,
}

/// A family of metrics: its name and help, and its reasons with their labels and log messages.
struct Family {
    name: &'static str,
    help: &'static str,
    reasons: &'static [(Refusal, &'static str, &'static str)],
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "pillion_connections_refused_total",
        help: "Connections closed without an answer, by the limit that was reached.",
        reasons: &[
            (
                Refusal::ConnectionAddressLimit,
                "address_limit",
                "connections refused: an address reached server.connections_per_address",
            ),
            (
                Refusal::ConnectionLimit,
                "connection_limit",
                "connections refused: server.connections reached and none is idle",
            ),
            (
                Refusal::ConnectionProxyHeader,
                "proxy_header",
                "connections refused: a trusted proxy sent no valid PROXY protocol header",
            ),
        ],
    },
    Family {
        name: "pillion_connections_cut_total",
        help: "Open connections that the server ended early, by reason.",
        reasons: &[
            (
                Refusal::ConnectionEvicted,
                "evicted",
                "idle connections closed: server.connections reached",
            ),
            (
                Refusal::ConnectionStalled,
                "stalled",
                "connections cut: the client did not read within its timeout",
            ),
            (
                Refusal::ConnectionFlooded,
                "reset_flood",
                "connections cut: the client reset most of its requests",
            ),
        ],
    },
    Family {
        name: "pillion_requests_shed_total",
        help: "Requests answered 503 or 429 before any work was done, by reason.",
        reasons: &[
            (Refusal::RequestOverload, "overload", "requests shed: the process is overloaded"),
            (
                Refusal::RequestAddressShare,
                "address_share",
                "requests shed: the process is overloaded and an address has more than its share",
            ),
            (
                Refusal::RequestAddressLimit,
                "address_limit",
                "requests refused: an address reached server.requests_per_address",
            ),
            (
                Refusal::RequestUnreadBytes,
                "unread_bytes",
                "requests refused: an address does not read its responses",
            ),
        ],
    },
    Family {
        name: "pillion_streams_refused_total",
        help: "Streams answered 503 or 429, by the limit that was reached.",
        reasons: &[
            (Refusal::StreamLimit, "stream_limit", "streams refused: server.live_streams reached"),
            (
                Refusal::StreamAddressLimit,
                "address_limit",
                "streams refused: an address reached server.live_streams_per_address",
            ),
            (
                Refusal::StreamAccountLimit,
                "account_limit",
                "streams refused: an account reached server.live_streams_per_account",
            ),
        ],
    },
];

const REASONS: usize = Refusal::StreamAccountLimit as usize + 1;

/// How often each [`Refusal`] happened.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; REASONS],
    logged: [AtomicU64; REASONS],
    last_log: Mutex<Option<Instant>>,
}

#[expect(clippy::indexing_slicing, reason = "there is one for each refusal")]
fn counter(counters: &[AtomicU64; REASONS], refusal: Refusal) -> &AtomicU64 {
    &counters[refusal as usize]
}

impl Refusals {
    pub(super) fn count(&self, refusal: Refusal) {
        counter(&self.counts, refusal).fetch_add(1, Ordering::Relaxed);
    }

    fn total(&self, refusal: Refusal) -> u64 {
        counter(&self.counts, refusal).load(Ordering::Relaxed)
    }

    /// Logs a line for each reason that occurred since the last one, at most once in the interval,
    /// however many listeners call it.
    pub(super) fn log(&self) {
        let mut last = self.last_log.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.is_some_and(|last| now.duration_since(last) < LOG_INTERVAL / 2) {
            return;
        }
        *last = Some(now);
        drop(last);
        let all = FAMILIES.iter().flat_map(|family| family.reasons);
        for (refusal, reason, message) in all {
            let total = self.total(*refusal);
            let logged = counter(&self.logged, *refusal).swap(total, Ordering::Relaxed);
            let count = total.saturating_sub(logged);
            if count > 0 {
                tracing::warn!(reason, count, "{message}");
            }
        }
    }

    pub(super) fn write(&self, text: &mut String) {
        for family in &FAMILIES {
            header(text, family.name, "counter", family.help);
            for (refusal, reason, _) in family.reasons {
                let total = self.total(*refusal);
                line(text, format_args!("{}{{reason=\"{reason}\"}} {total}", family.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_one_series() {
        let all = FAMILIES.iter().flat_map(|family| family.reasons);
        let mut places: Vec<usize> = all.map(|(refusal, ..)| *refusal as usize).collect();
        places.sort_unstable();
        assert_eq!(places, (0..REASONS).collect::<Vec<_>>());
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let refusals = Refusals::default();
        refusals.count(Refusal::ConnectionAddressLimit);
        refusals.count(Refusal::ConnectionAddressLimit);
        refusals.log();
        refusals.count(Refusal::RequestOverload);
        let mut page = String::new();
        refusals.write(&mut page);
        let address = "pillion_connections_refused_total{reason=\"address_limit\"} 2\n";
        assert!(page.contains(address), "{page}");
        assert!(page.contains("pillion_requests_shed_total{reason=\"overload\"} 1\n"), "{page}");
        assert!(page.contains("pillion_streams_refused_total{reason=\"stream_limit\"} 0\n"));
    }
}
