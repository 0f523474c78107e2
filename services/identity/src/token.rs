//! `POST /2/oauth2/token` and `POST /oauth2/token`: tokens for clients (RFC 6749).

use std::sync::Arc;

use axum::extract::State;

use crate::client::{Client, TokenRequest};
use crate::error::OAuthError;
use crate::grant::{Tokens, UserGrant};
use crate::scope::{APP_SCOPES, OFFLINE, narrow};
use crate::secret::Secret;
use crate::state::Identity;
use crate::store::{Exchange, Session};

/// `POST /2/oauth2/token`.
pub(crate) async fn token(
    State(identity): State<Arc<Identity>>,
    request: TokenRequest,
) -> Result<Tokens, OAuthError> {
    match request.required("grant_type")?.reveal() {
        "authorization_code" => authorization_code(&identity, &request).await,
        "refresh_token" => refresh(&identity, &request).await,
        "client_credentials" => client_credentials(&identity, &request).await,
        other => Err(OAuthError::UnsupportedGrantType(other.to_owned())),
    }
}

/// `POST /oauth2/token`, the older route, which only knows apps' own tokens.
pub(crate) async fn app_token(
    State(identity): State<Arc<Identity>>,
    request: TokenRequest,
) -> Result<Tokens, OAuthError> {
    match request.required("grant_type")?.reveal() {
        "client_credentials" => client_credentials(&identity, &request).await,
        other => Err(OAuthError::UnsupportedGrantType(other.to_owned())),
    }
}

async fn client_credentials(
    identity: &Identity,
    request: &TokenRequest,
) -> Result<Tokens, OAuthError> {
    let Client::App(app) = identity.authenticate(request).await? else {
        return Err(OAuthError::InvalidClient(
            "a token of an app's own needs its client_id and client_secret",
        ));
    };
    if app.secret_hash.is_none() {
        return Err(OAuthError::UnauthorizedClient(
            "an app that keeps no secret has no tokens of its own",
        ));
    }
    let scope = request.optional("scope").map(Secret::reveal);
    let scopes = narrow(scope, &APP_SCOPES).map_err(OAuthError::InvalidScope)?;
    Ok(identity.app_tokens(&app, &scopes))
}

async fn authorization_code(
    identity: &Identity,
    request: &TokenRequest,
) -> Result<Tokens, OAuthError> {
    const INVALID: OAuthError =
        OAuthError::InvalidGrant("the code is unknown or expired; ask the user again");
    let Client::App(app) = identity.authenticate(request).await? else {
        return Err(OAuthError::InvalidClient(
            "the parameter client_id is missing; it is the app that asked for the code",
        ));
    };
    let presented = request.required("code")?.hash();
    let code = identity.store.code(&presented).await?.ok_or(INVALID)?;
    if code.client_id != app.client_id {
        return Err(OAuthError::InvalidGrant("the code belongs to another client"));
    }
    let redirect_uri = request.optional("redirect_uri").map(Secret::reveal);
    if redirect_uri.is_some_and(|uri| uri != code.redirect_uri) {
        return Err(OAuthError::InvalidGrant("the redirect_uri is not the one of the request"));
    }
    let verifier = request.required("code_verifier")?;
    if !is_verifier(verifier.reveal()) {
        return Err(OAuthError::InvalidRequest(VERIFIER.to_owned()));
    }
    if verifier.challenge() != code.challenge {
        return Err(OAuthError::InvalidGrant(
            "the code_verifier does not fit the code_challenge of the request",
        ));
    }
    let session = Session {
        id: identity.ids.next()?,
        account_id: code.account_id,
        client_id: app.client_id,
        scopes: code.scopes,
    };
    let secret =
        if session.scopes.has(OFFLINE) { Some(Secret::generate(&*identity.random)?) } else { None };
    let stored = secret.as_ref().map(|secret| identity.refresh_token(secret));
    let moment = identity.moment();
    let exchanged = identity.store.exchange_code(&presented, &session, stored.as_ref(), moment);
    match exchanged.await? {
        Exchange::Done(_) => {
            let grant = UserGrant {
                user_id: session.account_id,
                client_id: &session.client_id,
                scopes: &session.scopes,
                session: Some(session.id),
                refresh_token: secret.as_ref(),
                fixed: None,
            };
            Ok(identity.user_tokens(grant).await?)
        }
        Exchange::Reused => {
            identity.revoked.notify_waiters();
            tracing::warn!(client = session.client_id, account = %session.account_id,
                "an authorization code was used twice; its session is revoked");
            Err(OAuthError::InvalidGrant(
                "the code was used before; the session it became is revoked, ask the user again",
            ))
        }
        Exchange::Invalid => Err(INVALID),
    }
}

async fn refresh(identity: &Identity, request: &TokenRequest) -> Result<Tokens, OAuthError> {
    const INVALID: OAuthError =
        OAuthError::InvalidGrant("the refresh token is unknown, expired or revoked; log in again");
    let client = identity.authenticate(request).await?;
    let presented = request.required("refresh_token")?.hash();
    let session = identity.store.session_of(&presented).await?.ok_or(INVALID)?;
    if session.client_id != identity.client_id(&client) {
        return Err(OAuthError::InvalidGrant("the refresh token belongs to another client"));
    }
    // A narrower scope holds for this access token only (RFC 6749, section 6).
    let allowed: Vec<&str> = session.scopes.iter().collect();
    let scope = request.optional("scope").map(Secret::reveal);
    let scopes = narrow(scope, &allowed).map_err(OAuthError::InvalidScope)?;

    // Both follow from the token that was presented, so that the same one within the grace, from a
    // second tab or after a lost answer, gets the same pair, in whichever process.
    let token = request.required("refresh_token")?.reveal();
    let secret = Secret::of_bytes(&identity.vault.successor("refresh-token", token));
    let next = identity.refresh_token(&secret);
    match identity.store.rotate(&presented, &next, identity.moment()).await? {
        Exchange::Done(at) => {
            let id = identity.vault.successor("access-token-id", token);
            let id = id.first_chunk::<16>().map(|id| u128::from_be_bytes(*id)).unwrap_or_default();
            let grant = UserGrant {
                user_id: session.account_id,
                client_id: &session.client_id,
                scopes: &scopes,
                session: Some(session.id),
                refresh_token: Some(&secret),
                fixed: Some((at, format!("r-{id:032x}"))),
            };
            Ok(identity.user_tokens(grant).await?)
        }
        Exchange::Reused => {
            identity.revoked.notify_waiters();
            tracing::warn!(session = session.id, account = %session.account_id,
                "a refresh token was used twice; its session is revoked");
            Err(OAuthError::InvalidGrant(
                "the refresh token was used before; all of its session are revoked, log in again",
            ))
        }
        Exchange::Invalid => Err(INVALID),
    }
}

/// What a verifier must be (RFC 7636, 4.1).
pub(crate) const VERIFIER: &str =
    "code_verifier must have 43 to 128 of the characters A-Z, a-z, 0-9, -, ., _ and ~";

/// Whether this can be a verifier.
pub(crate) fn is_verifier(text: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}
