//! What the service reads in its database, and how it changes it: by events.

/// Whether an engagement is for others to see: neither who did it nor who wrote the tweet is gone.
macro_rules! is_for_all {
    () => {
        "NOT EXISTS (SELECT 1 FROM account AS a
                     WHERE a.user_id IN (engagement.user_id, engagement.author_id)
                       AND (a.hidden OR a.deleted))"
    };
}
pub(crate) use is_for_all;

use std::collections::HashMap;

use pillion_chassis::page::Window;
use pillion_chassis::sql::{list, query};
use pillion_chassis::{
    AppendError, Database, DatabaseError, Journal, Migrations, Problem, Timestamp, Transaction,
    TweetId, UserId,
};
use pillion_events::{AccountSettled, EngagementEvent};

use crate::error::Error;
use crate::tweet::Source;

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// What a user can do with a tweet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Likes it.
    Like,
    /// Shows it to their followers.
    Retweet,
    /// Keeps it where nobody else sees it.
    Bookmark,
}

impl Kind {
    /// As the column holds it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Like => "like",
            Self::Retweet => "retweet",
            Self::Bookmark => "bookmark",
        }
    }
}

/// What is known of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Account {
    /// Whether it is deleted or deactivated.
    pub(crate) gone: bool,
}

/// Something that a user did with a tweet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Who wrote the tweet.
    pub(crate) author_id: UserId,
    /// The retweet's own id; nothing but a retweet has one.
    pub(crate) retweet_id: Option<TweetId>,
}

/// A part of the list of what is engaged with, or who engages, with its position.
macro_rules! part {
    ($what:literal, $of:literal, $order:literal) => {
        concat!(
            "SELECT ",
            $what,
            ", position FROM engagement
             WHERE ",
            $of,
            " = $1 AND kind = $2 AND position > $3 AND position < $4 AND ",
            is_for_all!(),
            " ORDER BY position ",
            $order,
            " LIMIT $5"
        )
    };
}

/// Retweets of what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RetweetsOf {
    /// Of one tweet.
    Tweet(TweetId),
    /// Of all tweets of a user.
    User(UserId),
}

/// The retweets of a tweet, the newest and the oldest first.
pub(crate) const RETWEETS_OF_TWEET: [&str; 2] =
    [part!("retweet_id", "tweet_id", "DESC"), part!("retweet_id", "tweet_id", "ASC")];
/// The retweets of a user's tweets, the newest and the oldest first.
pub(crate) const RETWEETS_OF_USER: [&str; 2] =
    [part!("retweet_id", "author_id", "DESC"), part!("retweet_id", "author_id", "ASC")];

/// The service's database.
#[derive(Debug, Clone)]
pub(crate) struct Store(Journal);

impl Store {
    /// The store of a journal whose database is migrated.
    pub(crate) fn new(journal: Journal) -> Self {
        Self(journal)
    }

    fn database(&self) -> &Database {
        self.0.database()
    }

    /// Begins a change: what it reads stays as it is until it is committed. Dropping it changes
    /// nothing. Others wait meanwhile, so nobody else is called within it.
    pub(crate) async fn change(&self) -> Result<Change, DatabaseError> {
        let transaction = self.database().write().await?;
        Ok(Change { journal: self.0.clone(), transaction })
    }

    /// Settles some more of an account that is unsettled; whether there was one.
    pub(crate) async fn settle_some(&self, at: Timestamp) -> Result<bool, AppendError> {
        const NEXT: &str = "SELECT user_id FROM settling ORDER BY user_id LIMIT 1";
        // Nobody waits while there is nothing to do.
        if query(NEXT).fetch_optional::<(i64,)>(self.database()).await?.is_none() {
            return Ok(false);
        }
        let mut change = self.change().await?;
        let found = query(NEXT).fetch_optional::<(i64,)>(&mut change.transaction).await?;
        let Some((user_id,)) = found else {
            return Ok(false);
        };
        let user_id = user(user_id)?;
        let event = EngagementEvent::AccountSettled(AccountSettled { user_id, at });
        change.record(user_id, event, at).await?;
        change.commit().await?;
        Ok(true)
    }

    /// The tweet that this one retweets; itself when it is no retweet. All retweets begin here,
    /// so nobody else has to be asked, and one that was just made is known.
    pub(crate) async fn source_of(&self, tweet_id: TweetId) -> Result<TweetId, DatabaseError> {
        let source: Option<(i64,)> = query("SELECT tweet_id FROM engagement WHERE retweet_id = $1")
            .bind(tweet_id)
            .fetch_optional(self.database())
            .await?;
        source.map_or(Ok(tweet_id), |(source,)| tweet(source))
    }

