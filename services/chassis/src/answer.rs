//! The envelope of X's answers: `data`, `meta`, `errors`.

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::json::Json;

/// What a read answers with: what was found in `data`, what was not in `errors`, about a page in
/// `meta`. What is empty is left out. The status is 200 even when nothing was found.
#[derive(Debug, Clone, Serialize)]
pub struct Answer<T, M = ()> {
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<T>,
    /// About the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<M>,
    /// What was asked for and not found; see [`crate::problem::not_found_error`],
    /// or not for the caller; see [`crate::problem::not_authorized_error`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Value>,
}

impl<T, M> Answer<T, M> {
    /// One thing that was found.
    pub fn found(data: T) -> Self {
        Self { data: Some(data), meta: None, errors: Vec::new() }
    }

    /// The one thing that was asked for is not there.
    pub fn missing(error: Value) -> Self {
        Self { data: None, meta: None, errors: vec![error] }
    }
}

impl<T, M> Answer<Vec<T>, M> {
    /// Several things of which some may be missing.
    pub fn list(found: Vec<T>, errors: Vec<Value>) -> Self {
        Self { data: (!found.is_empty()).then_some(found), meta: None, errors }
    }

    /// A page of a list.
    pub fn page(found: Vec<T>, meta: M) -> Self {
        Self { meta: Some(meta), ..Self::list(found, Vec::new()) }
    }
}

impl<T: Serialize, M: Serialize> IntoResponse for Answer<T, M> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// In the extensions of a response whose body goes on for as long as its reader likes: the bound
/// on how long a response may take is not meant for it. Its handler bounds how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Streaming;
