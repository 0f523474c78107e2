//! `kv` and `limiter` outside this process: which back end holds them, how long a call may take,
//! and what happens while one does not answer.
//!
//! All traffic with a back end is done by a thread of its own, so that a call can be awaited from
//! any executor (or from none, while a plugin is loaded), and so that a caller who gives up leaves
//! no half-sent command behind: what was begun is finished and its answer dropped.

mod health;
mod metrics;
mod redis;
mod sqlite;
#[cfg(test)]
mod tests;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

use crate::error::HostError;
use crate::limiter::{Quota, Verdict};
use crate::options::{HostOptions, StateBackend};
use health::Health;
use metrics::{Counters, Outcome};

pub(crate) use metrics::render;
pub(crate) use redis::check_url;

/// Calls that one back end may be busy with at once. With the default time-out of 250 ms that is
/// 4,000 calls a second to one that answers nothing, and millions to one that works.
const IN_FLIGHT_MAX: usize = 1_024;

/// Calls that may wait for one of those to end. Beyond that a call is shed at once.
const QUEUED_MAX: usize = 1_024;

/// Completion hooks that may be waiting at once; each holds a request's data.
const COMPLETIONS_MAX: usize = 1_024;

/// How long the host's start waits for a back end's first answer before it goes on without.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(2);

/// A call that got its turn within this time had all of its own for the answer.
const CALL_TURN_MAX: Duration = Duration::from_millis(10);

/// How often a back end that is idle or down is asked whether it is there.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// One take from a plugin's limiter.
#[derive(Debug)]
pub(crate) struct Take {
    pub(crate) plugin: Arc<str>,
    pub(crate) key: String,
    pub(crate) quota: Quota,
    /// Keys that the plugin may have.
    pub(crate) keys_max: usize,
}

/// What became of a take.
#[derive(Debug)]
pub(crate) enum Taken {
    Judged {
        verdict: Verdict,
        /// The plugin's keys, about.
        keys: u64,
    },
    /// There is no room for another key.
    Full,
}

/// One access to a plugin's entries.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) plugin: Arc<str>,
    pub(crate) key: String,
    pub(crate) operation: Operation,
}

/// What is done to an entry.
#[derive(Debug)]
pub(crate) enum Operation {
    Get,
    Delete,
    Set {
        value: Vec<u8>,
        /// Milliseconds until it goes; `None` keeps it.
        ttl_ms: Option<u64>,
        /// Bytes that the plugin's entries may count.
        bytes_max: usize,
        condition: Condition,
    },
}

/// What must be there for a value to be set.
#[derive(Debug)]
pub(crate) enum Condition {
    Anything,
    Nothing,
    Equal(Vec<u8>),
}

/// What became of an access.
#[derive(Debug)]
pub(crate) enum Accessed {
    Value(Option<Vec<u8>>),
    Changed {
        /// Whether it was deleted or set.
        done: bool,
        /// Bytes that the plugin's entries count now.
        bytes: u64,
    },
    /// The bound of bytes is reached.
    Full,
}

/// Why a back end gave no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    reason: String,
    kind: FailureKind,
}

/// What a failure says about the calls to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureKind {
    /// Nothing: it was about this call.
    Call,
    /// It took as long as it may, like a time-out.
    Slow,
    /// The backend answers, but does not execute commands: out of memory, no permission, not a
    /// writable replica, a cluster that is down. Other calls will be refused as well.
    Refused,
    /// The back end itself is gone: there is no use in asking again at once.
    Gone,
    /// The backend is of a kind that is not supported, which fails a start.
    Unsupported,
}

impl FailureKind {
    /// Whether a single one shows that the backend is down.
    fn is_down(self) -> bool {
        matches!(self, Self::Refused | Self::Gone | Self::Unsupported)
    }
}

/// What a plugin is told when there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unavailable(pub(crate) String);

/// A time to live so long that the entry may as well be kept: 100 years.
const TTL_MS_MAX: u64 = 100 * 365 * 24 * 3_600 * 1_000;

