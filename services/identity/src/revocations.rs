//! What the processes that check tokens are told about revoked ones.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use pillion_chassis::service_token::SCOPE;
use pillion_chassis::{Caller, Json, Parameters, Problem};
use serde::{Deserialize, Serialize};

use crate::state::Identity;

/// An id that tokens carry, and until when it is of interest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The id.
    pub id: String,
    /// In seconds since 1970: by then every token with the id has expired.
    pub until_s: u64,
}

/// The revocations after a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationPage {
    /// Oldest first.
    pub revocations: Vec<Revocation>,
    /// The position to ask after next.
    pub next: i64,
    /// The last position that there is; one before the position that was asked for says that the
    /// database was restored, and that all of it is to be read again.
    pub last: i64,
    /// How many there are in all.
    pub count: i64,
}

/// `GET /internal/revocations?since=…`.
pub(crate) async fn revocations(
    State(identity): State<Arc<Identity>>,
    caller: Caller,
    mut query: Parameters,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let since = query.value::<i64>("since").unwrap_or(0);
    query.finish()?;
    let page = identity.store.revocations_after(since, identity.clock.now()).await?;
    let mut response = Json(page).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
