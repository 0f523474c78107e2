//! What the service needs of its database.

mod sqlite;

use async_trait::async_trait;
use pillion_chassis::{DatabaseError, Timestamp, TweetId, UserId};
use pillion_events::TweetPosted;

pub(crate) use sqlite::{MIGRATIONS as SQLITE_MIGRATIONS, SqliteStore};

use crate::error::Error;
use crate::tweet::Tweet;

/// Tweets, kept together with their events.
#[async_trait]
pub(crate) trait Store: Send + Sync + std::fmt::Debug {
    /// Makes a tweet public. Refused with [`Error::NoSuchReference`] when what it answers or
    /// quotes has gone meanwhile.
    async fn post(&self, posted: &TweetPosted) -> Result<(), Error>;

    /// Takes a tweet back. Refused with [`Error::NotFound`] when it is not there and with
    /// [`Error::NotTheAuthor`] when it is somebody else's.
    async fn delete(&self, id: TweetId, author_id: UserId, at: Timestamp) -> Result<(), Error>;

    /// Those of these tweets that are public, in any order.
    async fn by_ids(&self, ids: &[TweetId]) -> Result<Vec<Tweet>, DatabaseError>;

    /// Tweets of one author, in the order of their ids.
    async fn tweets_of(&self, list: &TweetsOf) -> Result<Vec<Tweet>, DatabaseError>;

    /// The largest id that any tweet has, for ids must go on growing.
    async fn last_id(&self) -> Result<Option<TweetId>, DatabaseError>;
}

/// Which tweets of an author.
#[derive(Debug, Clone)]
pub(crate) struct TweetsOf {
    /// Whose.
    pub(crate) author_id: UserId,
    /// With a larger id than this.
    pub(crate) above_id: i64,
    /// With a smaller id than this.
    pub(crate) below_id: i64,
    /// Posted then or later, in microseconds since 1970.
    pub(crate) from: i64,
    /// Posted earlier, in microseconds since 1970.
    pub(crate) before: i64,
    /// Also those that answer another tweet.
    pub(crate) with_replies: bool,
    /// The largest ids first, else the smallest.
    pub(crate) latest_first: bool,
    /// At most so many.
    pub(crate) count_max: u32,
}