/// A time to live too long for the clock is no time to live.
fn bounded_ttl(ttl_ms: Option<u64>) -> Option<u64> {
    ttl_ms.filter(|ttl_ms| *ttl_ms <= TTL_MS_MAX)
}

/// The host's back ends, and the thread that talks with them.
#[derive(Debug)]
pub(crate) struct Backends {
    pub(crate) outside: Outside,
    _thread: StateThread,
}

/// Ends the thread when it is dropped, without waiting for it: that would panic on a worker of
/// another runtime.
#[derive(Debug)]
struct StateThread(Option<Runtime>);

impl Drop for StateThread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What plugins' calls go to. `None` is this process's memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    pub(crate) kv: Option<Arc<Backend>>,
    pub(crate) limiter: Option<Arc<Backend>>,
    /// The executor of the thread that talks with them; there when one of them is.
    pub(crate) handle: Option<Handle>,
    completions: Option<Arc<Semaphore>>,
}

impl Backends {
    /// Opens what the options name. A back end that does not answer is no error: the log says
    /// so, plugins are told that it is unavailable, and it is asked again and again.
    pub(crate) fn open(options: &HostOptions) -> Result<Self, HostError> {
        if !options.kv.awaits() && !options.limiter.awaits() {
            return Ok(Self { outside: Outside::default(), _thread: StateThread(None) });
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("pillion-state")
            .enable_all()
            .build()
            .map_err(|source| HostError::Io {
                what: "cannot start the thread for the plugins' state".to_owned(),
                source,
            })?;
        let handle = runtime.handle().clone();
        let thread = StateThread(Some(runtime));
        let shared = options.limiter == options.kv;
        let uses = Uses { kv: true, limiter: shared };
        let kv = Backend::open(&options.kv, uses, &handle, options)?;
        let limiter = if shared {
            kv.clone()
        } else {
            let uses = Uses { kv: false, limiter: true };
            Backend::open(&options.limiter, uses, &handle, options)?
        };
        let completions = Some(Arc::new(Semaphore::new(COMPLETIONS_MAX)));
        let outside = Outside { kv, limiter, handle: Some(handle), completions };
        Ok(Self { outside, _thread: thread })
    }
}

impl Outside {
    /// Runs `hooks` when there is room, on the caller's executor or else on the own one.
    pub(crate) fn later(&self, hooks: impl Future<Output = ()> + Send + 'static) -> bool {
        let (Some(own), Some(completions)) = (&self.handle, &self.completions) else {
            return false;
        };
        let Ok(permit) = Arc::clone(completions).try_acquire_owned() else {
            return false;
        };
        let handle = Handle::try_current().unwrap_or_else(|_| own.clone());
        drop(handle.spawn(async move {
            hooks.await;
            drop(permit);
        }));
        true
    }

    /// Each back end once.
    fn all(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let same = match (&self.kv, &self.limiter) {
            (Some(kv), Some(limiter)) => Arc::ptr_eq(kv, limiter),
            _ => false,
        };
        self.kv.iter().chain(self.limiter.iter().filter(move |_| !same))
    }
}

#[derive(Debug)]
enum Store {
    Sqlite(sqlite::Sqlite),
    Redis(Box<redis::Redis>),
}

/// What a back end holds.
#[derive(Clone, Copy, Debug)]
struct Uses {
    kv: bool,
    limiter: bool,
}

impl Uses {
    /// What its loss means, for the log.
    fn without(self) -> &'static str {
        match (self.kv, self.limiter) {
            (true, true) => {
                "the plugins' state is unavailable: until it answers, every host limits by itself \
                 with the same quotas, and `kv` refuses at once"
            }
            (false, true) => {
                "the shared limiter is unavailable: until it answers, every host limits by itself \
                 with the same quotas"
            }
            _ => "the plugins' state is unavailable: until it answers, `kv` refuses at once",
        }
    }

    /// What its return means.
    fn again(self) -> &'static str {
        if self.limiter {
            "the plugins' state is available again: limits hold over all hosts"
        } else {
            "the plugins' state is available again"
        }
    }
}

