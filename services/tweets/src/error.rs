//! Why a change is refused, and how that is answered.

use axum::response::{IntoResponse, Response};
use pillion_chassis::{AppendError, DatabaseError, PeerError, Problem, TweetId, UserId};

/// The keys of the body that point at other tweets.
pub(crate) const REPLY_KEY: &str = "reply.in_reply_to_tweet_id";
pub(crate) const QUOTE_KEY: &str = "quote_tweet_id";

/// Why a request was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What the new tweet answers or quotes is not there, not any more, or not for its author.
    #[error("the tweet {tweet_id} is deleted or not visible")]
    NoSuchReference {
        /// Whether it is quoted, else answered.
        quoted: bool,
        /// Which tweet.
        tweet_id: TweetId,
    },
    /// The author of the tweet to answer does not want an answer from this user.
    #[error("the author of the tweet {0} has limited who may reply to it")]
    RepliesLimited(TweetId),
    /// The author has just said the same.
    #[error("the author has just posted the same")]
    Duplicate,
    /// The tweet to change is not there.
    #[error("there is no tweet {0}")]
    NotFound(TweetId),
    /// The tweet to delete is somebody else's.
    #[error("only its author may delete the tweet {0}")]
    NotTheAuthor(TweetId),
    /// What is to be deleted is a retweet.
    #[error("it is a retweet, which DELETE /2/users/{author_id}/retweets/{original} undoes")]
    IsRetweet {
        /// Whose retweet.
        author_id: UserId,
        /// What it repeats.
        original: TweetId,
    },
    /// The tweet to hide is not somebody else's reply in a conversation of this user's.
    #[error(
        "{0} is not a reply by somebody else in a conversation that you began; only such replies \
         can be hidden"
    )]
    MayNotHide(TweetId),
    /// The account of the token does not exist any more.
    #[error("there is no account {0}")]
    AccountGone(UserId),
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
            Self::NoSuchReference { quoted, tweet_id } => {
                // X does not tell either whether a tweet is deleted or only not for the caller.
                let (verb, key) =
                    if quoted { ("quote", QUOTE_KEY) } else { ("reply to", REPLY_KEY) };
                Problem::forbidden(format!(
                    "You attempted to {verb} a Tweet that is deleted or not visible to you."
                ))
                .with("parameter", key)
                .with("value", tweet_id.to_string())
            }
            Self::Duplicate => {
                Problem::forbidden("You are not allowed to create a Tweet with duplicate content.")
            }
            Self::RepliesLimited(_) => Problem::forbidden(format!("Nothing was posted: {self}.")),
            Self::NotFound(tweet_id) => {
                Problem::not_found(format!("Could not find tweet with id: [{tweet_id}]."))
                    .with("parameter", "id")
                    .with("value", tweet_id.to_string())
                    .with("resource_id", tweet_id.to_string())
                    .with("resource_type", "tweet")
            }
            Self::NotTheAuthor(_) | Self::IsRetweet { .. } => {
                Problem::forbidden(format!("Nothing was deleted: {self}."))
            }
            Self::MayNotHide(_) => Problem::forbidden(format!("Nothing was changed: {self}.")),
            Self::AccountGone(user_id) => Problem::account_gone(user_id),
            Self::Refused(problem) => problem,
            Self::Peer(error) => error.into(),
            Self::Database(error) => error.into(),
            Self::Append(error) => error.into(),
        }
        .into_response()
    }
}
