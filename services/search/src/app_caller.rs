//! Callers of the routes that are for apps alone.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use pillion_chassis::Caller;

use crate::error::Error;

/// An app that acts for itself. As an argument of a handler it makes the route answer 401 when
/// there is no caller, and 403 when the app acts for a user.
#[derive(Debug)]
pub(crate) struct AppCaller {
    /// Which app.
    pub(crate) client_id: String,
}

impl<S: Sync> FromRequestParts<S> for AppCaller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let caller =
            Caller::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        match caller.user_id {
            None => Ok(Self { client_id: caller.client_id }),
            Some(_) => Err(Error::UserToken.into_response()),
        }
    }
}
