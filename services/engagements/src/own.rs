//! What the routes about the caller's own engagements take: a path and a body.

use pillion_chassis::{TweetId, UserId};
use serde::Deserialize;

/// The body of the routes that begin something with a tweet.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) tweet_id: TweetId,
}

/// The path of the routes that end it.
#[derive(Debug, Deserialize)]
pub(crate) struct Pair {
    pub(crate) id: UserId,
    /// X's name of it depends on the route.
    #[serde(alias = "source_tweet_id")]
    pub(crate) tweet_id: TweetId,
}
