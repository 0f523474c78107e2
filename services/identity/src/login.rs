//! `POST /pillion/v1/login`: tokens for a handle and a password, for our own clients.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use pillion_chassis::{Json, Problem};
use serde::Deserialize;

use crate::grant::Tokens;
use crate::scope::{USER_SCOPES, narrow};
use crate::secret::Secret;
use crate::state::Identity;
use crate::store::AccountState;

/// A registration that is under way ends within seconds.
const PENDING_RETRY_AFTER_S: u32 = 5;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    username: String,
    password: Secret,
    /// Separated by spaces; everything if absent.
    scope: Option<String>,
}

pub(crate) async fn login(
    State(identity): State<Arc<Identity>>,
    Json(Login { username, password, scope }): Json<Login>,
) -> Result<Tokens, Problem> {
    let scopes = narrow(scope.as_deref(), &USER_SCOPES).map_err(|why| {
        Problem::invalid("scope", scope.as_deref(), format!("`scope` is not valid: {why}"))
    })?;
    let account = identity.store.account_by_username(&username).await?;
    let account = account.filter(|account| account.state != AccountState::Deleting);
    // Checked even without an account: the time taken must not tell which handles have one.
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let right = identity.passwords.verify(password, hash).await?;
    let Some(account) = account.filter(|_| right) else {
        return Err(Problem::plain(
            StatusCode::UNAUTHORIZED,
            "The username or the password is wrong.",
        ));
    };
    if account.state == AccountState::Pending {
        return Err(Problem::unavailable(
            "The registration of this account is not complete yet; try again.",
            PENDING_RETRY_AFTER_S,
        ));
    }
    identity.begin_session(account.id, &identity.first_party_client_id, scopes).await
}
