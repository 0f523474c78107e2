//! A tweet as the service keeps it.

use pillion_events::{TweetId, TweetPosted};

/// What was posted, and what has come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tweet {
    /// What was posted; it never changes.
    pub(crate) posted: TweetPosted,
    /// How many public tweets answer it.
    pub(crate) reply_count: u64,
    /// How many public tweets quote it.
    pub(crate) quote_count: u64,
}

impl Tweet {
    /// Which tweet.
    pub(crate) fn id(&self) -> TweetId {
        self.posted.tweet_id
    }
}
