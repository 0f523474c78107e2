//! Why a timeline is not shown, and how that is answered.

use axum::response::{IntoResponse, Response};
use pillion_chassis::{DatabaseError, Problem};

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request is wrong or not allowed.
    #[error("the request was refused")]
    Refused(Problem),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(problem) => problem,
            Self::Database(error) => error.into(),
        }
        .into_response()
    }
}
