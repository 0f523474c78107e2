//! The side of a service whose steps sagas of other services, or its own, need.
//!
//! A step is done in the transaction that also notes that it was done. Asked again, the service
//! answers the same; told to take back what never came, it notes that too, so that what comes late
//! is refused.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SagaId;
use crate::caller::Caller;
use crate::clock::{Clock, Timestamp};
use crate::crash::crash_point;
use crate::database::{Database, DatabaseError, Transaction};
use crate::event_log::AppendError;
use crate::json::Json;
use crate::path::Path;
use crate::problem::Problem;
use crate::routes::Routes;
use crate::service_token::SCOPE;
use crate::sql::query;

/// The routes of a participant.
const TEMPLATE: &str = "/internal/sagas/{saga_id}/steps/{step}";
/// Tells an answer of the participant itself from one of something in front of it.
pub(super) const STEP_HEADER: HeaderName = HeaderName::from_static("saga-step");
pub(super) const REFUSED: &str = "refused";
pub(super) const FAILED: &str = "failed";
/// What became of a step is known for so long: longer than any saga waits.
const STEP_KEPT: Duration = Duration::from_hours(24 * 400);
/// What a step may answer.
const ANSWER_BYTES_MAX: usize = 2 * 1024;
/// Steps that are forgotten with each new one.
const FORGOTTEN_AT_ONCE_MAX: u32 = 16;

/// Does the steps of a service, and takes them back.
#[async_trait]
pub trait Participant: Send + Sync + std::fmt::Debug + 'static {
    /// Does a step, in the transaction that notes it. What it answers is kept and repeated; the
    /// members of an answer that is an object join the saga's data, for the steps that follow.
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError>;

    /// Takes a step back that was done. The first step of a saga that this service conducts is
    /// taken back even when it was not, or was refused: for what the saga was started with.
    async fn compensate(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<(), StepError>;
}

/// What a saga asks of a participant.
#[derive(Debug, Clone)]
pub struct Command {
    /// Which saga.
    pub saga_id: SagaId,
    /// Its name: `register_account`.
    pub saga: String,
    /// Which of the service's steps: `reserve_handle`.
    pub step: String,
    /// What the saga carries.
    pub data: Value,
    /// The present moment, in whole milliseconds.
    pub at: Timestamp,
}

/// Why a step was not done.
#[derive(Debug)]
pub enum StepError {
    /// It cannot be done, now or later. Before the pivot the saga is taken back.
    Refused(Problem),
    /// It may go well another time: something failed, or it is too early.
    Failed(Problem),
}

impl From<DatabaseError> for StepError {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<AppendError> for StepError {
    fn from(error: AppendError) -> Self {
        Self::Failed(error.into())
    }
}

/// The body of a call.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) saga: String,
    /// What the step is to its saga: see [`super::definition::Kind::word`].
    pub(super) kind: String,
    pub(super) data: Value,
}

/// Why a participant did not do what it was asked.
#[derive(Debug)]
pub(super) enum Unmet {
    /// It never will.
    Refused(Problem),
    /// It could not, this time.
    Failed(Problem),
    /// It was not even tried.
    Down(Problem),
}

impl From<DatabaseError> for Unmet {
    fn from(error: DatabaseError) -> Self {
        Self::Down(error.into())
    }
}

/// Adds the routes by which sagas reach this service's steps, for services only.
pub fn participate<S: Clone + Send + Sync + 'static>(
    routes: Routes<S>,
    database: Database,
    clock: Arc<dyn Clock>,
    participant: Arc<dyn Participant>,
) -> Routes<S> {
    let part = Part::new(database, clock, participant);
    let other = part.clone();
    routes
        .put(
            TEMPLATE,
            move |Path((saga_id, step)): Path<(i64, String)>,
                  caller: Caller,
                  Json(order): Json<Order>| {
                let part = part.clone();
                async move {
                    caller.require(SCOPE)?;
                    let kind = order.kind.clone();
                    let command = part.command(SagaId::new(saga_id), step, order);
                    let answer = part.execute(&command, &kind).await;
                    crash_point!("saga.reply.before");
                    Ok::<_, Problem>(respond(answer))
                }
            },
        )
        .delete(
            TEMPLATE,
            move |Path((saga_id, step)): Path<(i64, String)>,
                  caller: Caller,
                  Json(order): Json<Order>| {
                let part = other.clone();
                async move {
                    caller.require(SCOPE)?;
                    let kind = order.kind.clone();
                    let command = part.command(SagaId::new(saga_id), step, order);
                    let answer = part.compensate(&command, &kind, false).await;
                    crash_point!("saga.reply.before");
                    Ok::<_, Problem>(respond(answer.map(|()| json!({ "undone": true }))))
                }
            },
        )
}

