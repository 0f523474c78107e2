//! The service's errors, and those of the token routes in the shape of OAuth 2 (RFC 6749, 5.2).

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use pillion_chassis::random::RandomError;
use pillion_chassis::{DatabaseError, Problem};
use serde_json::json;

use crate::signer::KeyError;
use crate::store::revocations::RevokeError;

/// Why a new signing key was not made; the present ones go on working.
#[derive(Debug, thiserror::Error)]
#[error("no new signing key could be made")]
pub struct RotateError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl From<KeyError> for RotateError {
    fn from(error: KeyError) -> Self {
        Self(error.into())
    }
}

impl From<DatabaseError> for RotateError {
    fn from(error: DatabaseError) -> Self {
        Self(error.into())
    }
}

/// Why a token route gives no token.
#[derive(Debug)]
pub(crate) enum OAuthError {
    /// Parameters are missing, there twice, or not to be read.
    InvalidRequest(String),
    /// The client is unknown, or did not prove to be who it says.
    InvalidClient(&'static str),
    /// The code or refresh token is unknown, expired, used, or somebody else's.
    InvalidGrant(&'static str),
    /// The client may not use this grant.
    UnauthorizedClient(&'static str),
    /// There is no such grant here.
    UnsupportedGrantType(String),
    /// A scope that cannot be had this way.
    InvalidScope(String),
    /// Nothing that the caller did.
    Failed(Problem),
}

impl From<DatabaseError> for OAuthError {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<RevokeError> for OAuthError {
    fn from(error: RevokeError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<RandomError> for OAuthError {
    fn from(error: RandomError) -> Self {
        Self::Failed(Problem::internal(&error))
    }
}

impl OAuthError {
    /// What is wrong, for a page.
    pub(crate) fn into_text(self) -> String {
        match self.describe() {
            Ok((_, _, why)) => why,
            Err(problem) => {
                let detail = problem.document().get("detail").and_then(|it| it.as_str());
                detail.unwrap_or_default().to_owned()
            }
        }
    }

    /// The status, RFC 6749's code and what to do about it.
    fn describe(self) -> Result<(StatusCode, &'static str, String), Problem> {
        let bad = StatusCode::BAD_REQUEST;
        Ok(match self {
            Self::InvalidRequest(why) => (bad, "invalid_request", why),
            Self::InvalidClient(why) => {
                (StatusCode::UNAUTHORIZED, "invalid_client", why.to_owned())
            }
            Self::InvalidGrant(why) => (bad, "invalid_grant", why.to_owned()),
            Self::UnauthorizedClient(why) => (bad, "unauthorized_client", why.to_owned()),
            Self::UnsupportedGrantType(grant) => (
                bad,
                "unsupported_grant_type",
                format!(
                    "grant_type is [{grant}]; it must be one of authorization_code, \
                     refresh_token, client_credentials"
                ),
            ),
            Self::InvalidScope(why) => (bad, "invalid_scope", why),
            Self::Failed(problem) => return Err(problem),
        })
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, error, description) = match self.describe() {
            Ok(described) => described,
            Err(problem) => return problem.into_response(),
        };
        let body = json!({ "error": error, "error_description": description }).to_string();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"pillion\""));
        }
        response
    }
}
