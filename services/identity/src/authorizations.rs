//! What a user allowed apps, and how they take it back: as JSON for our own clients.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use pillion_chassis::{Json, Path, Problem, UserCaller};
use serde_json::json;

use crate::state::{Identity, need_account_scope};

/// `GET /pillion/v1/authorizations`: the apps that may act for the caller.
pub(crate) async fn list(
    State(identity): State<Arc<Identity>>,
    caller: UserCaller,
) -> Result<Response, Problem> {
    need_account_scope(&caller.scopes)?;
    let now = identity.clock.now();
    let all = identity.store.authorizations(caller.user_id, now).await?;
    let data: Vec<_> = all
        .iter()
        .map(|it| {
            json!({
                "client_id": it.client_id,
                "name": it.name,
                "owner_username": it.owner,
                "scope": it.scopes.to_string(),
                "created_at": it.since,
            })
        })
        .collect();
    Ok(Json(json!({ "data": data, "meta": { "result_count": data.len() } })).into_response())
}

/// `DELETE /pillion/v1/authorizations/{client_id}`: takes back what the caller allowed an app.
pub(crate) async fn revoke(
    State(identity): State<Arc<Identity>>,
    caller: UserCaller,
    Path(client_id): Path<String>,
) -> Result<Response, Problem> {
    need_account_scope(&caller.scopes)?;
    let now = identity.clock.now();
    identity.store.revoke_authorization(caller.user_id, &client_id, now).await?;
    identity.revoked.notify_waiters();
    // What was not allowed is as good as revoked: the call can be repeated.
    Ok(Json(json!({ "data": { "revoked": true } })).into_response())
}

/// `DELETE /pillion/v1/sessions`: logs the caller out everywhere, here too.
pub(crate) async fn log_out_everywhere(
    State(identity): State<Arc<Identity>>,
    caller: UserCaller,
) -> Result<Response, Problem> {
    need_account_scope(&caller.scopes)?;
    identity.store.log_out_everywhere(caller.user_id, identity.clock.now()).await?;
    identity.revoked.notify_waiters();
    Ok(Json(json!({ "data": { "revoked": true } })).into_response())
}