fn respond(answer: Result<Value, Unmet>) -> Response {
    let (mut response, what) = match answer {
        Ok(value) => return Json(json!({ "data": value })).into_response(),
        Err(Unmet::Down(problem)) => return problem.into_response(),
        Err(Unmet::Refused(problem)) => (problem.into_response(), REFUSED),
        Err(Unmet::Failed(problem)) if problem.is_caused() => (problem.into_response(), FAILED),
        Err(Unmet::Failed(problem)) => {
            // Too early is no error for the log; and without `Retry-After` the others that call
            // this service are not kept from it.
            let kind = [(CONTENT_TYPE, "application/problem+json")];
            let document = Value::Object(problem.document().clone()).to_string();
            ((problem.status(), kind, document).into_response(), FAILED)
        }
    };
    response.headers_mut().insert(STEP_HEADER, HeaderValue::from_static(what));
    response
}

/// The problem of a status with a document that came from elsewhere.
pub(super) fn problem_of(status: u16, document: &Value) -> Problem {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let detail = "No reason was given.";
    let members = document.as_object().into_iter().flatten();
    members.fold(Problem::plain(status, detail), |problem, (name, value)| {
        problem.with(name, value.clone())
    })
}

/// A refusal as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    status: u16,
    problem: Value,
}

/// What is known of a step.
enum Known {
    Done(Value),
    Refused(Refusal),
    Undone,
}

/// A participant with its database.
#[derive(Debug, Clone)]
pub(super) struct Part {
    database: Database,
    clock: Arc<dyn Clock>,
    participant: Arc<dyn Participant>,
}

impl Part {
    pub(super) fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        participant: Arc<dyn Participant>,
    ) -> Self {
        Self { database, clock, participant }
    }

    pub(super) fn command(&self, saga_id: SagaId, step: String, order: Order) -> Command {
        let Order { saga, data, .. } = order;
        Command { saga_id, saga, step, data, at: self.clock.now().floor_to_millis() }
    }

    /// Does a step unless it was done, refused or taken back before.
    pub(super) async fn execute(&self, command: &Command, kind: &str) -> Result<Value, Unmet> {
        let mut transaction = self.database.write().await?;
        match known(&mut transaction, command).await? {
            Some(Known::Done(answer)) => return Ok(answer),
            Some(Known::Refused(refusal)) => {
                return Err(Unmet::Refused(problem_of(refusal.status, &refusal.problem)));
            }
            Some(Known::Undone) => return Err(Unmet::Refused(too_late(command))),
            None => {}
        }
        crash_point!("saga.effect.before");
        match self.participant.execute(&mut transaction, command).await {
            Ok(answer) => {
                note(&mut transaction, command, "done", Some(&answer)).await?;
                transaction.commit().await?;
                crash_point!("saga.effect.after");
                Ok(answer)
            }
            Err(StepError::Failed(problem)) => Err(Unmet::Failed(problem)),
            // Behind the pivot no refusal is the last word: an operator may have it tried again.
            Err(StepError::Refused(problem)) if kind == "retried" => Err(Unmet::Refused(problem)),
            Err(StepError::Refused(problem)) => {
                // What it did before it refused is undone with its transaction.
                drop(transaction);
                self.refuse(command, problem).await
            }
        }
    }

    /// Keeps a refusal, so that the step is not done by another try.
    async fn refuse(&self, command: &Command, problem: Problem) -> Result<Value, Unmet> {
        let mut transaction = self.database.write().await?;
        match known(&mut transaction, command).await? {
            // Another try was in between.
            Some(Known::Done(answer)) => return Ok(answer),
            Some(Known::Refused(_) | Known::Undone) => return Err(Unmet::Refused(problem)),
            None => {}
        }
        let status = problem.status().as_u16();
        let refusal = json!({ "status": status, "problem": problem.document() });
        note(&mut transaction, command, REFUSED, Some(&refusal)).await?;
        transaction.commit().await?;
        Err(Unmet::Refused(problem))
    }

    /// Takes a step back, or sees to it that it is not done any more. One that has begun with the
    /// saga itself is taken back even when it was never asked for: what was written in the
    /// transaction that started the saga belongs to it.
    pub(super) async fn compensate(
        &self,
        command: &Command,
        kind: &str,
        has_begun: bool,
    ) -> Result<(), Unmet> {
        let mut transaction = self.database.write().await?;
        let known = known(&mut transaction, command).await?;
        if known.is_none() {
            note(&mut transaction, command, "undone", None).await?;
        }
        match known {
            Some(Known::Undone) => return Ok(()),
            Some(Known::Refused(_)) if !has_begun => return Ok(()),
            // There is nothing to take back.
            Some(Known::Done(_)) if kind == "plain" => return Ok(()),
            None if !has_begun => {}
            None | Some(Known::Done(_) | Known::Refused(_)) => {
                crash_point!("saga.compensate.before");
                match self.participant.compensate(&mut transaction, command).await {
                    Ok(()) => {}
                    Err(StepError::Failed(problem) | StepError::Refused(problem)) => {
                        return Err(Unmet::Failed(problem));
                    }
                }
                query(
                    "UPDATE saga_step SET state = 'undone', answer = NULL
                     WHERE saga_id = $1 AND saga = $2 AND step = $3",
                )
                .bind(command.saga_id.get())
                .bind(&command.saga)
                .bind(&command.step)
                .execute(&mut transaction)
                .await?;
            }
        }
        transaction.commit().await?;
        crash_point!("saga.compensate.after");
        Ok(())
    }
}

