//! Restarts workers that panic or end, with exponential backoff, and shows how they are: in
//! metrics, in the body of `/readyz`, and to operators.

use std::any::Any;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use pillion_chassis::{Clock as _, Shutdown, SystemClock, Worker};
use serde::Serialize;
use tokio::time::Instant;

/// The backoff after the first failure; it doubles with each one up to the last.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// A run of this length is healthy: the next failure is a first one again.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// So many failures in a row, and a required worker makes the process not ready. One is over
/// after a second, and would only make load balancers turn away from all processes at once.
const FAILURES_UNTIL_NOT_READY: u32 = 3;

/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 512;

/// How all workers of the process are. Clones are the same board.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerBoard(Arc<Mutex<Vec<Arc<WorkerState>>>>);

/// How one worker is.
#[derive(Debug)]
pub(super) struct WorkerState {
    name: String,
    is_required: bool,
    now: Mutex<Now>,
}

#[derive(Clone, Debug, Default)]
struct Now {
    is_up: bool,
    restarts: u64,
    /// Failures without a healthy run between them.
    failures: u32,
    last_failure: Option<Failure>,
}

#[derive(Clone, Debug, Serialize)]
struct Failure {
    /// Seconds since 1970.
    at: u64,
    reason: String,
}

/// A worker, for operators.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WorkerStatus {
    name: String,
    up: bool,
    required: bool,
    restarts: u64,
    last_failure: Option<Failure>,
}

impl WorkerBoard {
    /// Another worker. Names that are there already get a number.
    pub(super) fn add(&self, worker: &Worker) -> Arc<WorkerState> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = worker.name.to_string();
        let mut number = 2;
        while all.iter().any(|state| state.name == name) {
            name = format!("{}-{number}", worker.name);
            number += 1;
        }
        let is_required = worker.is_required;
        let state = Arc::new(WorkerState { name, is_required, now: Mutex::default() });
        all.push(Arc::clone(&state));
        state
    }

    fn all(&self) -> Vec<(Arc<WorkerState>, Now)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|state| (Arc::clone(state), state.now().clone())).collect()
    }

    /// Whether no worker that requests depend on keeps failing.
    pub(crate) fn is_ready(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|state| state.is_required).all(|state| {
            let now = state.now();
            now.is_up || now.failures < FAILURES_UNTIL_NOT_READY
        })
    }

    /// The workers that do not run just now.
    pub(crate) fn down(&self) -> Vec<String> {
        let down = self.all().into_iter().filter(|(_, now)| !now.is_up && now.restarts > 0);
        down.map(|(state, _)| state.name.clone()).collect()
    }

    /// All of them, by name.
    pub(crate) fn statuses(&self) -> Vec<WorkerStatus> {
        let all = self.all().into_iter().map(|(state, now)| WorkerStatus {
            name: state.name.clone(),
            up: now.is_up,
            required: state.is_required,
            restarts: now.restarts,
            last_failure: now.last_failure,
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// In Prometheus' text form.
    pub(crate) fn metrics(&self) -> String {
        let all = self.all();
        let mut text = "# HELP pillion_worker_up Whether a background worker runs: 0 while its \
                        restart is delayed.\n# TYPE pillion_worker_up gauge\n"
            .to_owned();
        // Writing to a String cannot fail.
        for (state, now) in &all {
            let _ = writeln!(
                text,
                "pillion_worker_up{{worker=\"{}\"}} {}",
                state.name,
                u64::from(now.is_up)
            );
        }
        text += "# HELP pillion_worker_restarts_total Restarts of a background worker that \
                 panicked or ended.\n# TYPE pillion_worker_restarts_total counter\n";
        for (state, now) in &all {
            let _ = writeln!(
                text,
                "pillion_worker_restarts_total{{worker=\"{}\"}} {}",
                state.name, now.restarts
            );
        }
        text
    }
}

impl WorkerState {
    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self) {
        self.now().is_up = true;
    }

    /// Counts a failure of a run that took `ran`; how long to wait before the next one.
    fn failed(&self, reason: String, ran: Duration) -> Duration {
        let mut now = self.now();
        now.is_up = false;
        now.restarts += 1;
        now.failures = if ran >= HEALTHY_AFTER { 1 } else { now.failures.saturating_add(1) };
        now.last_failure = Some(Failure { at: SystemClock.now().as_secs(), reason });
        // Beyond this many the delay is the longest anyhow.
        let doublings = now.failures.saturating_sub(1).min(16);
        BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
    }
}

/// Runs a worker until the shutdown, whatever happens to it.
pub(super) async fn supervise(worker: Worker, state: Arc<WorkerState>, mut shutdown: Shutdown) {
    loop {
        state.started();
        let began = Instant::now();
        // Also what a worker does before its first await may panic.
        let run = AssertUnwindSafe(async { worker.run(shutdown.clone()).await });
        let ended = run.catch_unwind().await;
        if shutdown.is_requested() {
            return;
        }
        let reason = match ended {
            Ok(()) => "ended".to_owned(),
            Err(panic) => format!("panicked: {}", message(&*panic)),
        };
        let delay = state.failed(reason.clone(), began.elapsed());
        tracing::error!(
            worker = state.name,
            reason,
            restart_in_s = delay.as_secs(),
            "background worker failed, restarting"
        );
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(delay) => {}
        }
        tracing::info!(worker = state.name, "background worker restarted");
    }
}