    /// The largest id that any retweet has, for ids must go on growing.
    pub(crate) async fn last_retweet_id(&self) -> Result<Option<TweetId>, DatabaseError> {
        let (last,): (Option<i64>,) =
            query("SELECT max(retweet_id) FROM engagement WHERE retweet_id IS NOT NULL")
                .fetch_one(self.database())
                .await?;
        last.map(tweet).transpose()
    }

    /// An account, if its service has told of it.
    pub(crate) async fn account(&self, user_id: UserId) -> Result<Option<Account>, DatabaseError> {
        query("SELECT deleted OR hidden AS gone FROM account WHERE user_id = $1")
            .bind(user_id)
            .fetch_optional(self.database())
            .await
    }

    /// A part of the list of a user's tweets: which, and at which position.
    pub(crate) async fn tweets_of(
        &self,
        kind: Kind,
        user_id: UserId,
        window: &Window,
    ) -> Result<Vec<(TweetId, i64)>, DatabaseError> {
        const NEWEST_FIRST: &str = part!("tweet_id", "user_id", "DESC");
        const OLDEST_FIRST: &str = part!("tweet_id", "user_id", "ASC");
        let statement = if window.newest_first { NEWEST_FIRST } else { OLDEST_FIRST };
        let rows = self.part(statement, user_id.as_i64(), kind, window).await?;
        rows.into_iter().map(|(id, position)| Ok((tweet(id)?, position))).collect()
    }

    /// A part of the list of a tweet's users: who, and at which position.
    pub(crate) async fn users_of(
        &self,
        kind: Kind,
        tweet_id: TweetId,
        window: &Window,
    ) -> Result<Vec<(UserId, i64)>, DatabaseError> {
        const NEWEST_FIRST: &str = part!("user_id", "tweet_id", "DESC");
        const OLDEST_FIRST: &str = part!("user_id", "tweet_id", "ASC");
        let statement = if window.newest_first { NEWEST_FIRST } else { OLDEST_FIRST };
        let rows = self.part(statement, tweet_id.as_i64(), kind, window).await?;
        rows.into_iter().map(|(id, position)| Ok((user(id)?, position))).collect()
    }

    /// A part of a list of retweets: which, and at which position.
    pub(crate) async fn retweets(
        &self,
        of: RetweetsOf,
        window: &Window,
    ) -> Result<Vec<(TweetId, i64)>, DatabaseError> {
        let (statement, of) = match (of, window.newest_first) {
            (RetweetsOf::Tweet(id), true) => (RETWEETS_OF_TWEET[0], id.as_i64()),
            (RetweetsOf::Tweet(id), false) => (RETWEETS_OF_TWEET[1], id.as_i64()),
            (RetweetsOf::User(id), true) => (RETWEETS_OF_USER[0], id.as_i64()),
            (RetweetsOf::User(id), false) => (RETWEETS_OF_USER[1], id.as_i64()),
        };
        let rows = self.part(statement, of, Kind::Retweet, window).await?;
        rows.into_iter().map(|(id, position)| Ok((tweet(id)?, position))).collect()
    }

    async fn part(
        &self,
        statement: &'static str,
        of: i64,
        kind: Kind,
        window: &Window,
    ) -> Result<Vec<(i64, i64)>, DatabaseError> {
        query(statement)
            .bind(of)
            .bind(kind.as_str())
            .bind(window.above)
            .bind(window.below)
            .bind(window.count_max)
            .fetch_all(self.database())
            .await
    }

    /// Likes, retweets and bookmarks of each of these tweets that has any.
    pub(crate) async fn counts(
        &self,
        tweets: &[TweetId],
    ) -> Result<HashMap<TweetId, [i64; 3]>, DatabaseError> {
        let rows: Vec<(i64, i64, i64, i64)> = query(
            "SELECT tweet_id,
                    CAST(sum(CASE WHEN kind = 'like' THEN total ELSE 0 END) AS BIGINT),
                    CAST(sum(CASE WHEN kind = 'retweet' THEN total ELSE 0 END) AS BIGINT),
                    CAST(sum(CASE WHEN kind = 'bookmark' THEN total ELSE 0 END) AS BIGINT)
             FROM tweet_count
             WHERE total > 0 AND tweet_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))
             GROUP BY tweet_id",
        )
        .bind(list(tweets))
        .fetch_all(self.database())
        .await?;
        rows.into_iter()
            .map(|(id, likes, retweets, bookmarks)| Ok((tweet(id)?, [likes, retweets, bookmarks])))
            .collect()
    }

    /// How many tweets each of these users likes, of those who like any.
    pub(crate) async fn like_counts(
        &self,
        users: &[UserId],
    ) -> Result<HashMap<UserId, i64>, DatabaseError> {
        let rows: Vec<(i64, i64)> = query(
            "SELECT user_id, like_count FROM user_count
             WHERE user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
        )
        .bind(list(users))
        .fetch_all(self.database())
        .await?;
        rows.into_iter().map(|(id, likes)| Ok((user(id)?, likes))).collect()
    }
}

