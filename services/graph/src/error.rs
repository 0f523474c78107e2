//! Why a request is refused, and how that is answered.

use axum::response::{IntoResponse, Response};
use pillion_chassis::saga::SagaError;
use pillion_chassis::{AppendError, DatabaseError, PeerError, Problem, UserId};

const TARGET: &str = "target_user_id";
/// An acceptance that takes longer waits for another service, which is asked every few seconds.
const RETRY_AFTER_S: u32 = 2;

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
    /// The request was accepted, and the follow is on its way.
    #[error(
        "The request is accepted, but the follow takes longer than usual; it goes on by itself."
    )]
    Unfinished,
    /// The saga of a request could not be begun or told.
    #[error(transparent)]
    Saga(#[from] SagaError),
    /// The data of a saga cannot be written as JSON.
    #[error("the data of a saga cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
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
            Self::Unfinished => Problem::unavailable(self.to_string(), RETRY_AFTER_S),
            Self::Encode(_) => Problem::internal(&self),
            Self::Saga(error) => error.into(),
            Self::Refused(problem) => problem,
            Self::Peer(error) => error.into(),
            Self::Database(error) => error.into(),
            Self::Append(error) => error.into(),
        }
        .into_response()
    }
}