/// One back end, shared by `kv` and `limiter` when both are kept there.
#[derive(Debug)]
pub(crate) struct Backend {
    kind: &'static str,
    /// Where it is, without credentials.
    place: String,
    uses: Uses,
    store: Store,
    handle: Handle,
    call_max: Duration,
    in_flight: Arc<Semaphore>,
    /// Calls in flight and those that wait to be.
    admitted: Arc<Semaphore>,
    health: Health,
    counters: Counters,
}

impl Backend {
    fn open(
        backend: &StateBackend,
        uses: Uses,
        handle: &Handle,
        options: &HostOptions,
    ) -> Result<Option<Arc<Self>>, HostError> {
        let call_max = options.state_call_max;
        let (kind, place, store) = match backend {
            StateBackend::Memory => return Ok(None),
            StateBackend::Sqlite(path) => {
                let store = Store::Sqlite(sqlite::Sqlite::open(path, handle, call_max)?);
                ("sqlite", path.display().to_string(), store)
            }
            StateBackend::Redis(url) => {
                let redis = redis::Redis::open(url, &options.redis_tls)?;
                ("redis", redis.place(), Store::Redis(Box::new(redis)))
            }
        };
        let backend = Arc::new(Self {
            kind,
            place,
            uses,
            store,
            handle: handle.clone(),
            call_max,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            admitted: Arc::new(Semaphore::new(IN_FLIGHT_MAX + QUEUED_MAX)),
            health: Health::default(),
            counters: Counters::default(),
        });
        let (answered, first_answer) = mpsc::channel();
        let watched = Arc::downgrade(&backend);
        drop(handle.spawn(async move {
            let mut answered = Some(answered);
            while let Some(backend) = watched.upgrade() {
                // In a task of its own: a panic costs this probe, not all that would follow.
                let probed = tokio::spawn(async move { backend.probe().await }).await;
                match (probed, answered.take()) {
                    (Err(error), _) if error.is_cancelled() => return,
                    (Err(_), _) => tracing::error!("the probe of the plugins' state panicked"),
                    // Nobody listens when the host's start went on without.
                    (Ok(probed), Some(answered)) => drop(answered.send(probed)),
                    (Ok(_), None) => {}
                }
                tokio::time::sleep(PROBE_INTERVAL).await;
            }
        }));
        match first_answer.recv_timeout(FIRST_ANSWER_MAX) {
            Ok(Err(failure)) if failure.kind == FailureKind::Unsupported => {
                let Failure { reason, .. } = failure;
                return Err(HostError::State(format!("{kind} at {}: {reason}", backend.place)));
            }
            Ok(_) => {}
            Err(_) => tracing::warn!(backend = kind, place = backend.place, "has not answered yet"),
        }
        Ok(Some(backend))
    }

    /// Checks that it executes the kind of commands that calls need, unless a call has just shown
    /// it.
    async fn probe(&self) -> Result<(), Failure> {
        if self.health.is_up() && self.health.take_answered() {
            return Ok(());
        }
        let is_up = self.health.is_up();
        let answer = tokio::time::timeout(self.call_max, async {
            match &self.store {
                Store::Sqlite(sqlite) => sqlite.probe(is_up).await,
                Store::Redis(redis) => redis.probe(self.uses).await,
            }
        });
        match answer.await {
            Ok(Ok(())) => {
                if let Some(after) = self.health.answered() {
                    tracing::info!(
                        backend = self.kind,
                        place = self.place,
                        seconds = after.as_secs_f64(),
                        "{}",
                        self.uses.again()
                    );
                }
                Ok(())
            }
            Ok(Err(failure)) => {
                // A probe that fails for whatever reason shows that calls would fail, too.
                self.failed(failure.reason.clone(), true);
                Err(failure)
            }
            Err(_) => {
                self.failed(self.slow(), false);
                Err(Failure { reason: self.slow(), kind: FailureKind::Slow })
            }
        }
    }

    fn slow(&self) -> String {
        let perhaps = match &self.store {
            Store::Redis(redis) if redis.begins_with_tls() => {
                "; where it does not speak TLS, nothing answers rediss://"
            }
            _ => "",
        };
        format!("no answer within {} ms{perhaps}", self.call_max.as_millis())
    }

