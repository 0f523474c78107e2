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
    /// The account's handle is being changed already.
    #[error("the username is being changed already; try again in a moment")]
    HandleIsChanging,
    /// The account of the token does not exist any more.
    #[error("there is no account {0}")]
    Gone(UserId),
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

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::UsernameTaken(username) => {
                Self::conflict(format!("The username [{username}] is taken; choose another one."))
            }
            Error::HandleIsChanging => Self::conflict(format!("Nothing was changed: {error}.")),
            Error::Gone(user_id) => Self::account_gone(user_id),
            Error::Refused(problem) => problem,
            Error::Database(error) => error.into(),
            Error::Append(error) => error.into(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
