//! Why a change of an account is refused, and how that is answered.

use axum::response::{IntoResponse, Response};
use pillion_chassis::event_log::AppendError;
use pillion_chassis::{DatabaseError, Problem, UserId};

use crate::profile::Username;

/// Why a change of an account was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody else has that handle, or had it.
    #[error("the username {0} is taken; choose another one")]
    UsernameTaken(Username),
    /// That account exists and is not what was asked to be made.
    #[error("the account {0} exists with another profile")]
    AnotherProfile(UserId),
    /// The account of the token does not exist any more.
    #[error("there is no account {0}")]
    Gone(UserId),
    /// That account was deleted; its id is not used again.
    #[error("the account {0} was deleted")]
    Deleted(UserId),
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
            Self::UsernameTaken(_) | Self::AnotherProfile(_) | Self::Deleted(_) => {
                Problem::conflict(format!("Nothing was changed: {self}."))
            }
            Self::Gone(user_id) => Problem::account_gone(user_id),
            Self::Refused(problem) => problem,
            Self::Database(error) => error.into(),
            Self::Append(error) => error.into(),
        }
        .into_response()
    }
}
