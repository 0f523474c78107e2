//! The log of sagas: where each stands, who works on it, and what became of its steps.

use std::time::Duration;

use serde_json::Value;

use super::definition::Saga;
use super::{Reason, SagaId, State};
use crate::database::{Database, DatabaseError, Transaction};
use crate::sql::{On, list, query};

/// A saga is its owner's for so long after each write. Longer than the slowest call.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// Finished sagas can be looked at for so long.
const FINISHED_KEPT: Duration = Duration::from_hours(24 * 30);
/// Finished sagas that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE_MAX: u32 = 500;
/// Sagas that are looked at to find when the next one is due.
const LOOKED_AT_MAX: u32 = 64;

/// What happened to a saga, as its journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Started,
    Done,
    Refused,
    TimedOut,
    Failing,
    Waiting,
    Proceeded,
    TurnedBack,
    Undone,
    Parked,
    Retried,
    Completed,
    Compensated,
    Abandoned,
}

impl What {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::TimedOut => "timed out",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
            Self::Proceeded => "proceeded",
            Self::TurnedBack => "turned back",
            Self::Undone => "undone",
            Self::Parked => "parked",
            Self::Retried => "retried",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Abandoned => "abandoned",
        }
    }
}

impl State {
    /// As the log has it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Compensating => "compensating",
            Self::Parked => "parked",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Abandoned => "abandoned",
        }
    }

    pub(super) fn parse(word: &str) -> Result<Self, DatabaseError> {
        Ok(match word {
            "running" => Self::Running,
            "waiting" => Self::Waiting,
            "compensating" => Self::Compensating,
            "parked" => Self::Parked,
            "completed" => Self::Completed,
            "compensated" => Self::Compensated,
            "abandoned" => Self::Abandoned,
            other => return Err(DatabaseError::Corrupt(format!("a saga in the state {other}"))),
        })
    }
}

const COLUMNS: &str = "id, name, key, state, resumes, position, step, step_since, data, reason,
    proceeds, attempts, failures, error, due_at, started_at, changed_at, epoch, lease_until, owner";

