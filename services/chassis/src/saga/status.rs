//! What operators see of sagas, and what they can do about one that does not get on.

use std::collections::BTreeMap;

use pillion_events::Timestamp;
use serde::Serialize;

use super::driver::{ALARM_AFTER, end_of};
use super::log::{self, Row, What};
use super::{Reason, SagaId, Sagas, State};
use crate::database::DatabaseError;
use crate::problem::Problem;
use crate::sql::query;

/// Sagas that one answer holds.
const LISTED_MAX: u32 = 1_000;
/// Lines of a journal that one answer holds: a saga that an operator retries for ever has more.
const ENTRIES_MAX: u32 = 1_000;

/// How many sagas of a name there are that are not at their end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The service that conducts them.
    pub service: &'static str,
    /// Their name.
    pub saga: String,
    /// Steps are being done.
    pub running: i64,
    /// They wait for a signal or a moment.
    pub waiting: i64,
    /// Steps are being taken back.
    pub compensating: i64,
    /// They need an operator.
    pub parked: i64,
    /// Of those that run or are taken back, so many have failed at a step again and again.
    pub failing: i64,
    /// Seconds since the oldest was started.
    pub oldest_s: Option<u64>,
    /// Seconds since the last step of the one that has stood still longest; of those that run or
    /// are taken back.
    pub stalled_s: Option<u64>,
}

/// A saga in a list.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Its number.
    pub id: SagaId,
    /// The service that conducts it.
    pub service: &'static str,
    /// Its name.
    pub saga: String,
    /// What it is about.
    pub key: String,
    /// Where it stands.
    pub state: State,
    /// The step whose turn it is.
    pub step: String,
    /// How often that was tried in vain.
    pub attempts: i64,
    /// Why, the last time.
    pub error: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When a step of it came to its end last.
    pub changed_at: Timestamp,
    /// When something is to be done next.
    pub due_at: Option<Timestamp>,
    /// Why it was taken back, and what could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// A saga with its steps and its journal.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// As in the list.
    #[serde(flatten)]
    pub saga: Listed,
    /// The process that works on it.
    pub owner: Option<String>,
    /// The steps of its declaration.
    pub steps: Vec<StepShown>,
    /// What happened, the oldest first.
    pub journal: Vec<Entry>,
}

/// A step as it is declared.
#[derive(Debug, Clone, Serialize)]
pub struct StepShown {
    /// `users.activate`.
    pub step: String,
    /// `compensated`, `plain`, `wait`, `pivot` or `retried`.
    pub kind: &'static str,
    /// Whether it is its turn.
    pub is_now: bool,
}

/// A line of a saga's journal.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Of which step; empty for the saga itself.
    pub step: String,
    /// What happened.
    pub what: String,
    /// More about it.
    pub detail: Option<String>,
}

/// Why an operator's order was not followed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// It is not there.
    #[error("there is no saga {0}; sagas are forgotten 30 days after their end")]
    Unknown(SagaId),
    /// There is nothing left to do.
    #[error("the saga {id} is at its end: {}", .state.word())]
    Finished {
        /// Which.
        id: SagaId,
        /// How it ended.
        state: State,
    },
    /// It gets on.
    #[error("the saga {0} is neither parked nor failing; leave it alone, it gets on")]
    GetsOn(SagaId),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Unknown(_) => Self::not_found(error.to_string()),
            OperatorError::Finished { .. } | OperatorError::GetsOn(_) => {
                Self::conflict(error.to_string())
            }
            OperatorError::Database(error) => error.into(),
        }
    }
}

impl Sagas {
    /// How many there are of each name, those that are declared and those that are in the log only.
    pub async fn counts(&self) -> Result<Vec<Counts>, DatabaseError> {
        let rows: Vec<(String, String, i64, i64, i64, i64)> = query(
            "SELECT name, state, count(*), CAST(min(started_at) AS BIGINT),
                 CAST(min(changed_at) AS BIGINT),
                 CAST(sum(CASE WHEN attempts >= $1 THEN 1 ELSE 0 END) AS BIGINT)
             FROM saga WHERE state IN ('running', 'waiting', 'compensating', 'parked')
             GROUP BY name, state",
        )
        .bind(ALARM_AFTER)
        .fetch_all(&self.0.database)
        .await?;
        let none = |saga: &str| Counts {
            service: self.0.service,
            saga: saga.to_owned(),
            running: 0,
            waiting: 0,
            compensating: 0,
            parked: 0,
            failing: 0,
            oldest_s: None,
            stalled_s: None,
        };
        let names = self.0.sagas.iter().map(|saga| saga.name);
        let mut all: BTreeMap<String, Counts> =
            names.map(|name| (name.to_owned(), none(name))).collect();
        let now = self.0.clock.now().as_micros();
        let since = |at: i64| u64::try_from(now.saturating_sub(at) / 1_000_000).unwrap_or_default();
        for (name, state, count, started_at, changed_at, failing) in rows {
            let counts = all.entry(name).or_insert_with_key(|name| none(name));
            counts.oldest_s = counts.oldest_s.max(Some(since(started_at)));
            let state = State::parse(&state)?;
            match state {
                State::Running => counts.running = count,
                State::Compensating => counts.compensating = count,
                State::Waiting => counts.waiting = count,
                _ => counts.parked = count,
            }
            if matches!(state, State::Running | State::Compensating) {
                counts.failing += failing;
                counts.stalled_s = counts.stalled_s.max(Some(since(changed_at)));
            }
        }
        Ok(all.into_values().collect())
    }

