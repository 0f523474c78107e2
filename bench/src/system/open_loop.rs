//! Load by schedule: requests are sent when they are due, whatever became of those before, and
//! their times count from when they were due. So a server that stalls is not spared.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::system::api::Api;
use crate::system::latency::Latencies;
use crate::system::numbers::Numbers;
use crate::system::population::Population;
use crate::system::text::Writer;

/// Requests that may be under way. More mean a server that is far beyond its limit; those that
/// are due then are counted and not sent.
const UNDER_WAY_MAX: usize = 5_000;

/// Different failures that are told.
const FAILURES_TOLD_MAX: usize = 5;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One's own home timeline.
    Home,
    /// Somebody's tweets.
    User,
    /// A new tweet.
    Post,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Home, Self::User, Self::Post];

    /// The published mix of a social network: 60 % home, 30 % user timeline, 10 % post.
    fn pick(numbers: &mut Numbers) -> Self {
        match numbers.below(10) {
            0..6 => Self::Home,
            6..9 => Self::User,
            _ => Self::Post,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::User => "user",
            Self::Post => "post",
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Of the requests that succeeded.
    pub(crate) times: BTreeMap<Kind, Latencies>,
    /// Requests that failed, by what was wrong, a few of them.
    pub(crate) failures: BTreeMap<String, u64>,
    /// All requests that failed.
    pub(crate) failed: u64,
    /// Requests that were due and not sent, because too many were under way.
    pub(crate) unsent: u64,
    /// From the first until the last was answered.
    pub(crate) took: Duration,
}

impl Outcome {
    /// Requests that succeeded.
    pub(crate) fn answered(&self) -> usize {
        self.times.values().map(Latencies::count).sum()
    }

    /// Adds what came of another run.
    pub(crate) fn extend(&mut self, other: Self) {
        for (kind, times) in other.times {
            self.times.entry(kind).or_default().extend(times);
        }
        for (what, count) in other.failures {
            self.fail(what, count);
        }
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.took += other.took;
    }

    fn fail(&mut self, what: String, count: u64) {
        if self.failures.len() < FAILURES_TOLD_MAX || self.failures.contains_key(&what) {
            *self.failures.entry(what).or_default() += count;
        }
    }

    fn add(&mut self, kind: Kind, time: Duration, result: Result<()>) {
        match result {
            Ok(()) => self.times.entry(kind).or_default().add(time),
            Err(error) => {
                self.failed += 1;
                let what: String =
                    format!("{}: {error:#}", kind.name()).chars().take(160).collect();
                self.fail(what, 1);
            }
        }
    }
}

/// What the load needs to know.
#[derive(Clone, Debug)]
pub(crate) struct OpenLoop {
    pub(crate) api: Arc<Api>,
    pub(crate) population: Arc<Population>,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) time: Duration,
}

impl OpenLoop {
    /// Sends everything that is due and waits for the answers. `serials` makes tweets differ.
    pub(crate) async fn run(self, serials: &Arc<AtomicU64>) -> Result<Outcome> {
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        let began = Instant::now();
        let (ended, end) = tokio::sync::oneshot::channel();
        let runtime = Handle::current();
        let (shared, turns) = (Arc::clone(&outcome), Arc::clone(&under_way));
        let serials = Arc::clone(serials);
        // A thread of its own: the runtime's clock is only exact to a millisecond.
        thread::Builder::new().name("schedule".to_owned()).spawn(move || {
            self.send(&runtime, &shared, &turns, &serials);
            // Nobody waits any more when the run was given up.
            let _given_up = ended.send(());
        })?;
        end.await.context("the schedule failed")?;
        let all = u32::try_from(UNDER_WAY_MAX)?;
        let _all_answered = under_way.acquire_many(all).await?;
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.took = began.elapsed();
        Ok(std::mem::take(&mut *outcome))
    }

    fn send(
        &self,
        runtime: &Handle,
        outcome: &Arc<Mutex<Outcome>>,
        under_way: &Arc<Semaphore>,
        serials: &Arc<AtomicU64>,
    ) {
        let mut numbers = Numbers::new(serials.load(Ordering::Relaxed) ^ 0x6c6f_6164);
        let writer = Writer::new();
        let began = Instant::now();
        let mut due = Duration::ZERO;
        loop {
            due += Duration::from_secs_f64(numbers.exponential(1.0 / self.rate));
            if due > self.time {
                return;
            }
            thread::sleep(due.saturating_sub(began.elapsed()));
            let due = began + due;
            let kind = Kind::pick(&mut numbers);
            let user = self.population.anyone(&mut numbers);
            let of = self.population.popular(&mut numbers);
            let text = match kind {
                Kind::Post => writer.tweet(&mut numbers, serials.fetch_add(1, Ordering::Relaxed)),
                Kind::Home | Kind::User => String::new(),
            };
            let Ok(turn) = Arc::clone(under_way).try_acquire_owned() else {
                outcome.lock().unwrap_or_else(PoisonError::into_inner).unsent += 1;
                continue;
            };
            let (api, outcome) = (Arc::clone(&self.api), Arc::clone(outcome));
            runtime.spawn(async move {
                let result = match kind {
                    Kind::Home => api.home(user).await.map(drop),
                    Kind::User => api.tweets_of(user, of).await.map(drop),
                    Kind::Post => api.post(user, &text).await.map(drop),
                };
                let time = due.elapsed();
                outcome.lock().unwrap_or_else(PoisonError::into_inner).add(kind, time, result);
                drop(turn);
            });
        }
    }
}