/// A saga as the log has it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Row {
    id: i64,
    pub(super) name: String,
    pub(super) key: String,
    state: String,
    resumes: Option<String>,
    position: i64,
    pub(super) step: String,
    pub(super) step_since: i64,
    data: String,
    reason: Option<String>,
    pub(super) proceeds: bool,
    pub(super) attempts: i64,
    pub(super) failures: i64,
    pub(super) error: Option<String>,
    pub(super) due_at: Option<i64>,
    pub(super) started_at: i64,
    pub(super) changed_at: i64,
    pub(super) epoch: i64,
    lease_until: i64,
    pub(super) owner: Option<String>,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Row {
    /// A saga that begins with this step.
    pub(super) fn new(
        id: SagaId,
        name: &str,
        key: &str,
        step: String,
        data: String,
        now: i64,
    ) -> Self {
        Self {
            id: id.get(),
            name: name.to_owned(),
            key: key.to_owned(),
            state: State::Running.word().to_owned(),
            resumes: None,
            position: 0,
            step,
            step_since: now,
            data,
            reason: None,
            proceeds: false,
            attempts: 0,
            failures: 0,
            error: None,
            due_at: Some(now),
            started_at: now,
            changed_at: now,
            epoch: 0,
            lease_until: 0,
            owner: None,
        }
    }

    pub(super) fn id(&self) -> SagaId {
        SagaId::new(self.id)
    }

    pub(super) fn state(&self) -> Result<State, DatabaseError> {
        State::parse(&self.state)
    }

    /// The state that a parked one goes back to.
    pub(super) fn resumes(&self) -> Result<State, DatabaseError> {
        State::parse(self.resumes.as_deref().unwrap_or("running"))
    }

    /// The index of the step whose turn it is, by its name: a build may have put others before it.
    pub(super) fn position(&self, saga: &Saga) -> usize {
        let position = usize::try_from(self.position).unwrap_or_default();
        saga.index_of(&self.step).unwrap_or(position)
    }

    pub(super) fn data(&self) -> Result<Value, DatabaseError> {
        serde_json::from_str(&self.data).map_err(|error| self.corrupt("data", &error))
    }

    pub(super) fn reason(&self) -> Result<Reason, DatabaseError> {
        let reason = self.reason.as_deref().unwrap_or("null");
        serde_json::from_str(reason).map_err(|error| self.corrupt("reason", &error))
    }

    /// The members of a step's answer are the later steps' to know.
    pub(super) fn learn(&mut self, answer: Value) -> Result<(), DatabaseError> {
        let Value::Object(members) = answer else {
            return Ok(());
        };
        if !members.is_empty() {
            let mut data = self.data()?;
            if let Some(data) = data.as_object_mut() {
                data.extend(members);
            }
            self.data = data.to_string();
        }
        Ok(())
    }

    fn corrupt(&self, column: &str, error: &serde_json::Error) -> DatabaseError {
        DatabaseError::Corrupt(format!(
            "the saga {} whose {column} cannot be read: {error}",
            self.id
        ))
    }

    /// Whether it is too late to take it back: the pivot may have been asked for.
    pub(super) fn is_at_pivot(&self, saga: &Saga) -> bool {
        self.position(saga) >= saga.pivot()
    }

    /// It is another step's turn.
    fn turn_to(&mut self, saga: &Saga, position: usize, now: i64) {
        self.resumes = None;
        self.position = i64::try_from(position).unwrap_or(i64::MAX);
        self.step = saga.step(position).map(super::Step::full_name).unwrap_or_default();
        self.step_since = now;
        self.changed_at = now;
        self.attempts = 0;
        self.failures = 0;
        self.error = None;
        self.due_at = Some(now);
    }

    /// The step is done: the next one's turn, or the end.
    pub(super) fn advance(&mut self, saga: &Saga, now: i64) -> State {
        let next = self.position(saga) + 1;
        if next >= saga.steps.len() {
            self.end(State::Completed, now);
            return State::Completed;
        }
        self.turn_to(saga, next, now);
        self.set(State::Running);
        State::Running
    }

    /// It is taken back, from the step at which it stopped.
    pub(super) fn turn_back(
        &mut self,
        saga: &Saga,
        stopped: usize,
        reason: &Reason,
        now: i64,
    ) -> State {
        self.reason = serde_json::to_string(reason).ok();
        self.undo_next(saga, saga.first_to_undo(stopped), now)
    }

    /// The step was taken back: the turn of the one before it, or the end.
    pub(super) fn undone(&mut self, saga: &Saga, now: i64) -> State {
        self.undo_next(saga, saga.next_to_undo(self.position(saga)), now)
    }

    /// The step is left as it is: an operator says so.
    pub(super) fn leave(&mut self, saga: &Saga, now: i64) -> Result<State, DatabaseError> {
        let mut reason = self.reason()?;
        reason.left.push(self.step.clone());
        self.reason = serde_json::to_string(&reason).ok();
        Ok(self.undone(saga, now))
    }

    fn undo_next(&mut self, saga: &Saga, next: Option<usize>, now: i64) -> State {
        let Some(next) = next else {
            let is_whole = self.reason().is_ok_and(|reason| reason.left.is_empty());
            let state = if is_whole { State::Compensated } else { State::Abandoned };
            self.end(state, now);
            return state;
        };
        self.turn_to(saga, next, now);
        self.set(State::Compensating);
        State::Compensating
    }

    /// It waits until then.
    pub(super) fn wait(&mut self, until: i64, now: i64) {
        self.set(State::Waiting);
        self.changed_at = now;
        self.due_at = Some(until);
        self.release();
    }

    /// It is tried again then.
    pub(super) fn back_off(&mut self, until: i64, error: String) {
        self.error = Some(error);
        self.due_at = Some(until);
        self.release();
    }

    /// It cannot go on by itself.
    pub(super) fn park(&mut self, error: String, now: i64) {
        self.resumes = Some(std::mem::replace(&mut self.state, State::Parked.word().to_owned()));
        self.error = Some(error);
        self.changed_at = now;
        self.due_at = None;
        self.release();
    }

    /// What was parked, or is tried again later, is tried now.
    pub(super) fn resume(&mut self, now: i64) {
        if let Some(state) = self.resumes.take() {
            self.state = state;
        }
        self.attempts = 0;
        self.failures = 0;
        self.step_since = now;
        self.changed_at = now;
        self.due_at = Some(now);
        self.release();
    }

    /// It is over; what it carried is forgotten.
    pub(super) fn end(&mut self, state: State, now: i64) {
        self.set(state);
        self.resumes = None;
        "{}".clone_into(&mut self.data);
        self.changed_at = now;
        self.due_at = None;
        self.release();
    }

    fn set(&mut self, state: State) {
        state.word().clone_into(&mut self.state);
    }

    pub(super) fn release(&mut self) {
        self.lease_until = 0;
        self.owner = None;
    }

    pub(super) async fn insert(&self, transaction: &mut Transaction) -> Result<(), DatabaseError> {
        query(
            "INSERT INTO saga (id, name, key, state, position, step, step_since, data, proceeds,
                 attempts, failures, due_at, started_at, changed_at, epoch, lease_until)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, FALSE, 0, 0, $7, $7, $7, 0, 0)",
        )
        .bind(self.id)
        .bind(&self.name)
        .bind(&self.key)
        .bind(&self.state)
        .bind(self.position)
        .bind(&self.step)
        .bind(self.step_since)
        .bind(&self.data)
        .execute(transaction)
        .await?;
        Ok(())
    }

    /// Writes it, if it is still the one of that epoch.
    pub(super) async fn save(
        &self,
        transaction: &mut Transaction,
        epoch: i64,
    ) -> Result<bool, DatabaseError> {
        let written = query(
            "UPDATE saga SET state = $3, resumes = $4, position = $5, step = $6, step_since = $7,
                 data = $8, reason = $9, attempts = $10, failures = $11, error = $12, due_at = $13,
                 changed_at = $14, owner = $15, epoch = $16, lease_until = $17
             WHERE id = $1 AND epoch = $2",
        )
        .bind(self.id)
        .bind(epoch)
        .bind(&self.state)
        .bind(self.resumes.as_deref())
        .bind(self.position)
        .bind(&self.step)
        .bind(self.step_since)
        .bind(&self.data)
        .bind(self.reason.as_deref())
        .bind(self.attempts)
        .bind(self.failures)
        .bind(self.error.as_deref())
        .bind(self.due_at)
        .bind(self.changed_at)
        .bind(self.owner.as_deref())
        .bind(self.epoch)
        .bind(self.lease_until)
        .execute(transaction)
        .await?;
        Ok(written == 1)
    }

    /// Its owner, if it has one, keeps it for another while.
    pub(super) fn keep_if_owned(&mut self, now: i64) {
        if self.owner.is_some() {
            self.lease_until = now.saturating_add(micros(LEASE));
        }
    }

    /// Somebody said to proceed before it waits.
    pub(super) async fn keep_proceed(
        &self,
        transaction: &mut Transaction,
    ) -> Result<(), DatabaseError> {
        set_proceeds(transaction, self.id(), true).await
    }
}

