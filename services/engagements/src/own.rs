//! What the routes about the caller's own engagements take: a path, a body, and the rule that
//! the path is the caller's.

use pillion_chassis::{Problem, TweetId, UserCaller, UserId};
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

/// 400 unless the user in the path is the caller.
pub(crate) fn require(id: UserId, caller: &UserCaller) -> Result<(), Problem> {
    let own = caller.user_id;
    if id == own {
        return Ok(());
    }
    let message = format!(
        "The `id` query parameter value [{id}] must be the same as the authenticating user [{own}]"
    );
    Err(Problem::invalid("id", Some(&id.to_string()), message))
}
