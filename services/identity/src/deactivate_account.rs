//! `DELETE /pillion/v1/accounts/me`: deactivates the caller's account, which is gone for good when
//! nobody logs in to it for some weeks.
//!
//! The account is closed and its sessions revoked together with the beginning of the saga, which
//! hides everything else and erases it when the time has come.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::saga::{Outcome, Reason, SagaError, SagaId};
use pillion_chassis::{Json, Problem, Timestamp, Transaction, UserCaller, UserId};
use serde::Deserialize;
use serde_json::json;

use crate::password::Lane;
use crate::sagas::DEACTIVATE_ACCOUNT;
use crate::secret::Secret;
use crate::state::{Identity, need_account_scope};
use crate::store::accounts;

/// What a client waits for at most until everything is hidden; then it is told that this goes on.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(4);
/// What is just being brought back is there within seconds.
const RETRY_AFTER_S: u32 = 2;

/// The body: who has only a token shall not be able to destroy the account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    password: Secret,
}

pub(crate) async fn deactivate_account(
    State(identity): State<Arc<Identity>>,
    caller: UserCaller,
    Json(Confirmation { password }): Json<Confirmation>,
) -> Result<Response, Problem> {
    need_account_scope(&caller.scopes)?;
    let user_id = caller.user_id;
    let gone = || Problem::account_gone(user_id);
    let account = identity.store.active_account(user_id).await?.ok_or_else(gone)?;
    // Who has only the token cannot guess the password here either.
    let attempt = identity.throttle.attempt(&account.username, None);
    identity.throttle.check(attempt, identity.clock.now())?;
    let hash = Some(account.password_hash);
    if !identity.passwords.verify(password, hash, Lane::LogIn).await? {
        identity.throttle.failed(attempt, identity.clock.now());
        return Err(Problem::forbidden(
            "`password` is not the password of this account; nothing was changed.",
        ));
    }
    let now = identity.clock.now();
    let purge_at = identity.purge_at(now);
    let mut transaction = identity.store.write().await?;
    if !accounts::deactivate(&mut transaction, user_id, now).await? {
        return Err(gone());
    }
    let saga = match identity.begin_deactivation(&mut transaction, user_id, purge_at).await {
        Err(SagaError::Running(_)) => {
            return Err(Problem::unavailable(
                "The account is just being brought back; try again in a moment.",
                RETRY_AFTER_S,
            ));
        }
        started => started?,
    };
    transaction.commit().await?;
    identity.revoked.notify_waiters();
    let status = match identity.sagas.until_waiting(saga, ANSWER_TIME_MAX).await? {
        Some(Outcome::Compensated(reason)) => return Err(taken_back(reason)),
        // Accepted: the account is closed, and the rest of it is hidden as soon as it can be.
        Some(Outcome::Unfinished) => StatusCode::ACCEPTED,
        None | Some(Outcome::Pivoted | Outcome::Completed) => StatusCode::OK,
    };
    let data = json!({ "deactivated": true, "purge_at": purge_at });
    Ok((status, Json(json!({ "data": data }))).into_response())
}

/// Why the account is open again: a service refused its part, or somebody logged in meanwhile.
fn taken_back(reason: Reason) -> Problem {
    if reason.status == StatusCode::REQUEST_TIMEOUT.as_u16() {
        tracing::warn!(step = reason.step, "a deactivation was taken back: it took too long");
        return Problem::unavailable(
            "Not everything could be hidden in time; the account is as it was. Try again.",
            RETRY_AFTER_S,
        );
    }
    reason.into()
}

impl Identity {
    /// When an account that is deactivated now is gone for good.
    fn purge_at(&self, now: Timestamp) -> Timestamp {
        let grace = i64::try_from(self.deactivation_grace.as_micros()).unwrap_or(i64::MAX);
        let purge_at = Timestamp::from_micros(now.as_micros().saturating_add(grace));
        purge_at.floor_to_millis()
    }

    /// Begins the saga that hides an account, which is closed already, and erases it at `purge_at`.
    pub(crate) async fn begin_deactivation(
        &self,
        transaction: &mut Transaction,
        user_id: UserId,
        purge_at: Timestamp,
    ) -> Result<SagaId, SagaError> {
        let data = json!({ "user_id": user_id, "purge_at": purge_at.as_micros() });
        let key = user_id.to_string();
        self.sagas.start(transaction, &DEACTIVATE_ACCOUNT, &key, data).await
    }
}