/// The words of a panic, escaped and cut.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = (panic.downcast_ref::<&str>().copied())
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    let mut text = text.escape_debug().to_string();
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::Workers;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_fails_is_restarted_ever_later_and_soon_again_once_it_was_healthy() {
        let (trigger, shutdown) = Shutdown::new();
        let begun = Instant::now();
        let starts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&starts);
        // Seven runs that panic, one that ends after two minutes, and one that goes on.
        let worker = Worker::new("fails", move |mut shutdown: Shutdown| {
            let mut starts = seen.lock().unwrap();
            starts.push(begun.elapsed().as_secs());
            let run = starts.len();
            async move {
                match run {
                    1..8 => panic!("run {run}"),
                    8 => tokio::time::sleep(Duration::from_mins(2)).await,
                    _ => shutdown.requested().await,
                }
            }
        });
        let board = WorkerBoard::default();
        let workers = Workers::start([worker.required()], &board, &shutdown);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(board.is_ready(), "a first failure makes no difference");
        assert_eq!(board.down(), ["fails"]);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!board.is_ready(), "the third one does");
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(*starts.lock().unwrap(), [0, 1, 3, 7, 15, 31, 63, 123, 244]);
        assert!(board.is_ready() && board.down().is_empty());
        let metrics = board.metrics();
        assert!(metrics.contains("pillion_worker_up{worker=\"fails\"} 1\n"), "{metrics}");
        assert!(metrics.contains("pillion_worker_restarts_total{worker=\"fails\"} 8\n"));
        let status = serde_json::to_value(board.statuses()).unwrap();
        assert_eq!(status[0]["last_failure"]["reason"], "ended");
        trigger.request();
        workers.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_on_the_way_to_the_future_is_a_failure_like_others() {
        let (trigger, shutdown) = Shutdown::new();
        let runs = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&runs);
        let worker = Worker::new("early", move |mut shutdown: Shutdown| {
            assert!(seen.fetch_add(1, Ordering::Relaxed) > 0, "at once\u{202e}");
            async move { shutdown.requested().await }
        });
        let board = WorkerBoard::default();
        let workers = Workers::start([worker], &board, &shutdown);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        let status = serde_json::to_value(board.statuses()).unwrap();
        assert_eq!(status[0]["last_failure"]["reason"], "panicked: at once\\u{202e}");
        assert_eq!(status[0]["up"], true);
        trigger.request();
        workers.end().await;
    }

    #[test]
    fn names_are_unique() {
        let board = WorkerBoard::default();
        for _ in 0..3 {
            board.add(&Worker::new("same", async |_: Shutdown| {}));
        }
        let names: Vec<_> = board.statuses().into_iter().map(|status| status.name).collect();
        assert_eq!(names, ["same", "same-2", "same-3"]);
    }
}
