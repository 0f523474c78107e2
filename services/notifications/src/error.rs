//! Why a request is refused, and how that is answered.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::{AppendError, DatabaseError, Problem};

/// Streams end after some minutes, and places become free.
const RETRY_AFTER_S: u32 = 5;

/// Why a request was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The user has as many live streams as one may have.
    #[error("you have {0} streams open, and that is the most; close one of them")]
    TooManyStreams(usize),
    /// There are as many live streams as the process can have, or it shuts down.
    #[error("no stream can be opened now; try again")]
    NoStreams,
    /// The request is wrong or not allowed.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::TooManyStreams(_) => Problem::streaming_connection(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyConnections",
                format!("This stream was not opened: {self}."),
            ),
            Self::NoStreams => {
                Problem::unavailable("No stream can be opened now; try again.", RETRY_AFTER_S)
            }
            Self::Refused(problem) => problem,
            Self::Database(error) => error.into(),
            Self::Append(error) => error.into(),
        }
        .into_response()
    }
}