    fn failed(&self, reason: String, gone: bool) {
        let change = self.health.failed(reason, gone);
        if change.is_down_now
            && let Store::Redis(redis) = &self.store
        {
            redis.disconnect();
        }
        if let Some(reason) = change.to_log {
            tracing::error!(
                backend = self.kind,
                place = self.place,
                reason,
                "{}",
                self.uses.without()
            );
        }
    }

    /// Counts a call that there is no room for, and says so now and then.
    fn shed(&self) -> String {
        self.counters.count(Outcome::Busy);
        if let Some(calls) = self.counters.shed_to_log() {
            tracing::warn!(
                backend = self.kind,
                place = self.place,
                calls,
                "too many calls to the plugins' state are in flight; further calls are shed, and \
                 limits are enforced per host meanwhile"
            );
        }
        format!("{IN_FLIGHT_MAX} calls are in flight and no more can wait")
    }

    /// Takes note of a take that this host judged by itself.
    pub(crate) fn took_locally(&self) {
        self.counters.took_locally();
    }

    /// Takes from a limiter; waits `wait_max` at most.
    pub(crate) async fn take(
        self: &Arc<Self>,
        take: Take,
        wait_max: Duration,
    ) -> Result<Taken, Unavailable> {
        let this = Arc::clone(self);
        self.call(wait_max, async move {
            match &this.store {
                Store::Sqlite(sqlite) => sqlite.take(take).await,
                Store::Redis(redis) => redis.take(&take).await,
            }
        })
        .await
    }

    /// Reads or changes an entry; waits `wait_max` at most.
    pub(crate) async fn access(
        self: &Arc<Self>,
        access: Access,
        wait_max: Duration,
    ) -> Result<Accessed, Unavailable> {
        let this = Arc::clone(self);
        self.call(wait_max, async move {
            match &this.store {
                Store::Sqlite(sqlite) => sqlite.access(access).await,
                Store::Redis(redis) => redis.access(&access).await,
            }
        })
        .await
    }

    async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        wait_max: Duration,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let unavailable =
            |reason: &str| Err(Unavailable(format!("{} at {}: {reason}", self.kind, self.place)));
        if let Some(reason) = self.health.down() {
            self.counters.count(Outcome::Down);
            return unavailable(&reason);
        }
        if wait_max.is_zero() {
            return unavailable("the hook has waited for as long as it may (limits.wait_ms)");
        }
        let Ok(admitted) = Arc::clone(&self.admitted).try_acquire_owned() else {
            return unavailable(&self.shed());
        };
        let this = Arc::clone(self);
        let task = self.handle.spawn(async move {
            let began = Instant::now();
            let time_max = this.call_max.min(wait_max);
            let turn = Arc::clone(&this.in_flight).acquire_owned();
            let Ok(Ok(permit)) = tokio::time::timeout(time_max, turn).await else {
                return Err(this.shed());
            };
            let limit = time_max.saturating_sub(began.elapsed());
            let answer = tokio::time::timeout(limit, work).await;
            drop((permit, admitted));
            match answer {
                Ok(Ok(answer)) => {
                    this.health.answered();
                    this.counters.count(Outcome::Answered);
                    this.counters.observe(began.elapsed());
                    Ok(answer)
                }
                Ok(Err(failure)) => {
                    let is_refusal = failure.kind == FailureKind::Refused;
                    let outcome = if is_refusal { Outcome::Refused } else { Outcome::Failed };
                    this.counters.count(outcome);
                    if failure.kind != FailureKind::Call {
                        this.failed(failure.reason.clone(), failure.kind.is_down());
                    }
                    Err(failure.reason)
                }
                Err(_) => {
                    this.counters.count(Outcome::TimedOut);
                    // One that only had what was left of a hook's wait, or of its own after it
                    // waited for its turn, proves nothing.
                    if limit.saturating_add(CALL_TURN_MAX) >= this.call_max {
                        this.failed(this.slow(), false);
                    }
                    Err(this.slow())
                }
            }
        });
        match task.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => unavailable(&reason),
            Err(_) => unavailable("the host is shutting down"),
        }
    }
}