/// A change under way. Nobody else changes anything until it ends.
#[derive(Debug)]
pub(crate) struct Change {
    journal: Journal,
    transaction: Transaction,
}

impl Change {
    /// Refuses to begin anything with a tweet or by an account that is gone. The tweets service
    /// was asked before, but its answer may be older than what the events have told.
    pub(crate) async fn require_there(
        &mut self,
        kind: Kind,
        user_id: UserId,
        source: &Source,
    ) -> Result<(), Error> {
        let gone: Vec<(i64,)> =
            query("SELECT user_id FROM account WHERE user_id IN ($1, $2) AND (deleted OR hidden)")
                .bind(user_id)
                .bind(source.author_id)
                .fetch_all(&mut self.transaction)
                .await?;
        if gone.contains(&(user_id.as_i64(),)) {
            return Err(Problem::account_gone(user_id).into());
        }
        let deleted: Option<(i64,)> =
            query("SELECT tweet_id FROM deleted_tweet WHERE tweet_id = $1")
                .bind(source.tweet_id)
                .fetch_optional(&mut self.transaction)
                .await?;
        if gone.is_empty() && deleted.is_none() {
            return Ok(());
        }
        Err(Error::NoTweet { kind, tweet_id: source.tweet_id })
    }

    /// Refuses to end anything for an account that is deleted or deactivated.
    pub(crate) async fn require_account(&mut self, user_id: UserId) -> Result<(), Error> {
        let gone: Option<(i64,)> =
            query("SELECT user_id FROM account WHERE user_id = $1 AND (deleted OR hidden)")
                .bind(user_id)
                .fetch_optional(&mut self.transaction)
                .await?;
        gone.map_or(Ok(()), |_| Err(Problem::account_gone(user_id).into()))
    }

    /// Whether the owner of this account approves followers one by one.
    pub(crate) async fn is_protected(&mut self, user_id: UserId) -> Result<bool, DatabaseError> {
        let protected: Option<(i64,)> =
            query("SELECT user_id FROM account WHERE protected AND user_id = $1")
                .bind(user_id)
                .fetch_optional(&mut self.transaction)
                .await?;
        Ok(protected.is_some())
    }

    /// What the user did with the tweet, if they did this.
    pub(crate) async fn find(
        &mut self,
        kind: Kind,
        user_id: UserId,
        tweet_id: TweetId,
    ) -> Result<Option<Found>, DatabaseError> {
        let row: Option<(i64, Option<i64>)> = query(
            "SELECT author_id, retweet_id FROM engagement
             WHERE user_id = $1 AND tweet_id = $2 AND kind = $3",
        )
        .bind(user_id)
        .bind(tweet_id)
        .bind(kind.as_str())
        .fetch_optional(&mut self.transaction)
        .await?;
        row.map(|(author_id, retweet_id)| {
            let retweet_id = retweet_id.map(tweet).transpose()?;
            Ok(Found { author_id: user(author_id)?, retweet_id })
        })
        .transpose()
    }

    /// Records an event in its user's stream, and with it changes the tables.
    pub(crate) async fn record(
        &mut self,
        user_id: UserId,
        event: EngagementEvent,
        at: Timestamp,
    ) -> Result<(), AppendError> {
        let stream = format!("user/{user_id}");
        let version = self.journal.version(&mut self.transaction, &stream).await?;
        self.journal.record(&mut self.transaction, &stream, version, &event, at).await?;
        Ok(())
    }

    /// Makes the change last.
    pub(crate) async fn commit(self) -> Result<(), DatabaseError> {
        self.transaction.commit().await
    }
}

/// Whether the users service has told that an account was deleted.
pub(crate) async fn is_deleted(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let deleted: Option<(i64,)> =
        query("SELECT user_id FROM account WHERE user_id = $1 AND deleted")
            .bind(user_id)
            .fetch_optional(transaction)
            .await?;
    Ok(deleted.is_some())
}

/// Whether not all of what has to do with an account is settled yet.
pub(crate) async fn is_unsettled(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let found = query("SELECT user_id FROM settling WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional::<(i64,)>(transaction)
        .await?;
    Ok(found.is_some())
}

fn user(column: i64) -> Result<UserId, DatabaseError> {
    UserId::from_i64(column)
        .ok_or_else(|| DatabaseError::Corrupt(format!("the id {column} of a user")))
}

fn tweet(column: i64) -> Result<TweetId, DatabaseError> {
    TweetId::from_i64(column)
        .ok_or_else(|| DatabaseError::Corrupt(format!("the id {column} of a tweet")))
}
