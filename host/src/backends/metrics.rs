//! What the host counts of each back end.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Backend, Outside};

/// How a call ended, for metrics.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Answered,
    Failed,
    /// The backend answered that it does not execute commands.
    Refused,
    TimedOut,
    /// Not asked, because it is down.
    Down,
    /// Not asked, because too many calls were under way.
    Busy,
}

impl Outcome {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Answered, "answered"),
        (Self::Failed, "failed"),
        (Self::Refused, "refused"),
        (Self::TimedOut, "timed-out"),
        (Self::Down, "down"),
        (Self::Busy, "busy"),
    ];
}

/// Upper bounds of the histogram of answers, in microseconds.
const BUCKETS_US: [u64; 9] = [100, 200, 500, 1_000, 2_000, 5_000, 20_000, 100_000, 500_000];

#[derive(Debug, Default)]
pub(super) struct Counters {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    buckets: [AtomicU64; BUCKETS_US.len()],
    micros: AtomicU64,
    /// Takes from the limiter that the host judged by itself.
    local_takes: AtomicU64,
    /// When it last did.
    local_take: Mutex<Option<Instant>>,
    shed: Mutex<Shed>,
}

/// Calls that were shed and not logged yet.
#[derive(Debug, Default)]
struct Shed {
    calls: u64,
    logged: Option<Instant>,
}

/// A host that judged a take by itself within this time is degraded, whatever the reason.
const DEGRADED_TIME: Duration = Duration::from_secs(5);

/// How often it is logged that calls are shed.
const SHED_LOG_INTERVAL: Duration = Duration::from_secs(1);

impl Counters {
    pub(super) fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn took_locally(&self) {
        self.local_takes.fetch_add(1, Ordering::Relaxed);
        *self.local_take.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the host has judged a take by itself just now.
    fn takes_locally(&self) -> bool {
        let last = self.local_take.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < DEGRADED_TIME)
    }

    /// Adds a call that was shed; the number of them when it is time to log it.
    pub(super) fn shed_to_log(&self) -> Option<u64> {
        let mut shed = self.shed.lock().unwrap_or_else(PoisonError::into_inner);
        shed.calls += 1;
        if shed.logged.is_some_and(|at| at.elapsed() < SHED_LOG_INTERVAL) {
            return None;
        }
        shed.logged = Some(Instant::now());
        Some(std::mem::take(&mut shed.calls))
    }

    /// Takes note of how long an answer took.
    pub(super) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let bucket = BUCKETS_US.iter().position(|bound| micros <= *bound);
        if let Some(bucket) = bucket.and_then(|place| self.buckets.get(place)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Prometheus' text format; writing to a String cannot fail.
pub(crate) fn render(outside: &Outside, out: &mut String) {
    let all: Vec<(String, &Backend)> = outside
        .all()
        .map(|backend| {
            let place = backend.place.replace('\\', "\\\\").replace('"', "\\\"");
            (format!("backend=\"{}\",place=\"{place}\"", backend.kind), &**backend)
        })
        .collect();
    if all.is_empty() {
        return;
    }
    let mut head = |name: &str, kind: &str, help: &str, lines: String| {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
    };
    let mut lines = String::new();
    for (labels, backend) in &all {
        let up = u64::from(backend.health.is_up());
        let _ = writeln!(lines, "pillion_state_up{{{labels}}} {up}");
    }
    head("pillion_state_up", "gauge", "1 while a back end of kv or limiter answers.", lines);
    if let Some((labels, backend)) = all.iter().find(|(_, backend)| backend.uses.limiter) {
        let is_degraded = !backend.health.is_up() || backend.counters.takes_locally();
        let degraded = u64::from(is_degraded);
        head(
            "pillion_limiter_degraded",
            "gauge",
            "1 while this host enforces limits by itself, because the shared limiter is \
             unavailable, refuses commands or has too many calls in flight.",
            format!("pillion_limiter_degraded{{{labels}}} {degraded}\n"),
        );
        let takes = backend.counters.local_takes.load(Ordering::Relaxed);
        head(
            "pillion_limiter_degraded_takes_total",
            "counter",
            "Takes that this host judged by itself because the shared limiter gave no answer.",
            format!("pillion_limiter_degraded_takes_total{{{labels}}} {takes}\n"),
        );
    }
    let mut lines = String::new();
    for (labels, backend) in &all {
        for ((_, name), count) in Outcome::ALL.iter().zip(&backend.counters.outcomes) {
            let count = count.load(Ordering::Relaxed);
            let _ =
                writeln!(lines, "pillion_state_calls_total{{{labels},outcome=\"{name}\"}} {count}");
        }
    }
    head("pillion_state_calls_total", "counter", "Calls to back ends of kv or limiter.", lines);
    let mut lines = String::new();
    for (labels, backend) in &all {
        histogram(labels, &backend.counters, &mut lines);
    }
    head("pillion_state_call_seconds", "histogram", "How long their answers took.", lines);
}

fn histogram(labels: &str, counters: &Counters, out: &mut String) {
    let mut below = 0;
    for (bound, count) in BUCKETS_US.iter().zip(&counters.buckets) {
        below += count.load(Ordering::Relaxed);
        let bound = Duration::from_micros(*bound).as_secs_f64();
        let _ =
            writeln!(out, "pillion_state_call_seconds_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let [answered, ..] = &counters.outcomes;
    let count = answered.load(Ordering::Relaxed);
    let seconds = Duration::from_micros(counters.micros.load(Ordering::Relaxed)).as_secs_f64();
    let _ = writeln!(
        out,
        "pillion_state_call_seconds_bucket{{{labels},le=\"+Inf\"}} {count}\n\
         pillion_state_call_seconds_sum{{{labels}}} {seconds}\n\
         pillion_state_call_seconds_count{{{labels}}} {count}"
    );
}
