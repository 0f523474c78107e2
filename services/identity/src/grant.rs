//! Gives out tokens: begins sessions, and answers in the shape of RFC 6749, 5.1.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use pillion_chassis::{Json, Problem, Scopes, Timestamp, UserId};
use serde::Serialize;

use crate::scope::OFFLINE;
use crate::secret::Secret;
use crate::signer::ACCESS_TOKEN_TTL;
use crate::state::Identity;
use crate::store::{RefreshToken, Session};

/// How long a refresh token works; each use gives a new one.
const REFRESH_TOKEN_TTL: Duration = Duration::from_hours(30 * 24);

/// Tokens on their way to the client.
#[derive(Debug, Serialize)]
pub(crate) struct Tokens {
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    access_token: String,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

impl IntoResponse for Tokens {
    fn into_response(self) -> Response {
        let mut response = Json(self).into_response();
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl Identity {
    /// An access token, with `refresh_token` beside it.
    pub(crate) fn tokens(
        &self,
        subject: &str,
        client_id: &str,
        scopes: &Scopes,
        refresh_token: Option<&Secret>,
    ) -> Tokens {
        Tokens {
            token_type: "bearer",
            expires_in: ACCESS_TOKEN_TTL.as_secs(),
            access_token: self.signer.sign(subject, client_id, scopes, ACCESS_TOKEN_TTL),
            scope: scopes.to_string(),
            refresh_token: refresh_token.map(|token| token.reveal().to_owned()),
        }
    }

    /// Tokens for a user who has just shown who they are; a session only if they can be renewed.
    pub(crate) async fn begin_session(
        &self,
        account_id: UserId,
        client_id: &str,
        scopes: Scopes,
    ) -> Result<Tokens, Problem> {
        let subject = account_id.to_string();
        if !scopes.has(OFFLINE) {
            return Ok(self.tokens(&subject, client_id, &scopes, None));
        }
        let (secret, token) = self.next_refresh_token()?;
        let id = self.ids.next()?;
        let session = Session { id, account_id, client_id: client_id.to_owned(), scopes };
        self.store.begin_session(&session, &token, self.clock.now()).await?;
        Ok(self.tokens(&subject, client_id, &session.scopes, Some(&secret)))
    }

    /// A new refresh token: what the client gets, and what is stored.
    pub(crate) fn next_refresh_token(&self) -> Result<(Secret, RefreshToken), Problem> {
        let secret = Secret::generate(&*self.random).map_err(|error| Problem::internal(&error))?;
        let ttl = i64::try_from(REFRESH_TOKEN_TTL.as_micros()).unwrap_or(i64::MAX);
        let expires_at = self.clock.now().as_micros().saturating_add(ttl);
        let token =
            RefreshToken { hash: secret.hash(), expires_at: Timestamp::from_micros(expires_at) };
        Ok((secret, token))
    }
}
