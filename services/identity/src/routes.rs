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
use crate::register_app::{list_apps, register_app, remove_app};
use crate::revocations::revocations;
use crate::revoke::revoke;
use crate::state::Identity;
use crate::token::{app_token, token};
use crate::token_status::token_status;
use crate::{applications, authorizations};

pub(crate) fn routes() -> Routes<Arc<Identity>> {
    Routes::new()
        .post("/pillion/v1/accounts", register_account)
        .delete("/pillion/v1/accounts/me", deactivate_account)
        .post("/pillion/v1/login", login)
        .delete("/pillion/v1/sessions", authorizations::log_out_everywhere)
        .post("/pillion/v1/apps", register_app)
        .get("/pillion/v1/apps", list_apps)
        .delete("/pillion/v1/apps/{client_id}", remove_app)
        .get("/pillion/v1/authorizations", authorizations::list)
        .delete("/pillion/v1/authorizations/{client_id}", authorizations::revoke)
        .get("/i/apps", applications::show)
        .post("/i/apps", applications::manage)
        .get("/i/oauth2/authorize", ask)
        .post("/i/oauth2/authorize", decide)
        .post("/2/oauth2/token", token)
        .post("/2/oauth2/revoke", revoke)
        .post("/oauth2/token", app_token)
        .get("/.well-known/jwks.json", jwks)
        .get("/internal/revocations", revocations)
        .post("/internal/token-status", token_status)
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
