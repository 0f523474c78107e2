//! `POST /2/oauth2/revoke`: ends the session of a refresh token (RFC 7009).

use std::sync::Arc;

use axum::extract::State;
use pillion_chassis::Json;
use serde_json::{Value, json};

use crate::client::TokenRequest;
use crate::error::OAuthError;
use crate::state::Identity;

pub(crate) async fn revoke(
    State(identity): State<Arc<Identity>>,
    request: TokenRequest,
) -> Result<Json<Value>, OAuthError> {
    let client = identity.authenticate(&request).await?;
    let token = request.required("token")?;
    // Ours are base64url, without dots; a JWT has two.
    if token.reveal().contains('.') {
        return Err(OAuthError::UnsupportedTokenType);
    }
    if let Some(session) = identity.store.session_of(&token.hash()).await? {
        if session.client_id != identity.client_id(&client) {
            return Err(OAuthError::InvalidGrant("the token belongs to another client"));
        }
        identity.store.revoke_session(session.id, identity.clock.now()).await?;
    }
    // An unknown token is as good as revoked.
    Ok(Json(json!({ "revoked": true })))
}
