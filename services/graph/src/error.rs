//! Why a request is refused, and how that is answered.

use axum::response::{IntoResponse, Response};
use pillion_chassis::{AppendError, DatabaseError, PeerError, Problem, UserId};

const TARGET: &str = "target_user_id";

/// Why a request was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such account, or not any more.
    #[error("You cannot {verb} an account that is not active.")]
    NotActive {
        /// What was to be done.
        verb: &'static str,
        /// With whom.
        target: UserId,
    },
    /// That works with others only.
    #[error("You cannot {verb} yourself.")]
    Oneself {
        /// What was to be done.
        verb: &'static str,
        /// The caller.
        target: UserId,
    },
    /// The target does not want to be followed by this user.
    #[error("You have been blocked from following this account at the request of the user.")]
    BlockedBy,
    /// The caller blocks whom they want to follow.
    #[error("You cannot follow an account that you have blocked. Unblock it first.")]
    Blocking,
    /// Nobody asks.
    #[error("There is no request of the user [{0}] to follow you.")]
    NoRequest(UserId),
    /// The request is wrong or not allowed.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// Another service did not answer.
    #[error(transparent)]
    Peer(#[from] PeerError),
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
            Self::NotActive { target, .. } | Self::Oneself { target, .. } => {
                Problem::invalid(TARGET, Some(&target.to_string()), self.to_string())
            }
            Self::BlockedBy | Self::Blocking => Problem::forbidden(self.to_string()),
            Self::NoRequest(user_id) => Problem::not_found(self.to_string())
                .with("parameter", "user_id")
                .with("value", user_id.to_string())
                .with("resource_id", user_id.to_string())
                .with("resource_type", "user"),
            Self::Refused(problem) => problem,
            Self::Peer(error) => error.into(),
            Self::Database(error) => error.into(),
            Self::Append(error) => error.into(),
        }
        .into_response()
    }
}
