//! What the host counts of each plugin, cheap enough for every hook: a shard a thread, written
//! by that thread only, summed when somebody looks.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thread_local::ThreadLocal;

use crate::breaker::Calls;
use crate::error::HookError;
use crate::exchange::DecisionKind;
use crate::fields::Phase;
use crate::spec::Digest;

/// Upper bounds of the duration histogram, in microseconds.
const BUCKETS_US: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 10_000];

const DECISIONS: usize = DecisionKind::ALL.len();
const REASONS: usize = HookError::REASONS.len();

/// A counter that one thread writes and any thread reads.
#[derive(Debug, Default)]
struct Owned(AtomicU64);

impl Owned {
    fn add(&self, by: u64) {
        // Not `fetch_add`: there is no other writer, and a locked instruction costs 20 cycles.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct PhaseShard {
    decisions: [Owned; DECISIONS],
    failures: [Owned; REASONS],
    buckets: [Owned; BUCKETS_US.len()],
    calls: Owned,
    nanos: Owned,
}

/// One phase's counters over all threads.
#[derive(Debug, Default)]
struct PhaseSums {
    decisions: [u64; DECISIONS],
    failures: [u64; REASONS],
    buckets: [u64; BUCKETS_US.len()],
    calls: u64,
    nanos: u64,
}

#[derive(Debug, Default)]
struct Shard([PhaseShard; 3]);

/// One plugin's counters.
#[derive(Debug, Default)]
pub(crate) struct Stats(ThreadLocal<Shard>);

/// Sums for one phase.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct PhaseTotals {
    /// Hooks that ran.
    pub calls: u64,
    /// Of these, how many failed.
    pub failures: u64,
    /// Time in them.
    pub micros: u64,
}

impl Stats {
    /// Counts one hook.
    pub(crate) fn record(
        &self,
        phase: Phase,
        decision: DecisionKind,
        failure: Option<&HookError>,
        took: Duration,
    ) {
        let shard = self.0.get_or_default();
        let Some(shard) = shard.0.get(phase as usize) else {
            return;
        };
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        shard.calls.add(1);
        shard.nanos.add(nanos);
        let bucket = BUCKETS_US.iter().position(|bound| nanos <= bound * 1_000);
        if let Some(bucket) = bucket.and_then(|place| shard.buckets.get(place)) {
            bucket.add(1);
        }
        if let Some(decision) = shard.decisions.get(decision as usize) {
            decision.add(1);
        }
        if let Some(failure) = failure.and_then(|failure| shard.failures.get(failure.reason())) {
            failure.add(1);
        }
    }

    /// Hooks that ran, by phase; without those that were refused before.
    pub(crate) fn ran(&self) -> Calls {
        let mut ran = [0; 3];
        for shard in &self.0 {
            for (sum, phase) in ran.iter_mut().zip(&shard.0) {
                let rejected = HookError::REJECTIONS
                    .iter()
                    .filter_map(|reason| phase.failures.get(*reason))
                    .map(Owned::get);
                *sum += phase.calls.get().saturating_sub(rejected.sum());
            }
        }
        ran
    }

    fn sums(&self, phase: Phase) -> PhaseSums {
        let mut sums = PhaseSums::default();
        for shard in self.0.iter().filter_map(|shard| shard.0.get(phase as usize)) {
            fn add<const N: usize>(to: &mut [u64; N], from: &[Owned; N]) {
                for (sum, part) in to.iter_mut().zip(from) {
                    *sum += part.get();
                }
            }
            sums.calls += shard.calls.get();
            sums.nanos += shard.nanos.get();
            add(&mut sums.decisions, &shard.decisions);
            add(&mut sums.failures, &shard.failures);
            add(&mut sums.buckets, &shard.buckets);
        }
        sums
    }

    /// Sums of one phase.
    pub(crate) fn totals(&self, phase: Phase) -> PhaseTotals {
        let sums = self.sums(phase);
        PhaseTotals {
            calls: sums.calls,
            failures: sums.failures.iter().sum(),
            micros: sums.nanos / 1_000,
        }
    }
}

