//! The service's table of routes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use pillion_chassis::{Json, Routes};

use crate::authorize::{ask, decide};
use crate::deactivate_account::deactivate_account;
use crate::login::login;
use crate::register_account::register_account;
use crate::register_app::register_app;
use crate::revoke::revoke;
use crate::state::Identity;
use crate::token::{app_token, token};

pub(crate) fn routes() -> Routes<Arc<Identity>> {
    Routes::new()
        .post("/pillion/v1/accounts", register_account)
        .delete("/pillion/v1/accounts/me", deactivate_account)
        .post("/pillion/v1/login", login)
        .post("/pillion/v1/apps", register_app)
        .get("/i/oauth2/authorize", ask)
        .post("/i/oauth2/authorize", decide)
        .post("/2/oauth2/token", token)
        .post("/2/oauth2/revoke", revoke)
        .post("/oauth2/token", app_token)
        .get("/.well-known/jwks.json", jwks)
}

/// The public keys that verify access tokens (RFC 7517).
async fn jwks(State(identity): State<Arc<Identity>>) -> Response {
    let keys = identity.signer.jwks().borrow().clone();
    let mut response = Json(keys).into_response();
    // No longer than a new key is announced before it signs.
    let cache = HeaderValue::from_static("public, max-age=300");
    response.headers_mut().insert(CACHE_CONTROL, cache);
    response
}