/// Whether somebody said to proceed.
pub(super) async fn set_proceeds(
    transaction: &mut Transaction,
    id: SagaId,
    proceeds: bool,
) -> Result<(), DatabaseError> {
    query("UPDATE saga SET proceeds = $2 WHERE id = $1")
        .bind(id.get())
        .bind(proceeds)
        .execute(transaction)
        .await?;
    Ok(())
}

/// The unfinished saga of that name and key.
pub(super) async fn unfinished(
    transaction: &mut Transaction,
    name: &str,
    key: &str,
) -> Result<Option<Row>, DatabaseError> {
    query(format!(
        "SELECT {COLUMNS} FROM saga WHERE name = $1 AND key = $2
             AND state IN ('running', 'waiting', 'compensating', 'parked')"
    ))
    .bind(name)
    .bind(key)
    .fetch_optional(transaction)
    .await
}

/// The saga of that number.
pub(super) async fn find<'c>(
    on: impl Into<On<'c>>,
    id: SagaId,
) -> Result<Option<Row>, DatabaseError> {
    query(format!("SELECT {COLUMNS} FROM saga WHERE id = $1"))
        .bind(id.get())
        .fetch_optional(on)
        .await
}

/// The latest sagas, of all states or of those that are not at their end.
pub(super) async fn listed(
    database: &Database,
    with_finished: bool,
    count_max: u32,
) -> Result<Vec<Row>, DatabaseError> {
    query(format!(
        "SELECT {COLUMNS} FROM saga
         WHERE $1 OR state IN ('running', 'waiting', 'compensating', 'parked')
         ORDER BY id DESC LIMIT $2"
    ))
    .bind(with_finished)
    .bind(count_max)
    .fetch_all(database)
    .await
}