/// Prometheus' text format, version 0.0.4: families one after the other, each with its samples
/// of all plugins and of their versions that are loaded.
pub(crate) fn render(plugins: &[(&str, Digest, Arc<Stats>)], out: &mut String) {
    type Render = fn(&str, &PhaseSums, &mut String);
    let families: [(&str, &str, &str, Render); 4] = [
        ("pillion_plugin_calls_total", "counter", "Hooks that ran.", |labels, sums, out| {
            let _ = writeln!(out, "pillion_plugin_calls_total{{{labels}}} {}", sums.calls);
        }),
        (
            "pillion_plugin_decisions_total",
            "counter",
            "What hooks decided.",
            |labels, sums, out| {
                for (kind, count) in
                    DecisionKind::ALL.iter().zip(sums.decisions).filter(|(_, count)| *count > 0)
                {
                    let _ = writeln!(
                        out,
                        "pillion_plugin_decisions_total{{{labels},decision=\"{}\"}} {count}",
                        kind.name()
                    );
                }
            },
        ),
        ("pillion_plugin_failures_total", "counter", "Hooks that failed.", |labels, sums, out| {
            for (reason, count) in HookError::REASONS.iter().zip(sums.failures) {
                let _ = writeln!(
                    out,
                    "pillion_plugin_failures_total{{{labels},reason=\"{reason}\"}} {count}"
                );
            }
        }),
        ("pillion_plugin_duration_seconds", "histogram", "Time in hooks.", |labels, sums, out| {
            let mut below = 0;
            for (bound, count) in BUCKETS_US.iter().zip(sums.buckets) {
                below += count;
                let bound = Duration::from_micros(*bound).as_secs_f64();
                let _ = writeln!(
                    out,
                    "pillion_plugin_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {below}"
                );
            }
            let seconds = Duration::from_nanos(sums.nanos).as_secs_f64();
            let _ = writeln!(
                out,
                "pillion_plugin_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}",
                sums.calls
            );
            let _ = writeln!(out, "pillion_plugin_duration_seconds_sum{{{labels}}} {seconds}");
            let _ =
                writeln!(out, "pillion_plugin_duration_seconds_count{{{labels}}} {}", sums.calls);
        }),
    ];
    for (name, kind, help, render) in families {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (plugin, digest, stats) in plugins {
            for phase in Phase::ALL {
                let sums = stats.sums(phase);
                if sums.calls > 0 {
                    let phase = phase.name();
                    let labels =
                        format!("plugin=\"{plugin}\",digest=\"{digest}\",phase=\"{phase}\"");
                    render(&labels, &sums, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_are_summed() {
        let stats = Stats::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..250 {
                        stats.record(
                            Phase::Request,
                            DecisionKind::Continue,
                            None,
                            Duration::from_micros(3),
                        );
                    }
                });
            }
        });
        stats.record(
            Phase::Response,
            DecisionKind::FailedClosed,
            Some(&HookError::Stack),
            Duration::from_millis(50),
        );
        assert_eq!(stats.totals(Phase::Request).calls, 1_000);
        assert_eq!(stats.totals(Phase::Response).failures, 1);
        let mut text = String::new();
        let digest = Digest::of(b"a");
        render(&[("auth", digest, Arc::new(stats))], &mut text);
        for line in [
            "pillion_plugin_calls_total{plugin=\"auth\",phase=\"request\"} 1000",
            "pillion_plugin_duration_seconds_bucket{plugin=\"auth\",phase=\"request\",le=\"0.000002\"} 0",
            "pillion_plugin_duration_seconds_bucket{plugin=\"auth\",phase=\"request\",le=\"0.000005\"} 1000",
            "pillion_plugin_duration_seconds_bucket{plugin=\"auth\",phase=\"response\",le=\"0.01\"} 0",
            "pillion_plugin_duration_seconds_bucket{plugin=\"auth\",phase=\"response\",le=\"+Inf\"} 1",
            "pillion_plugin_failures_total{plugin=\"auth\",phase=\"response\",reason=\"stack\"} 1",
            "pillion_plugin_decisions_total{plugin=\"auth\",phase=\"response\",decision=\"failed-closed\"} 1",
        ] {
            let line = line.replace(",phase", &format!(",digest=\"{digest}\",phase"));
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
