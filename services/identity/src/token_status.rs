//! `POST /internal/token-status`: whether a token that opened a stream is still good, for services.
//!
//! A stream may outlast its token: as long as the token is not revoked, the service that serves the
//! stream gets another one for the same client, user and scopes, revoked by the same ids.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use pillion_chassis::service_token::SCOPE;
use pillion_chassis::{Caller, Json, Problem, Scopes};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::signer::Claims;
use crate::state::Identity;

/// How long a token works that takes the place of one in a stream.
pub(crate) const STREAM_TOKEN_TTL: Duration = Duration::from_mins(15);
/// A token that works for less than this gets a successor.
const RENEWED_BEFORE: Duration = Duration::from_mins(5);

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    token: Secret,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Status {
    /// Whether the token is not revoked.
    active: bool,
    /// A token to go on with, when the one that was presented is about to expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

pub(crate) async fn token_status(
    State(identity): State<Arc<Identity>>,
    caller: Caller,
    Json(Asked { token }): Json<Asked>,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let mut status = Status { active: true, token: None };
    // One of a partner's is not ours to revoke or to renew; it ends when it expires.
    if let Some(token) = identity.signer.presented(token.reveal()) {
        let mut ids = token.rev.clone();
        ids.push(token.jti.clone());
        status.active = !identity.store.is_revoked(&ids).await?;
        let now = identity.clock.now();
        if status.active && token.exp < now.as_secs() + RENEWED_BEFORE.as_secs() {
            let scopes = Scopes::parse(&token.scope);
            let claims = Claims {
                revoked_by: token.rev,
                fixed: Some((now, token.jti)),
                ..Claims::new(&token.sub, &token.client_id, &scopes, STREAM_TOKEN_TTL)
            };
            status.token = Some(identity.signer.sign(&claims));
        }
    }
    let mut response = Json(status).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
