//! Gives out tokens: begins sessions, and answers in the shape of RFC 6749, 5.1.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use pillion_chassis::{DatabaseError, Json, Problem, Scopes, Timestamp, UserId};
use serde::Serialize;

use crate::scope::OFFLINE;
use crate::secret::Secret;
use crate::signer::{Claims, after};
use crate::state::Identity;
use crate::store::revocations::{epoch_id, generation_id, session_id};
use crate::store::sessions::Moment;
use crate::store::{App, RefreshToken, Session};

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

/// What an access token for a user is made of.
#[derive(Debug)]
pub(crate) struct UserGrant<'a> {
    pub(crate) user_id: UserId,
    pub(crate) client_id: &'a str,
    pub(crate) scopes: &'a Scopes,
    /// With which it ends, if it belongs to one.
    pub(crate) session: Option<u64>,
    /// Comes with it.
    pub(crate) refresh_token: Option<&'a Secret>,
    /// When it was issued and its id, where the same one is given out again.
    pub(crate) fixed: Option<(Timestamp, String)>,
}

impl Identity {
    /// An access token for a user.
    pub(crate) async fn user_tokens(&self, grant: UserGrant<'_>) -> Result<Tokens, DatabaseError> {
        let UserGrant { user_id, client_id, scopes, session, refresh_token, fixed } = grant;
        // A log-out between this and the signature revokes this epoch, and the token with it.
        let epoch = self.store.token_epoch(user_id).await?;
        let mut revoked_by = vec![epoch_id(user_id, epoch)];
        revoked_by.extend(session.map(session_id));
        // Our own clients are not removed.
        revoked_by.extend((client_id != self.first_party_client_id).then(|| client_id.to_owned()));
        let subject = user_id.to_string();
        let ttl = self.user_token_ttl;
        let claims = Claims { revoked_by, fixed, ..Claims::new(&subject, client_id, scopes, ttl) };
        Ok(self.tokens(&claims, refresh_token))
    }

    /// An access token for an app itself.
    pub(crate) fn app_tokens(&self, app: &App, scopes: &Scopes) -> Tokens {
        let id = &app.client_id;
        let claims = Claims {
            revoked_by: vec![id.clone(), generation_id(id, app.token_generation)],
            ..Claims::new(id, id, scopes, self.app_token_ttl)
        };
        self.tokens(&claims, None)
    }

    fn tokens(&self, claims: &Claims<'_>, refresh_token: Option<&Secret>) -> Tokens {
        Tokens {
            token_type: "bearer",
            expires_in: claims.ttl.as_secs(),
            access_token: self.signer.sign(claims),
            scope: claims.scopes.to_string(),
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
        let mut grant = UserGrant {
            user_id: account_id,
            client_id,
            scopes: &scopes,
            session: None,
            refresh_token: None,
            fixed: None,
        };
        if !scopes.has(OFFLINE) {
            return Ok(self.user_tokens(grant).await?);
        }
        let secret = Secret::generate(&*self.random).map_err(|error| Problem::internal(&error))?;
        let token = self.refresh_token(&secret);
        let id = self.ids.next()?;
        let session =
            Session { id, account_id, client_id: client_id.to_owned(), scopes: scopes.clone() };
        self.store.begin_session(&session, &token, self.moment()).await?;
        (grant.session, grant.refresh_token) = (Some(id), Some(&secret));
        Ok(self.user_tokens(grant).await?)
    }

    /// What is stored of a refresh token that is given out now.
    pub(crate) fn refresh_token(&self, secret: &Secret) -> RefreshToken {
        let expires_at = after(self.clock.now(), self.refresh_token_ttl);
        RefreshToken { hash: secret.hash(), expires_at }
    }

    /// Now, and what follows from it for sessions.
    pub(crate) fn moment(&self) -> Moment {
        let now = self.clock.now();
        let grace = micros(self.refresh_grace);
        Moment {
            now,
            access_until: after(now, self.user_token_ttl),
            grace_since: Timestamp::from_micros(now.as_micros().saturating_sub(grace)),
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