/// Takes sagas that are due and nobody's, the one that is due longest first.
pub(super) async fn claim(
    database: &Database,
    names: &[&str],
    owner: &str,
    now: i64,
    count_max: u32,
) -> Result<Vec<Row>, DatabaseError> {
    const DUE: &str = "SELECT id FROM saga
        WHERE due_at <= $1 AND lease_until <= $1 AND name IN (SELECT value FROM json_each($2))
        ORDER BY due_at LIMIT $3";
    let names = list(names.iter().copied());
    // Most of the times there is nothing, and looking takes no turn among the writers.
    let due = query(DUE).bind(now).bind(&names).bind(count_max);
    if due.fetch_optional::<(i64,)>(database).await?.is_none() {
        return Ok(Vec::new());
    }
    let mut transaction = database.write().await?;
    let claimed = query(format!(
        "UPDATE saga SET owner = $4, epoch = epoch + 1, lease_until = $5 WHERE id IN ({DUE})
         RETURNING {COLUMNS}"
    ))
    .bind(now)
    .bind(&names)
    .bind(count_max)
    .bind(owner)
    .bind(now.saturating_add(micros(LEASE)))
    .fetch_all(&mut transaction)
    .await?;
    transaction.commit().await?;
    Ok(claimed)
}

/// When the next saga is due that is nobody's then.
pub(super) async fn next_due(
    database: &Database,
    names: &[&str],
) -> Result<Option<i64>, DatabaseError> {
    let first: Vec<(i64, i64)> = query(
        "SELECT due_at, lease_until FROM saga
         WHERE due_at IS NOT NULL AND name IN (SELECT value FROM json_each($1))
         ORDER BY due_at LIMIT $2",
    )
    .bind(list(names.iter().copied()))
    .bind(LOOKED_AT_MAX)
    .fetch_all(database)
    .await?;
    Ok(first.into_iter().map(|(due_at, lease_until)| due_at.max(lease_until)).min())
}

/// Brings forward what a clock that was wrong has put off: nothing that is under way is put off for
/// longer than this.
pub(super) async fn bring_forward(
    database: &Database,
    now: i64,
    put_off_max: Duration,
) -> Result<(), DatabaseError> {
    let mut transaction = database.write().await?;
    query(
        "UPDATE saga SET due_at = $1, lease_until = 0, owner = NULL
         WHERE state IN ('running', 'compensating') AND (due_at > $2 OR lease_until > $2)",
    )
    .bind(now)
    .bind(now.saturating_add(micros(put_off_max)))
    .execute(&mut transaction)
    .await?;
    transaction.commit().await
}

/// Takes the leases of a process that has ended. Only for a database that no other can be at.
pub(super) async fn end_leases(database: &Database) -> Result<(), DatabaseError> {
    let mut transaction = database.write().await?;
    query("UPDATE saga SET lease_until = 0, owner = NULL WHERE due_at IS NOT NULL")
        .execute(&mut transaction)
        .await?;
    transaction.commit().await
}

/// Adds a line to a saga's journal.
pub(super) async fn note(
    transaction: &mut Transaction,
    id: SagaId,
    at: i64,
    step: &str,
    what: What,
    detail: Option<&str>,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO saga_journal (saga_id, ordinal, at, step, what, detail)
         SELECT $1, coalesce(max(ordinal), 0) + 1, $2, $3, $4, $5
         FROM saga_journal WHERE saga_id = $1",
    )
    .bind(id.get())
    .bind(at)
    .bind(step)
    .bind(what.word())
    .bind(detail)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Forgets sagas that ended long ago, some at a time; whether there may be more.
pub(super) async fn forget(database: &Database, now: i64) -> Result<bool, DatabaseError> {
    const OLD: &str = "SELECT id FROM saga
        WHERE state IN ('completed', 'compensated', 'abandoned') AND changed_at < $1
        ORDER BY changed_at LIMIT $2";
    let before = now.saturating_sub(micros(FINISHED_KEPT));
    let mut transaction = database.write().await?;
    query(format!("DELETE FROM saga_journal WHERE saga_id IN ({OLD})"))
        .bind(before)
        .bind(FORGOTTEN_AT_ONCE_MAX)
        .execute(&mut transaction)
        .await?;
    let forgotten = query(format!("DELETE FROM saga WHERE id IN ({OLD})"))
        .bind(before)
        .bind(FORGOTTEN_AT_ONCE_MAX)
        .execute(&mut transaction)
        .await?;
    transaction.commit().await?;
    Ok(forgotten >= u64::from(FORGOTTEN_AT_ONCE_MAX))
}