    /// The latest sagas, at most a thousand: those that are not at their end, or all.
    pub async fn list(&self, with_finished: bool) -> Result<Vec<Listed>, DatabaseError> {
        let rows = log::listed(&self.0.database, with_finished, LISTED_MAX).await?;
        rows.into_iter().map(|row| self.listed(&row)).collect()
    }

    /// A saga with its steps and journal.
    pub async fn show(&self, id: SagaId) -> Result<Option<Shown>, DatabaseError> {
        let Some(row) = log::find(&self.0.database, id).await? else {
            return Ok(None);
        };
        let journal: Vec<(i64, String, String, Option<String>)> = query(
            "SELECT at, step, what, detail FROM saga_journal WHERE saga_id = $1
             ORDER BY ordinal LIMIT $2",
        )
        .bind(id.get())
        .bind(ENTRIES_MAX)
        .fetch_all(&self.0.database)
        .await?;
        let journal = journal.into_iter().map(|(at, step, what, detail)| Entry {
            at: Timestamp::from_micros(at),
            step,
            what,
            detail,
        });
        let declared = self.0.sagas.iter().find(|saga| saga.name == row.name);
        let is_unfinished = !is_finished(row.state()?);
        let steps = declared.into_iter().flat_map(|saga| saga.steps);
        let steps = steps.map(|step| StepShown {
            step: step.full_name(),
            kind: step.kind.word(),
            is_now: is_unfinished && step.is_called(&row.step),
        });
        let (steps, journal) = (steps.collect(), journal.collect());
        Ok(Some(Shown { saga: self.listed(&row)?, owner: row.owner, steps, journal }))
    }

    /// Takes a parked saga on, or tries a failing one now.
    pub async fn retry(&self, id: SagaId) -> Result<Listed, OperatorError> {
        self.order(id, What::Retried, None, |row, now| {
            if row.state()? == State::Waiting {
                return Err(OperatorError::GetsOn(id));
            }
            row.resume(now);
            Ok(())
        })
        .await
    }

    /// Gives up what a parked or failing saga stands at. Before its pivot everything is taken back;
    /// a step that cannot be taken back is left as it is, and those before it are taken back all
    /// the same. From the pivot on there is no way back: what was done stays, and the rest is not
    /// done.
    pub async fn abandon(&self, id: SagaId, reason: &str) -> Result<Listed, OperatorError> {
        let listed = self
            .order(id, What::Abandoned, Some(reason), |row, now| {
                let state = row.state()?;
                if state != State::Parked && row.attempts == 0 {
                    return Err(OperatorError::GetsOn(id));
                }
                let is_taken_back = state == State::Compensating
                    || (state == State::Parked && row.resumes()? == State::Compensating);
                match self.0.sagas.iter().find(|saga| saga.name == row.name) {
                    Some(saga) if is_taken_back => {
                        row.leave(saga, now)?;
                    }
                    Some(saga) if !row.is_at_pivot(saga) => {
                        let reason = Reason::told(&row.step, reason);
                        row.turn_back(saga, row.position(saga), &reason, now);
                    }
                    _ => row.end(State::Abandoned, now),
                }
                row.release();
                Ok(())
            })
            .await?;
        let (service, saga) = (self.0.service, &listed.saga);
        let state = listed.state.word();
        tracing::warn!(service, saga, %id, reason, state, "an operator gave a step of a saga up");
        Ok(listed)
    }

    /// Changes a saga as an operator says; whoever works on it has lost it.
    async fn order(
        &self,
        id: SagaId,
        what: What,
        detail: Option<&str>,
        change: impl FnOnce(&mut Row, i64) -> Result<(), OperatorError> + Send,
    ) -> Result<Listed, OperatorError> {
        let mut transaction = self.0.database.write().await?;
        let found = log::find(&mut transaction, id).await?;
        let mut row = found.ok_or(OperatorError::Unknown(id))?;
        let state = row.state()?;
        if is_finished(state) {
            return Err(OperatorError::Finished { id, state });
        }
        let (epoch, step) = (row.epoch, row.step.clone());
        let now = self.0.clock.now().as_micros();
        change(&mut row, now)?;
        row.epoch += 1;
        row.save(&mut transaction, epoch).await?;
        log::note(&mut transaction, id, now, &step, what, detail).await?;
        if let Some((step, what, detail)) = end_of(row.state()?) {
            log::note(&mut transaction, id, now, step, what, detail).await?;
        }
        self.wake_after(&mut transaction, id);
        transaction.commit().await?;
        Ok(self.listed(&row)?)
    }

    fn listed(&self, row: &Row) -> Result<Listed, DatabaseError> {
        let state = row.state()?;
        let reason = match state {
            State::Compensating | State::Compensated => Some(row.reason()?),
            // It has none when it was given up behind its pivot.
            State::Abandoned => row.reason().ok(),
            _ => None,
        };
        Ok(Listed {
            id: row.id(),
            service: self.0.service,
            saga: row.name.clone(),
            key: row.key.clone(),
            state,
            step: row.step.clone(),
            attempts: row.attempts,
            error: row.error.clone(),
            started_at: Timestamp::from_micros(row.started_at),
            changed_at: Timestamp::from_micros(row.changed_at),
            due_at: row.due_at.map(Timestamp::from_micros),
            reason,
        })
    }
}

fn is_finished(state: State) -> bool {
    matches!(state, State::Completed | State::Compensated | State::Abandoned)
}
