//! Why posting or deleting is refused, and how that is answered.

use axum::response::{IntoResponse, Response};
use pillion_chassis::event_log::AppendError;
use pillion_chassis::{DatabaseError, PeerError, Problem, TweetId};

/// Why a request was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What the new tweet points at is not there, or not any more.
    #[error("there is no tweet {tweet_id}, or it was deleted")]
    NoSuchReference {
        /// The key of the body that names it.
        key: &'static str,
        /// Which tweet.
        tweet_id: TweetId,
    },
    /// The author of the tweet to answer does not want an answer from this user.
    #[error("the author of the tweet {0} has limited who may reply to it")]
    RepliesLimited(TweetId),
    /// The tweet to delete is not there.
    #[error("there is no tweet {0}")]
    NotFound(TweetId),
    /// The tweet to delete is somebody else's.
    #[error("only its author may delete the tweet {0}")]
    NotTheAuthor(TweetId),
    /// The request is wrong or not allowed.
    #[error("the request was refused")]
    Refused(Problem),
    /// Another service did not answer.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] AppendError),
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        Self::Store(error.into())
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::NoSuchReference { key, tweet_id } => {
                let message = format!("$.{key}: there is no tweet [{tweet_id}], or it was deleted");
                Problem::invalid(key, Some(&tweet_id.to_string()), message)
            }
            Self::RepliesLimited(_) => Problem::forbidden(format!("Nothing was posted: {self}.")),
            Self::NotFound(tweet_id) => {
                Problem::not_found(format!("Could not find tweet with id: [{tweet_id}]."))
                    .with("parameter", "id")
                    .with("value", tweet_id.to_string())
                    .with("resource_id", tweet_id.to_string())
                    .with("resource_type", "tweet")
            }
            Self::NotTheAuthor(_) => Problem::forbidden(format!("Nothing was deleted: {self}.")),
            Self::Refused(problem) => problem,
            Self::Peer(error) => error.into(),
            Self::Store(error) => error.into(),
        }
        .into_response()
    }
}
