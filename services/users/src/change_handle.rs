//! An owner changes the account's handle.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use pillion_chassis::database::Transaction;
use pillion_chassis::journal::Journal;
use pillion_chassis::saga::{Outcome, Reason, SagaError, StepError};
use pillion_chassis::{Answer, Json, Problem, Timestamp, UserCaller, UserId};
use pillion_events::{UserEvent, UserRenamed};
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::error::Error;
use crate::profile::{Checks, Profile, Username, UsernameError};
use crate::registration::{is_taken, release as release_handle, reserve as reserve_handle};
use crate::sagas::CHANGE_HANDLE;
use crate::store::{Row, by_id, record};
use crate::user_body::UserBody;

/// What a client waits for at most; then it is told that the change goes on.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(4);
/// A change that is under way ends within seconds.
const RETRY_AFTER_S: u32 = 2;

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    username: String,
}

/// What the saga knows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    user_id: UserId,
    username: Username,
    previous_username: Username,
}

/// `POST /pillion/v1/account/username`: the whole profile as it is now.
pub(crate) async fn change_handle(
    State(users): State<Users>,
    caller: UserCaller,
    Json(Body { username: sent }): Json<Body>,
) -> Result<Answer<UserBody>, Error> {
    crate::need_account_scope(&caller.scopes)?;
    let user_id = caller.user_id;
    let username: Username = sent.parse().map_err(|error: UsernameError| {
        let mut checks = Checks::default();
        checks.refuse("username", &sent, &error.to_string());
        Problem::invalid_parameters(checks.errors)
    })?;

    let mut transaction = users.store.write().await?;
    let row = by_id(&mut transaction, user_id).await?.filter(Row::is_live);
    let before = Profile::try_from(row.ok_or(Error::Gone(user_id))?)?;
    if before.username.as_str() == username.as_str() {
        return Ok(Answer::found(UserBody::whole(before)));
    }
    if is_taken(&mut transaction, user_id, &username).await? {
        return Err(Error::UsernameTaken(username));
    }
    let change = Change { user_id, username, previous_username: before.username };
    let data = serde_json::to_value(&change).map_err(|error| Problem::internal(&error))?;
    let key = user_id.to_string();
    let saga = match users.sagas.start(&mut transaction, &CHANGE_HANDLE, &key, data).await {
        Err(SagaError::Running(_)) => return Err(Error::HandleIsChanging),
        started => started.map_err(Problem::from)?,
    };
    transaction.commit().await?;

    let outcome = users.sagas.outcome_at_pivot(saga, ANSWER_TIME_MAX).await;
    match outcome.map_err(Problem::from)? {
        Outcome::Pivoted | Outcome::Completed => {
            let profile = users.store.by_ids(&[user_id]).await?.into_iter().next();
            Ok(Answer::found(UserBody::whole(profile.ok_or(Error::Gone(user_id))?)))
        }
        Outcome::Compensated(reason) => Err(refused(reason).into()),
        Outcome::Unfinished => Err(Problem::unavailable(
            "The change of the username has begun but is not done yet; it goes on by itself. Send \
             the same request again to learn when it is done.",
            RETRY_AFTER_S,
        )
        .into()),
    }
}

/// Why the handle is as it was: as the service said that refused its part.
fn refused(reason: Reason) -> Problem {
    if reason.status == StatusCode::REQUEST_TIMEOUT.as_u16() {
        return Problem::unavailable(
            "The username could not be changed in time; it is as it was. Try again.",
            RETRY_AFTER_S,
        );
    }
    reason.into()
}

/// Reserves the new handle.
pub(crate) async fn reserve(
    transaction: &mut Transaction,
    change: &Change,
) -> Result<(), StepError> {
    let Change { user_id, username, .. } = change;
    if !by_id(transaction, *user_id).await?.is_some_and(|row| row.is_live()) {
        return Err(StepError::Refused(Error::Gone(*user_id).into()));
    }
    reserve_handle(transaction, *user_id, username).await
}

/// Makes the new handle free again.
pub(crate) async fn release(
    transaction: &mut Transaction,
    change: &Change,
) -> Result<(), StepError> {
    let Change { user_id, username, .. } = change;
    Ok(release_handle(transaction, *user_id, username.as_str()).await?)
}

/// Gives the account the new handle, and makes the old one free.
pub(crate) async fn swap(
    journal: &Journal,
    transaction: &mut Transaction,
    change: Change,
    at: Timestamp,
) -> Result<(), StepError> {
    let Change { user_id, username, .. } = change;
    let Some(row @ Row { deleted_at: None, .. }) = by_id(transaction, user_id).await? else {
        return Err(StepError::Refused(Error::Gone(user_id).into()));
    };
    release_handle(transaction, user_id, username.as_str()).await?;
    let event = UserEvent::Renamed(UserRenamed {
        user_id,
        username: username.to_string(),
        previous_username: row.username,
        at,
    });
    record(journal, transaction, user_id, &event, at).await?;
    Ok(())
}
