//! `POST /2/oauth2/revoke`: revokes an access token, or the session of a refresh token (RFC 7009).

use std::sync::Arc;

use axum::extract::State;
use pillion_chassis::{Json, Timestamp, UserId};
use serde_json::{Value, json};

use crate::client::TokenRequest;
use crate::error::OAuthError;
use crate::signer::{Presented, after};
use crate::state::Identity;
use crate::store::revocations::{Owner, revoke_one};
use crate::token_status::STREAM_TOKEN_TTL;

/// How long after its expiry a verifier with a slow clock may accept a token.
const LEEWAY_MAX: std::time::Duration = std::time::Duration::from_mins(10);

pub(crate) async fn revoke(
    State(identity): State<Arc<Identity>>,
    request: TokenRequest,
) -> Result<Json<Value>, OAuthError> {
    const FOREIGN: OAuthError = OAuthError::InvalidGrant("the token belongs to another client");
    let client = identity.authenticate(&request).await?;
    let token = request.required("token")?;
    // Refresh tokens are base64url, without dots; access tokens are JWTs, which have two. The
    // parameter token_type_hint could only say the same.
    if token.reveal().contains('.') {
        if let Some(presented) = identity.signer.presented(token.reveal()) {
            if presented.client_id != identity.client_id(&client) {
                return Err(FOREIGN);
            }
            identity.revoke_access_token(&presented).await?;
        }
    } else if let Some(session) = identity.store.session_of(&token.hash()).await? {
        if session.client_id != identity.client_id(&client) {
            return Err(FOREIGN);
        }
        identity.store.revoke_session(&session, identity.clock.now()).await?;
    }
    identity.revoked.notify_waiters();
    // An unknown token is as good as revoked.
    Ok(Json(json!({ "revoked": true })))
}

impl Identity {
    async fn revoke_access_token(&self, token: &Presented) -> Result<(), OAuthError> {
        let now = self.clock.now();
        let expires_at = Timestamp::from_micros(
            i64::try_from(token.exp.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
        );
        // A stream that was opened with it may go on with another one after it has expired.
        let until = after(expires_at.max(after(now, STREAM_TOKEN_TTL)), LEEWAY_MAX);
        let owner = match token.sub.parse::<UserId>() {
            Ok(user_id) => Owner::User(user_id),
            Err(_) => Owner::App(&token.client_id),
        };
        let mut transaction = self.store.write().await?;
        revoke_one(&mut transaction, &token.jti, owner, until, now).await?;
        Ok(transaction.commit().await?)
    }
}
