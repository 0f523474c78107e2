//! The service's tables: read here, written by the modules below, which only the projection
//! calls.

pub(crate) mod accounts;
pub(crate) mod follows;
pub(crate) mod mentions;
pub(crate) mod posts;

use pillion_chassis::page::Window;
use pillion_chassis::sql::query;
use pillion_chassis::{Database, DatabaseError, Migrations, TweetId, UserId};

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// Whether the user of the follow `f` may have the tweet `p` of its followee at home. A reply is
/// only for those who follow both ends of the conversation; one's own tweets are always at home.
/// As everyone follows themself, this lets in the replies to oneself, too.
macro_rules! may_be_at_home {
    () => {
        "(p.reply_to_author_id IS NULL OR p.reply_to_author_id = p.author_id
          OR p.author_id = f.follower_id
          OR EXISTS (SELECT 1 FROM follow AS g
                     WHERE g.follower_id = f.follower_id AND g.followee_id = p.reply_to_author_id))"
    };
}
pub(crate) use may_be_at_home;

/// The ids in the user's home: one range of the primary key, in its order.
macro_rules! home_page {
    ($order:literal) => {
        concat!(
            "SELECT tweet_id FROM home
             WHERE user_id = $1 AND tweet_id > $2 AND tweet_id < $3
               AND (NOT $4 OR reply_to_author_id IS NULL) AND (NOT $5 OR NOT retweet)
             ORDER BY tweet_id ",
            $order,
            " LIMIT $6"
        )
    };
}

/// What the user's home gets from authors with very many followers: a range of each author's
/// list. Sorts at most [`crate::AUTHOR_TWEETS_MAX`] ids an author; the sum is there lest a planner
/// reads everybody's tweets in the order of their ids until the page is full.
macro_rules! merged_page {
    ($order:literal) => {
        concat!(
            "SELECT p.tweet_id FROM follow AS f CROSS JOIN post AS p
             WHERE f.follower_id = $1 AND f.merged
               AND p.author_id = f.followee_id AND (f.pulled OR NOT p.fanned_out)
               AND p.tweet_id > $2 AND p.tweet_id < $3
               AND (NOT $4 OR p.reply_to_author_id IS NULL)
               AND (NOT $5 OR p.retweeted_id IS NULL)
               AND ",
            may_be_at_home!(),
            " ORDER BY p.tweet_id + 0 ",
            $order,
            " LIMIT $6"
        )
    };
}

pub(crate) const HOME_LATEST: &str = home_page!("DESC");
pub(crate) const HOME_EARLIEST: &str = home_page!("ASC");
pub(crate) const MERGED_LATEST: &str = merged_page!("DESC");
pub(crate) const MERGED_EARLIEST: &str = merged_page!("ASC");
pub(crate) const MENTIONS_LATEST: &str = "SELECT tweet_id FROM mention
     WHERE user_id = $1 AND tweet_id > $2 AND tweet_id < $3 ORDER BY tweet_id DESC LIMIT $4";
pub(crate) const MENTIONS_EARLIEST: &str = "SELECT tweet_id FROM mention
     WHERE user_id = $1 AND tweet_id > $2 AND tweet_id < $3 ORDER BY tweet_id ASC LIMIT $4";

/// Reads the timelines.
#[derive(Debug, Clone)]
pub(crate) struct Store(Database);

/// What a reader does not want at home.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exclude {
    pub(crate) replies: bool,
    pub(crate) retweets: bool,
}

impl Store {
    /// On a migrated database.
    pub(crate) fn new(database: Database) -> Self {
        Self(database)
    }

    /// The ids of a user's home in the order of the window: those kept for the user, merged with
    /// those of authors with very many followers.
    pub(crate) async fn home(
        &self,
        user_id: UserId,
        window: &Window,
        exclude: Exclude,
    ) -> Result<Vec<TweetId>, DatabaseError> {
        let (home, merged) = if window.newest_first {
            (HOME_LATEST, MERGED_LATEST)
        } else {
            (HOME_EARLIEST, MERGED_EARLIEST)
        };
        let mut ids = Vec::new();
        // A tweet is in one of the two for good, so that one that comes in between the two reads
        // is not lost, nor there twice.
        for sql in [home, merged] {
            let found: Vec<(i64,)> = query(sql)
                .bind(user_id)
                .bind(window.above)
                .bind(window.below)
                .bind(exclude.replies)
                .bind(exclude.retweets)
                .bind(window.count_max)
                .fetch_all(&self.0)
                .await?;
            ids.extend(found.into_iter().map(|(id,)| id));
        }
        ids.sort_unstable();
        ids.dedup();
        if window.newest_first {
            ids.reverse();
        }
        ids.truncate(window.count_max as usize);
        Ok(ids.into_iter().filter_map(TweetId::from_i64).collect())
    }

    /// The ids of the tweets that mention a user, in the order of the window.
    pub(crate) async fn mentions(
        &self,
        user_id: UserId,
        window: &Window,
    ) -> Result<Vec<TweetId>, DatabaseError> {
        let sql = if window.newest_first { MENTIONS_LATEST } else { MENTIONS_EARLIEST };
        let found: Vec<(i64,)> = query(sql)
            .bind(user_id)
            .bind(window.above)
            .bind(window.below)
            .bind(window.count_max)
            .fetch_all(&self.0)
            .await?;
        Ok(found.into_iter().filter_map(|(id,)| TweetId::from_i64(id)).collect())
    }

    /// Whether there is such an account, as far as the service has heard.
    pub(crate) async fn is_known(&self, user_id: UserId) -> Result<bool, DatabaseError> {
        Ok(self.deleted(user_id).await? == Some(false))
    }

    /// Whether there was such an account.
    pub(crate) async fn is_deleted(&self, user_id: UserId) -> Result<bool, DatabaseError> {
        Ok(self.deleted(user_id).await? == Some(true))
    }

    async fn deleted(&self, user_id: UserId) -> Result<Option<bool>, DatabaseError> {
        let found = query("SELECT deleted FROM account WHERE user_id = $1")
            .bind(user_id)
            .fetch_optional::<(bool,)>(&self.0)
            .await?;
        Ok(found.map(|(deleted,)| deleted))
    }
}
