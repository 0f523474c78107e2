//! `DELETE /pillion/v1/accounts/me`: deletes the caller's account, for good.
//!
//! The account is marked and its sessions revoked in one transaction; from then on nobody can log
//! in. Then the profile is deleted, then the account forgotten. The worker takes on what stops in
//! between.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::{Json, Onward, Problem, UserCaller};
use serde::Deserialize;
use serde_json::json;

use crate::secret::Secret;
use crate::state::{Identity, need_account_scope};

/// The body: who has only a token shall not be able to destroy the account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    password: Secret,
}

pub(crate) async fn delete_account(
    State(identity): State<Arc<Identity>>,
    caller: UserCaller,
    onward: Onward,
    Json(Confirmation { password }): Json<Confirmation>,
) -> Result<Response, Problem> {
    need_account_scope(&caller.scopes)?;
    let Some(account) = identity.store.account(caller.user_id).await? else {
        return Err(Problem::account_gone(caller.user_id));
    };
    if !identity.passwords.verify(password, Some(account.password_hash)).await? {
        return Err(Problem::forbidden(
            "`password` is not the password of this account; nothing was deleted.",
        ));
    }
    identity.store.begin_deletion(account.id, identity.clock.now()).await?;
    let (status, deleted) = match identity.complete_deletion(account.id, &onward).await {
        Ok(()) => (StatusCode::OK, true),
        Err(problem) => {
            let detail = problem.document().get("detail").and_then(|detail| detail.as_str());
            tracing::warn!(account = %account.id, detail, "a deletion goes on later");
            // Accepted: the account is closed, and the worker does the rest.
            (StatusCode::ACCEPTED, false)
        }
    };
    Ok((status, Json(json!({ "data": { "deleted": deleted } }))).into_response())
}
