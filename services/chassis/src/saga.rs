//! Sagas: transactions over several services that complete or are taken back, whatever is killed.
//!
//! A saga is declared as a list of steps ([`Saga`]) and conducted by the service that owns it
//! ([`Sagas`]). Every decision is written to the log before the call that follows from it, and the
//! participants ([`Participant`]) do each step once, however often they are asked. So whoever
//! takes over after a crash just asks again. Up to the pivot a refusal, a time-out or a signal
//! takes everything back, in reverse; from the pivot on the saga only goes forward.
//!
//! Several hosts share the work: each saga is leased to one of them at a time, and every owner
//! has a new epoch, with which the writes of an old one fail. A late call of an old owner finds
//! its step done already, or taken back already: then it is refused.

mod ask;
mod command;
mod definition;
mod driver;
mod log;
mod participant;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::crash::crash_point;
use crate::database::{Database, DatabaseError, Transaction};
use crate::ids::Ids;
use crate::peers::Peers;
use crate::problem::Problem;
use crate::service::Worker;
use crate::service_token::ServiceTokens;

pub use definition::{OnTimer, Saga, Step};
pub use participant::{Command, Participant, StepError, participate};
pub use status::{Counts, Entry, Listed, OperatorError, Shown, StepShown};

use definition::Kind;
use log::{Row, What};

/// What a saga may carry from step to step.
pub const SAGA_DATA_BYTES_MAX: usize = 16 * 1024;
/// How often somebody who waits for a saga looks, when another host drives it.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// The number of a saga that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SagaId(i64);

impl SagaId {
    /// The saga of that number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As a text, like all ids: numbers of that size do not fit into those of JavaScript.
impl Serialize for SagaId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a saga stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its steps are being done.
    Running,
    /// It waits for a signal or a moment.
    Waiting,
    /// Its steps are being taken back.
    Compensating,
    /// It cannot go on by itself.
    Parked,
    /// All steps are done.
    Completed,
    /// Everything was taken back.
    Compensated,
    /// An operator gave it up.
    Abandoned,
}

/// An unfinished saga.
#[derive(Debug, Clone)]
pub struct SagaState {
    /// Which one.
    pub id: SagaId,
    /// Where it stands.
    pub state: State,
    /// The step whose turn it is: `users.activate`; a wait has its own name only.
    pub step: String,
    /// Whether the pivot was reached, from which on nothing is taken back.
    pub past_pivot: bool,
    /// What it was started with.
    pub data: Value,
}

/// Why a saga was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The step at which it turned: `users.reserve_handle`.
    pub step: String,
    /// The status of the refusal: 408 for a time that ran out, 409 for a signal.
    pub status: u16,
    /// The document of the refusal, or one that says why.
    pub problem: Value,
    /// Steps that could not be taken back and that an operator left as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

impl Reason {
    fn new(step: &str, status: StatusCode, problem: Value) -> Self {
        Self { step: step.to_owned(), status: status.as_u16(), problem, left: Vec::new() }
    }

    /// Somebody wants it back.
    fn told(step: &str, reason: &str) -> Self {
        let problem = json!({
            "title": "Taken back",
            "detail": reason,
            "type": "about:blank",
            "status": 409,
            "signal": reason,
        });
        Self::new(step, StatusCode::CONFLICT, problem)
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        participant::problem_of(reason.status, &reason.problem)
    }
}

/// What became of a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of its steps are done.
    Completed,
    /// Its pivot is done: the rest follows. Only of [`Sagas::outcome_at_pivot`].
    Pivoted,
    /// Everything was taken back.
    Compensated(Reason),
    /// Not at its end within the time; or an operator gave it up.
    Unfinished,
}

/// Something that a saga is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal<'a> {
    /// The step that waits is over; kept when it has not begun.
    Proceed,
    /// Everything is to be taken back, for this reason.
    Compensate(&'a str),
}

/// What a signal met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalled {
    /// The saga does what it was told, or was doing so already.
    Taken(SagaId),
    /// There is no such saga that is unfinished.
    NoSaga,
    /// It was told to proceed, and is being taken back.
    Compensating(SagaId),
    /// It is too late to take it back.
    PastPivot(SagaId),
}

