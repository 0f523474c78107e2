//! `POST /pillion/v1/login`: tokens for a handle and a password, for our own clients.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use pillion_chassis::{ClientAddress, Json, Problem};
use serde::Deserialize;

use crate::grant::Tokens;
use crate::scope::{USER_SCOPES, narrow};
use crate::secret::Secret;
use crate::state::Identity;

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
    client: ClientAddress,
    Json(Login { username, password, scope }): Json<Login>,
) -> Result<Tokens, Problem> {
    let scopes = narrow(scope.as_deref(), &USER_SCOPES).map_err(|why| {
        Problem::invalid("scope", scope.as_deref(), format!("`scope` is not valid: {why}"))
    })?;
    let Some(user_id) = identity.who_is(Some(&username), password, client).await? else {
        return Err(Problem::plain(
            StatusCode::UNAUTHORIZED,
            "The username or the password is wrong.",
        ));
    };
    identity.begin_session(user_id, &identity.first_party_client_id, scopes).await
}
