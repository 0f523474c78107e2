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
    ) -> Result<(), StepError> {
        // Of a service whose steps all come after the pivot.
        let _ = transaction;
        Err(command.unknown())
    }

    /// The service whose part it is: its crate's name says so.
    #[cfg(feature = "crash-points")]
    fn service(&self) -> &'static str {
        let name = std::any::type_name::<Self>();
        let name = name.split("::").next().unwrap_or(name);
        name.strip_prefix("pillion_").unwrap_or(name)
    }
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
    /// The step is the first one, and of the service that conducts the saga: what was written in
    /// the transaction that started the saga belongs to it.
    #[serde(default)]
    pub(super) has_begun: bool,
    /// The name that the step had in earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) formerly: Option<String>,
    pub(super) data: Value,
}

/// Why a participant did not do what it was asked.
#[derive(Debug)]
enum Unmet {
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
    let part = Part { database, clock, participant };
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
                    let asked = part.asked(SagaId::new(saga_id), step, order);
                    let answer = part.execute(&asked).await;
                    crash_point!(
                        "saga.reply.before",
                        &asked.command.saga,
                        &part.full(&asked),
                        "PUT"
                    );
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
                    let asked = part.asked(SagaId::new(saga_id), step, order);
                    let answer = part.compensate(&asked).await;
                    crash_point!(
                        "saga.reply.before",
                        &asked.command.saga,
                        &part.full(&asked),
                        "DELETE"
                    );
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

/// What a participant is asked for.
struct Asked {
    command: Command,
    kind: String,
    has_begun: bool,
    formerly: Option<String>,
}

/// A participant with its database.
#[derive(Debug, Clone)]
struct Part {
    database: Database,
    clock: Arc<dyn Clock>,
    participant: Arc<dyn Participant>,
}

impl Part {
    fn asked(&self, saga_id: SagaId, step: String, order: Order) -> Asked {
        let Order { saga, kind, has_begun, formerly, data } = order;
        let at = self.clock.now().floor_to_millis();
        Asked { command: Command { saga_id, saga, step, data, at }, kind, has_begun, formerly }
    }

    /// The step with its service, for tests that tell it from others: `users.swap`.
    #[cfg(feature = "crash-points")]
    fn full(&self, asked: &Asked) -> String {
        format!("{}.{}", self.participant.service(), asked.command.step)
    }

    /// Refuses what a test has refused.
    #[cfg(feature = "crash-points")]
    fn unless_refused(&self, asked: &Asked) -> Result<(), StepError> {
        let Command { saga, data, .. } = &asked.command;
        if crate::crash::refusal(saga, &self.full(asked), data) {
            return Err(StepError::Refused(Problem::conflict("A test has this refused.")));
        }
        Ok(())
    }

    /// Does a step unless it was done, refused or taken back before.
    async fn execute(&self, asked: &Asked) -> Result<Value, Unmet> {
        let command = &asked.command;
        let mut transaction = self.database.write().await?;
        match known(&mut transaction, asked).await? {
            Some(Known::Done(answer)) => return Ok(answer),
            Some(Known::Refused(refusal)) => {
                return Err(Unmet::Refused(problem_of(refusal.status, &refusal.problem)));
            }
            Some(Known::Undone) => return Err(Unmet::Refused(too_late(command))),
            None => {}
        }
        crash_point!("saga.effect.before", &command.saga, &self.full(asked), "PUT");
        let done = self.participant.execute(&mut transaction, command).await;
        #[cfg(feature = "crash-points")]
        let done = done.and_then(|answer| self.unless_refused(asked).map(|()| answer));
        match done {
            Ok(answer) => {
                note(&mut transaction, command, "done", Some(&answer)).await?;
                transaction.commit().await?;
                crash_point!("saga.effect.after", &command.saga, &self.full(asked), "PUT");
                Ok(answer)
            }
            Err(StepError::Failed(problem)) => Err(Unmet::Failed(problem)),
            // Behind the pivot no refusal is the last word: an operator may have it tried again.
            Err(StepError::Refused(problem)) if asked.kind == "retried" => {
                Err(Unmet::Refused(problem))
            }
            Err(StepError::Refused(problem)) => {
                // What it did before it refused is undone with its transaction.
                drop(transaction);
                self.refuse(asked, problem).await
            }
        }
    }

    /// Keeps a refusal, so that the step is not done by another try.
    async fn refuse(&self, asked: &Asked, problem: Problem) -> Result<Value, Unmet> {
        let mut transaction = self.database.write().await?;
        match known(&mut transaction, asked).await? {
            // Another try was in between.
            Some(Known::Done(answer)) => return Ok(answer),
            Some(Known::Refused(_) | Known::Undone) => return Err(Unmet::Refused(problem)),
            None => {}
        }
        let status = problem.status().as_u16();
        let refusal = json!({ "status": status, "problem": problem.document() });
        note(&mut transaction, &asked.command, REFUSED, Some(&refusal)).await?;
        transaction.commit().await?;
        Err(Unmet::Refused(problem))
    }

    /// Takes a step back, or sees to it that it is not done any more. One that has begun with the
    /// saga itself is taken back even when it was never asked for.
    async fn compensate(&self, asked: &Asked) -> Result<(), Unmet> {
        let command = &asked.command;
        let mut transaction = self.database.write().await?;
        let known = known(&mut transaction, asked).await?;
        let is_done = match &known {
            Some(Known::Undone) => return Ok(()),
            // There is nothing to take back.
            Some(Known::Done(_)) if asked.kind == "plain" => return Ok(()),
            Some(Known::Done(_)) => true,
            Some(Known::Refused(_)) | None => false,
        };
        if is_done || asked.has_begun {
            crash_point!("saga.compensate.before", &command.saga, &self.full(asked), "DELETE");
            match self.participant.compensate(&mut transaction, command).await {
                Ok(()) => {}
                Err(StepError::Failed(problem) | StepError::Refused(problem)) => {
                    return Err(Unmet::Failed(problem));
                }
            }
        }
        if known.is_none() {
            note(&mut transaction, command, "undone", None).await?;
        } else {
            // Why it was refused is forgotten, too: it may repeat what somebody wrote.
            query(
                "UPDATE saga_step SET state = 'undone', answer = NULL
                 WHERE saga_id = $1 AND saga = $2 AND step IN ($3, $4)",
            )
            .bind(command.saga_id.get())
            .bind(&command.saga)
            .bind(&command.step)
            .bind(asked.formerly())
            .execute(&mut transaction)
            .await?;
        }
        transaction.commit().await?;
        crash_point!("saga.compensate.after", &command.saga, &self.full(asked), "DELETE");
        Ok(())
    }
}

impl Asked {
    /// The step's other name, if it has one.
    fn formerly(&self) -> &str {
        self.formerly.as_deref().unwrap_or(&self.command.step)
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
    asked: &Asked,
) -> Result<Option<Known>, DatabaseError> {
    let command = &asked.command;
    let found = query(
        "SELECT state, answer FROM saga_step
         WHERE saga_id = $1 AND saga = $2 AND step IN ($3, $4)",
    )
    .bind(command.saga_id.get())
    .bind(&command.saga)
    .bind(&command.step)
    .bind(asked.formerly())
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