/// Why a saga was not started, or cannot be told of.
#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    /// One of that name and key is unfinished.
    #[error("the saga {0} of the same name and key is not at its end")]
    Running(SagaId),
    /// There is none of that number (any more).
    #[error("there is no saga {0}")]
    Unknown(SagaId),
    /// The service did not say that it conducts this saga, or its declaration has a flaw.
    #[error("the service {service} cannot conduct the saga {saga}: {reason}")]
    Definition {
        /// The service.
        service: &'static str,
        /// The saga's name.
        saga: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The data is not a JSON object, or too large.
    #[error("the data of a saga must be a JSON object of at most {SAGA_DATA_BYTES_MAX} bytes")]
    Data,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<SagaError> for Problem {
    fn from(error: SagaError) -> Self {
        match error {
            SagaError::Running(_) => Self::conflict(
                "The same is being done, or being taken back, right now; look how it ends before \
                 you try again.",
            ),
            SagaError::Database(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

/// What the sagas of a service stand on.
#[derive(Debug, Clone)]
pub struct SagaDeps {
    /// The name of the service that owns them.
    pub service: &'static str,
    /// Its migrated database.
    pub database: Database,
    /// The services that have steps, this one among them.
    pub peers: Arc<dyn Peers>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Numbers for sagas.
    pub ids: Arc<Ids>,
    /// What they are shown.
    pub tokens: Arc<ServiceTokens>,
}

/// The sagas that a service conducts. Clones are the same.
#[derive(Debug, Clone)]
pub struct Sagas(Arc<Conductor>);

#[derive(Debug)]
struct Conductor {
    service: &'static str,
    database: Database,
    peers: Arc<dyn Peers>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    tokens: Arc<ServiceTokens>,
    sagas: Vec<&'static Saga>,
    /// This process among those that share the database.
    owner: String,
    /// The latest moment that it has seen, in microseconds since 1970: clocks are set back at times.
    latest: AtomicI64,
    /// Wakes the worker when something is to be done.
    due: Notify,
    watchers: Watchers,
}

/// Who waits for which saga, in this process.
#[derive(Debug, Default)]
struct Watchers(Mutex<HashMap<SagaId, Weak<Notify>>>);

impl Watchers {
    fn watch(&self, id: SagaId) -> Arc<Notify> {
        // No code that holds the lock can panic.
        let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|_, watcher| watcher.strong_count() > 0);
        if let Some(watcher) = watchers.get(&id).and_then(Weak::upgrade) {
            return watcher;
        }
        let watcher = Arc::new(Notify::new());
        watchers.insert(id, Arc::downgrade(&watcher));
        watcher
    }

    fn wake(&self, id: SagaId) {
        let watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = watchers.get(&id).and_then(Weak::upgrade) {
            watcher.notify_waiters();
        }
    }
}

impl Sagas {
    /// The conductor of these sagas. Its [`Sagas::worker`] has to run, here or in another process
    /// on the same database.
    pub fn new(deps: SagaDeps, sagas: &[&'static Saga]) -> Self {
        let SagaDeps { service, database, peers, clock, ids, tokens } = deps;
        // Another one for every process; no ids can be made yet.
        let random = RandomState::new().hash_one(());
        let owner = format!("{service} {random:016x}");
        Self(Arc::new(Conductor {
            service,
            database,
            peers,
            clock,
            ids,
            tokens,
            sagas: sagas.to_vec(),
            owner,
            // It may have been set back while nothing ran.
            latest: AtomicI64::new(i64::MAX),
            due: Notify::new(),
            watchers: Watchers::default(),
        }))
    }

    /// The service whose sagas they are.
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// Does what is to be done, until the shutdown.
    pub fn worker(&self) -> Worker {
        let sagas = self.clone();
        let name = format!("sagas-{}", self.0.service);
        Worker::new(name, move |shutdown| driver::run(sagas.clone(), shutdown))
    }

    /// Starts a saga, in the transaction of what it belongs to: it runs once that is committed.
    /// Of each name and key one at a time is unfinished.
    pub async fn start(
        &self,
        transaction: &mut Transaction,
        saga: &'static Saga,
        key: &str,
        data: Value,
    ) -> Result<SagaId, SagaError> {
        let first = self.declared(saga)?;
        if let Some(row) = log::unfinished(transaction, saga.name, key).await? {
            return Err(SagaError::Running(row.id()));
        }
        let data = if data.is_object() { data.to_string() } else { return Err(SagaError::Data) };
        if data.len() > SAGA_DATA_BYTES_MAX {
            return Err(SagaError::Data);
        }
        let now = self.0.clock.now().as_micros();
        let id = SagaId(self.0.ids.next()?.cast_signed());
        let row = Row::new(id, saga.name, key, first, data, now);
        row.insert(transaction).await?;
        log::note(transaction, id, now, &row.step, What::Started, None).await?;
        crash_point!("saga.log.before", saga.name, &row.step, What::Started.word());
        crash_point!(after transaction, "saga.log.after", saga.name, &row.step, "started");
        self.wake_after(transaction, id);
        Ok(id)
    }

    /// Tells the unfinished saga of that name and key something.
    pub async fn signal(
        &self,
        transaction: &mut Transaction,
        saga: &'static Saga,
        key: &str,
        signal: Signal<'_>,
    ) -> Result<Signalled, SagaError> {
        self.declared(saga)?;
        let Some(mut row) = log::unfinished(transaction, saga.name, key).await? else {
            return Ok(Signalled::NoSaga);
        };
        let (id, epoch) = (row.id(), row.epoch);
        let now = self.0.clock.now().as_micros();
        let (state, step) = (row.state()?, row.step.clone());
        let is_taken_back = state == State::Compensating
            || (state == State::Parked && row.resumes()? == State::Compensating);
        let what = match signal {
            Signal::Proceed if is_taken_back => return Ok(Signalled::Compensating(id)),
            Signal::Compensate(_) if is_taken_back => return Ok(Signalled::Taken(id)),
            _ if row.is_at_pivot(saga) => return Ok(Signalled::PastPivot(id)),
            Signal::Proceed if state == State::Waiting => {
                row.advance(saga, now);
                What::Proceeded
            }
            Signal::Proceed => {
                // Whoever is at it goes on, and finds this when the step that waits has its turn.
                row.keep_proceed(transaction).await?;
                return Ok(Signalled::Taken(id));
            }
            Signal::Compensate(reason) => {
                row.turn_back(saga, row.position(saga), &Reason::told(&step, reason), now);
                What::TurnedBack
            }
        };
        // Whoever is at it has lost it: its next write fails.
        row.release();
        row.epoch += 1;
        row.save(transaction, epoch).await?;
        log::note(transaction, id, now, &step, what, Some("signal")).await?;
        crash_point!("saga.log.before", saga.name, &step, what.word());
        crash_point!(after transaction, "saga.log.after", saga.name, &step, what.word());
        self.wake_after(transaction, id);
        Ok(Signalled::Taken(id))
    }

    /// The unfinished saga of that name and key.
    pub async fn running(
        &self,
        transaction: &mut Transaction,
        saga: &'static Saga,
        key: &str,
    ) -> Result<Option<SagaState>, SagaError> {
        self.declared(saga)?;
        let Some(row) = log::unfinished(transaction, saga.name, key).await? else {
            return Ok(None);
        };
        Ok(Some(SagaState {
            id: row.id(),
            state: row.state()?,
            step: row.step.clone(),
            past_pivot: row.is_at_pivot(saga),
            data: row.data()?,
        }))
    }

    /// What becomes of a saga, waiting for its end so long.
    pub async fn outcome(&self, id: SagaId, within: Duration) -> Result<Outcome, SagaError> {
        self.watch(id, within, |_| false).await
    }

    /// What becomes of a saga, waiting so long for its pivot to be done, or for its end.
    pub async fn outcome_at_pivot(
        &self,
        id: SagaId,
        within: Duration,
    ) -> Result<Outcome, SagaError> {
        let pivoted = |row: &Row| {
            let saga = self.0.sagas.iter().find(|saga| saga.name == row.name);
            saga.is_some_and(|saga| row.position(saga) > saga.pivot())
                || matches!(row.state(), Ok(State::Completed))
        };
        self.watch(id, within, pivoted).await
    }

    /// Waits so long for a saga to wait, for a signal or a moment. What became of it, when it does
    /// not.
    pub async fn until_waiting(
        &self,
        id: SagaId,
        within: Duration,
    ) -> Result<Option<Outcome>, SagaError> {
        let waits = |row: &Row| matches!(row.state(), Ok(State::Waiting));
        match self.watch(id, within, waits).await? {
            Outcome::Pivoted => Ok(None),
            outcome => Ok(Some(outcome)),
        }
    }

    async fn watch(
        &self,
        id: SagaId,
        within: Duration,
        pivoted: impl Fn(&Row) -> bool,
    ) -> Result<Outcome, SagaError> {
        let until = Instant::now() + within;
        let watcher = self.0.watchers.watch(id);
        loop {
            let mut changed = std::pin::pin!(watcher.notified());
            changed.as_mut().enable();
            let row = log::find(&self.0.database, id).await?.ok_or(SagaError::Unknown(id))?;
            match row.state()? {
                State::Compensated => return Ok(Outcome::Compensated(row.reason()?)),
                _ if pivoted(&row) => return Ok(Outcome::Pivoted),
                State::Completed => return Ok(Outcome::Completed),
                State::Abandoned => return Ok(Outcome::Unfinished),
                State::Running | State::Waiting | State::Compensating | State::Parked => {}
            }
            if Instant::now() >= until {
                return Ok(Outcome::Unfinished);
            }
            let next = until.min(Instant::now() + WATCH_INTERVAL);
            // Either way it is looked at again.
            let _ = tokio::time::timeout_at(next, changed).await;
        }
    }

    /// The full name of the first step of a saga that is declared as it must be.
    fn declared(&self, saga: &'static Saga) -> Result<String, SagaError> {
        let flawed =
            |reason| SagaError::Definition { service: self.0.service, saga: saga.name, reason };
        if let Some(flaw) = saga.flaw() {
            return Err(flawed(flaw));
        }
        if !self.0.sagas.contains(&saga) {
            return Err(flawed("it is not among the sagas that the service was built with"));
        }
        let first = saga.steps.first().ok_or_else(|| flawed("it has no steps"))?;
        Ok(first.full_name())
    }

    /// Wakes the worker, and who waits for the saga, after the commit.
    fn wake_after(&self, transaction: &mut Transaction, id: SagaId) {
        let sagas = self.clone();
        transaction.after_commit(move || {
            sagas.0.due.notify_one();
            sagas.0.watchers.wake(id);
        });
    }

    /// Does what is due now, without a worker, until nothing is.
    #[cfg(any(test, feature = "testing"))]
    pub async fn run_until_idle(&self) {
        driver::run_until_idle(self).await;
    }
}

impl Saga {
    fn step(&self, index: usize) -> Option<&'static Step> {
        self.steps.get(index)
    }

    /// The step from which on a saga is taken back that stopped at this one.
    fn first_to_undo(&self, stopped: usize) -> Option<usize> {
        let undone = |index: &usize| match self.step(*index).map(|step| step.kind) {
            Some(Kind::Compensated) => true,
            // It leaves nothing, but what is under way must not come after the rest was taken
            // back.
            Some(Kind::Plain) => *index == stopped,
            _ => false,
        };
        (0..=stopped).rev().find(undone)
    }

    /// The step that is taken back after this one.
    fn next_to_undo(&self, undone: usize) -> Option<usize> {
        let is_compensated =
            |index: &usize| self.step(*index).is_some_and(|step| step.kind == Kind::Compensated);
        (0..undone).rev().find(is_compensated)
    }
}