fn too_late(command: &Command) -> Problem {
    Problem::conflict(format!(
        "The saga {} was taken back before its step {} came.",
        command.saga_id, command.step
    ))
}

async fn known(
    transaction: &mut Transaction,
    command: &Command,
) -> Result<Option<Known>, DatabaseError> {
    let found =
        query("SELECT state, answer FROM saga_step WHERE saga_id = $1 AND saga = $2 AND step = $3")
            .bind(command.saga_id.get())
            .bind(&command.saga)
            .bind(&command.step)
            .fetch_optional::<(String, Option<String>)>(transaction)
            .await?;
    let Some((state, answer)) = found else {
        return Ok(None);
    };
    let corrupt = |error: serde_json::Error| {
        let step =
            format!("a step of the saga {} whose answer is not JSON: {error}", command.saga_id);
        DatabaseError::Corrupt(step)
    };
    let answer = answer.as_deref().unwrap_or("null");
    Ok(Some(match state.as_str() {
        "done" => Known::Done(serde_json::from_str(answer).map_err(corrupt)?),
        REFUSED => Known::Refused(serde_json::from_str(answer).map_err(corrupt)?),
        _ => Known::Undone,
    }))
}

/// Notes what became of a step that nothing was known of.
async fn note(
    transaction: &mut Transaction,
    command: &Command,
    state: &str,
    answer: Option<&Value>,
) -> Result<(), DatabaseError> {
    let answer = answer.map(Value::to_string);
    if answer.as_ref().is_some_and(|answer| answer.len() > ANSWER_BYTES_MAX && state == "done") {
        let step = &command.step;
        let what = format!("an answer of the step {step} with over {ANSWER_BYTES_MAX} bytes");
        return Err(DatabaseError::Corrupt(what));
    }
    query(
        "INSERT INTO saga_step (saga, saga_id, step, state, answer, at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&command.saga)
    .bind(command.saga_id.get())
    .bind(&command.step)
    .bind(state)
    .bind(answer)
    .bind(command.at)
    .execute(&mut *transaction)
    .await?;
    let kept = i64::try_from(STEP_KEPT.as_micros()).unwrap_or(i64::MAX);
    query(
        "DELETE FROM saga_step WHERE (saga_id, saga, step) IN (
             SELECT saga_id, saga, step FROM saga_step WHERE at < $1 ORDER BY at LIMIT $2)",
    )
    .bind(command.at.as_micros().saturating_sub(kept))
    .bind(FORGOTTEN_AT_ONCE_MAX)
    .execute(transaction)
    .await?;
    Ok(())
}
