//! Why a request is refused, and how that is answered.

use axum::response::{IntoResponse, Response};
use pillion_chassis::{AppendError, DatabaseError, PeerError, Problem, TweetId};

use crate::store::Kind;

/// Why a request was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such tweet, or not any more.
    #[error("This Tweet cannot be found.")]
    NoTweet {
        /// What was to be done.
        kind: Kind,
        /// With which tweet, as the caller called it.
        tweet_id: TweetId,
    },
    /// The tweet's author blocks the caller.
    #[error("You have been blocked from engaging with this person's Tweets at their request.")]
    BlockedBy(Kind),
    /// The tweet's author is protected, and the caller does not follow them.
    #[error("Sorry, you are not authorized to see this Tweet.")]
    NotAuthorized(Kind),
    /// The tweet's author is protected: their tweets do not travel beyond their followers.
    #[error("The Tweets of a protected account cannot be retweeted.")]
    NotForRetweet,
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
            // X says one and the same of all bookmarks that it refuses.
            Self::NoTweet { kind: Kind::Bookmark, .. }
            | Self::BlockedBy(Kind::Bookmark)
            | Self::NotAuthorized(Kind::Bookmark) => {
                Problem::forbidden("You are not permitted to bookmark this Tweet.")
            }
            Self::NoTweet { kind: Kind::Like, tweet_id } => {
                no_tweet("This tweet cannot be found.", tweet_id)
            }
            Self::NoTweet { tweet_id, .. } => no_tweet(&self.to_string(), tweet_id),
            Self::BlockedBy(Kind::Like) => Problem::forbidden(
                "You have been blocked from liking this person's Tweets at their request.",
            ),
            Self::BlockedBy(Kind::Retweet) => Problem::forbidden(
                "You have been blocked from retweeting this person's Tweets at their request.",
            ),
            Self::NotAuthorized(_) | Self::NotForRetweet => Problem::forbidden(self.to_string()),
            Self::Refused(problem) => problem,
            Self::Peer(error) => error.into(),
            Self::Database(error) => error.into(),
            Self::Append(error) => error.into(),
        }
        .into_response()
    }
}

fn no_tweet(message: &str, tweet_id: TweetId) -> Problem {
    Problem::invalid("tweet_id", Some(&tweet_id.to_string()), message)
}
