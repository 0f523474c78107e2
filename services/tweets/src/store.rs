//! Tweets, kept together with their events.

mod rows;

/// Whether a tweet of the table `t` is for others to see: neither its author nor, of a retweet,
/// that of what it repeats is hidden.
macro_rules! is_for_all {
    () => {
        "(NOT EXISTS (SELECT 1 FROM hidden_author AS h WHERE h.user_id = t.author_id)
          AND NOT EXISTS (SELECT 1 FROM hidden_author AS h WHERE h.user_id = t.retweeted_author_id))"
    };
}
pub(crate) use is_for_all;

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::database::Migrations;
use pillion_chassis::page::Window;
use pillion_chassis::sql::{list, query};
use pillion_chassis::{
    AppendError, Database, DatabaseError, Journal, Timestamp, Transaction, TweetId, UserId,
};
use pillion_events::{
    AuthorVisibility, ReplyVisibility, TweetDeleted, TweetEvent, TweetPosted, TweetRef,
};

use tokio::sync::Notify;

use crate::NAME;
use crate::error::Error;
use crate::projection::TweetProjection;
use crate::tweet::Tweet;
use rows::{Row, SELECT, State};

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// A tweet is a duplicate when it says the same, in answer to the same and quoting the same, as
/// one of so many of its author's newest tweets that is no older than [`DUPLICATE_AGE_MAX`]. X
/// names no numbers; a client that repeats itself after a lost answer does so within minutes, and
/// bots were seen to be stopped for half a day.
const DUPLICATE_TWEETS_MAX: u32 = 20;
/// How long the author of a tweet may not say the same again.
const DUPLICATE_AGE_MAX: Duration = Duration::from_hours(12);

/// Which tweets of an author.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TweetsOf {
    /// Whose.
    pub(crate) author_id: UserId,
    /// Also those that answer another tweet.
    pub(crate) with_replies: bool,
    /// Also those that only repeat another tweet.
    pub(crate) with_retweets: bool,
}

/// The service's storage.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
    journal: Journal,
    /// Told when there may be more of an author's tweets to settle.
    pub(crate) unsettled: Arc<Notify>,
}

const IS_FOR_ALL: &str = is_for_all!();

fn stream(tweet_id: TweetId) -> String {
    format!("tweet/{tweet_id}")
}

impl Store {
    /// The store on a migrated database.
    pub(crate) fn new(database: Database) -> Self {
        let unsettled = Arc::new(Notify::new());
        let projection = Arc::new(TweetProjection::new(unsettled.clone()));
        let journal = Journal::new(NAME, database.clone(), projection);
        Self { database, journal, unsettled }
    }

    /// The service's events and tables.
    pub(crate) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Makes a tweet public. Refused with [`Error::NoSuchReference`] when what it answers or
    /// quotes has gone or was hidden meanwhile, with [`Error::Duplicate`] when the author has
    /// just said the same, and with [`Error::AccountGone`] when there is no such author any more.
    pub(crate) async fn post(&self, posted: &TweetPosted) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        if is_gone(&mut transaction, posted.author_id).await? {
            return Err(Error::AccountGone(posted.author_id));
        }
        if let Some(TweetRef { tweet_id, .. }) = posted.replied_to {
            let found = State::find(&mut transaction, tweet_id).await?;
            if found.is_none_or(|tweet| tweet.hidden) {
                return Err(Error::NoSuchReference { quoted: false, tweet_id });
            }
        }
        if let Some(TweetRef { tweet_id, .. }) = posted.quoted
            && State::find(&mut transaction, tweet_id).await?.is_none()
        {
            return Err(Error::NoSuchReference { quoted: true, tweet_id });
        }
        if is_duplicate(&mut transaction, posted).await? {
            return Err(Error::Duplicate);
        }
        let stream = stream(posted.tweet_id);
        let event = TweetEvent::Posted(posted.clone());
        self.journal.record(&mut transaction, &stream, 0, &event, posted.created_at).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes a tweet back. Nothing happens when it is not there (any more), so that a client that
    /// lost the answer may repeat itself. Refused with [`Error::NotTheAuthor`] when it is somebody
    /// else's and with [`Error::IsRetweet`] when it is a retweet.
    pub(crate) async fn delete(
        &self,
        id: TweetId,
        author_id: UserId,
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        if is_gone(&mut transaction, author_id).await? {
            return Err(Error::AccountGone(author_id));
        }
        let Some(tweet) = State::find(&mut transaction, id).await? else {
            return Ok(());
        };
        if tweet.author_id != author_id.as_i64() {
            return Err(Error::NotTheAuthor(id));
        }
        if let Some(original) = tweet.retweeted_id {
            let original = TweetId::from_i64(original).unwrap_or(id);
            return Err(Error::IsRetweet { author_id, original });
        }
        let event = TweetEvent::Deleted(TweetDeleted { tweet_id: id, author_id, deleted_at: at });
        self.record(&mut transaction, id, &event, at).await?;
        Ok(transaction.commit().await?)
    }

    /// Hides a reply, or shows it again, as who began the conversation wants it. When it is so
    /// already, nothing happens.
    pub(crate) async fn set_hidden(
        &self,
        id: TweetId,
        by: UserId,
        hidden: bool,
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        let tweet = State::find(&mut transaction, id).await?.ok_or(Error::NotFound(id))?;
        let root = match TweetId::from_i64(tweet.conversation_id) {
            Some(root) => State::find(&mut transaction, root).await?,
            None => None,
        };
        let is_host = root.is_some_and(|root| root.author_id == by.as_i64());
        let is_reply = tweet.replied_to_id.is_some();
        if !is_host || !is_reply || tweet.author_id == by.as_i64() {
            return Err(Error::MayNotHide(id));
        }
        if tweet.hidden == hidden {
            return Ok(());
        }
        let change = tweet.visibility(by, at)?;
        let event = if hidden { TweetEvent::Hidden(change) } else { TweetEvent::Unhidden(change) };
        self.record(&mut transaction, id, &event, at).await?;
        Ok(transaction.commit().await?)
    }

    /// Leaves out all tweets of an author from now on.
    pub(crate) async fn hide_author(
        &self,
        transaction: &mut Transaction,
        user_id: UserId,
        at: Timestamp,
    ) -> Result<(), AppendError> {
        if is_gone(transaction, user_id).await? {
            return Ok(());
        }
        let event = TweetEvent::AuthorHidden(AuthorVisibility { user_id, at });
        self.record_author(transaction, user_id, &event, at).await
    }

    /// Shows them again, unless the account was deleted meanwhile.
    pub(crate) async fn unhide_author(
        &self,
        transaction: &mut Transaction,
        user_id: UserId,
        at: Timestamp,
    ) -> Result<(), AppendError> {
        let hidden = query("SELECT user_id FROM hidden_author WHERE user_id = $1")
            .bind(user_id)
            .fetch_optional::<(i64,)>(&mut *transaction)
            .await?;
        if hidden.is_none() {
            return Ok(());
        }
        let event = TweetEvent::AuthorUnhidden(AuthorVisibility { user_id, at });
        self.record_author(transaction, user_id, &event, at).await
    }

    async fn record_author(
        &self,
        transaction: &mut Transaction,
        user_id: UserId,
        event: &TweetEvent,
        at: Timestamp,
    ) -> Result<(), AppendError> {
        let stream = format!("author/{user_id}");
        let version = self.journal.version(transaction, &stream).await?;
        self.journal.record(transaction, &stream, version, event, at).await?;
        Ok(())
    }

    /// Whether the users service has told that an account was deleted.
    pub(crate) async fn is_deleted(
        &self,
        transaction: &mut Transaction,
        user_id: UserId,
    ) -> Result<bool, DatabaseError> {
        let deleted = query("SELECT user_id FROM account WHERE user_id = $1 AND username IS NULL")
            .bind(user_id)
            .fetch_optional::<(i64,)>(transaction)
            .await?;
        Ok(deleted.is_some())
    }

    /// Whether not all tweets of an author are settled yet.
    pub(crate) async fn is_unsettled(
        &self,
        transaction: &mut Transaction,
        user_id: UserId,
    ) -> Result<bool, DatabaseError> {
        let found = query("SELECT user_id FROM settling WHERE user_id = $1")
            .bind(user_id)
            .fetch_optional::<(i64,)>(transaction)
            .await?;
        Ok(found.is_some())
    }

    /// Settles some tweets of an author who has unsettled ones; whether there was one.
    pub(crate) async fn settle_some(&self, at: Timestamp) -> Result<bool, AppendError> {
        const NEXT: &str = "SELECT user_id FROM settling ORDER BY user_id LIMIT 1";
        if query(NEXT).fetch_optional::<(i64,)>(&self.database).await?.is_none() {
            return Ok(false);
        }
        let mut transaction = self.database.write().await?;
        let found = query(NEXT).fetch_optional::<(i64,)>(&mut transaction).await?;
        let Some(user_id) = found.and_then(|(user_id,)| UserId::from_i64(user_id)) else {
            return Ok(false);
        };
        let event = TweetEvent::AuthorSettled(AuthorVisibility { user_id, at });
        self.record_author(&mut transaction, user_id, &event, at).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Records what happens to a tweet that is there.
    async fn record(
        &self,
        transaction: &mut Transaction,
        id: TweetId,
        event: &TweetEvent,
        at: Timestamp,
    ) -> Result<(), Error> {
        let stream = stream(id);
        let version = self.journal.version(transaction, &stream).await?;
        self.journal.record(transaction, &stream, version, event, at).await?;
        Ok(())
    }

    /// Those of these tweets that are public, in any order.
    pub(crate) async fn by_ids(&self, ids: &[TweetId]) -> Result<Vec<Tweet>, DatabaseError> {
        let rows: Vec<Row> = query(format!(
            "{SELECT}
             WHERE t.tweet_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1)) AND {IS_FOR_ALL}"
        ))
        .bind(list(ids))
        .fetch_all(&self.database)
        .await?;
        rows.into_iter().map(Tweet::try_from).collect()
    }

    /// Tweets of one author, in the order of their ids.
    pub(crate) async fn tweets_of(
        &self,
        of: &TweetsOf,
        window: &Window,
    ) -> Result<Vec<Tweet>, DatabaseError> {
        let order = if window.newest_first { "DESC" } else { "ASC" };
        let rows: Vec<Row> = query(format!(
            "{SELECT}
             WHERE t.author_id = $1 AND t.tweet_id > $2 AND t.tweet_id < $3 AND {IS_FOR_ALL}
               AND ($4 OR t.replied_to_id IS NULL) AND ($5 OR t.retweeted_id IS NULL)
             ORDER BY t.tweet_id {order} LIMIT $6"
        ))
        .bind(of.author_id)
        .bind(window.above)
        .bind(window.below)
        .bind(of.with_replies)
        .bind(of.with_retweets)
        .bind(window.count_max)
        .fetch_all(&self.database)
        .await?;
        rows.into_iter().map(Tweet::try_from).collect()
    }

    /// The tweets that quote a tweet, in the order of their ids.
    pub(crate) async fn quotes_of(
        &self,
        tweet_id: TweetId,
        window: &Window,
        with_replies: bool,
    ) -> Result<Vec<TweetId>, DatabaseError> {
        let order = if window.newest_first { "DESC" } else { "ASC" };
        let rows: Vec<(i64,)> = query(format!(
            "SELECT t.tweet_id FROM tweet AS t
             WHERE t.quoted_id = $1 AND t.tweet_id > $2 AND t.tweet_id < $3 AND {IS_FOR_ALL}
               AND ($4 OR t.replied_to_id IS NULL)
             ORDER BY t.tweet_id {order} LIMIT $5"
        ))
        .bind(tweet_id)
        .bind(window.above)
        .bind(window.below)
        .bind(with_replies)
        .bind(window.count_max)
        .fetch_all(&self.database)
        .await?;
        Ok(rows.into_iter().filter_map(|(id,)| TweetId::from_i64(id)).collect())
    }

    /// How many tweets each of these users has; those without any are left out.
    pub(crate) async fn tweet_counts(
        &self,
        users: &[UserId],
    ) -> Result<Vec<(UserId, i64)>, DatabaseError> {
        let rows: Vec<(i64, i64)> = query(
            "SELECT user_id, tweet_count FROM author
             WHERE user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))
               AND NOT EXISTS (SELECT 1 FROM hidden_author AS h WHERE h.user_id = author.user_id)
             ORDER BY user_id",
        )
        .bind(list(users))
        .fetch_all(&self.database)
        .await?;
        let user = |(id, count)| Some((UserId::from_i64(id)?, count));
        Ok(rows.into_iter().filter_map(user).collect())
    }

    /// The largest id that any tweet has, for ids must go on growing.
    pub(crate) async fn last_id(&self) -> Result<Option<TweetId>, DatabaseError> {
        let (last,): (Option<i64>,) =
            query("SELECT max(tweet_id) FROM tweet").fetch_one(&self.database).await?;
        Ok(last.and_then(TweetId::from_i64))
    }
}

/// Whether the users service has told that an account was deleted, or the account is deactivated.
async fn is_gone(transaction: &mut Transaction, user_id: UserId) -> Result<bool, DatabaseError> {
    let (gone,) = query(
        "SELECT EXISTS (SELECT 1 FROM account WHERE user_id = $1 AND username IS NULL)
             OR EXISTS (SELECT 1 FROM hidden_author WHERE user_id = $1)",
    )
    .bind(user_id)
    .fetch_one::<(bool,)>(transaction)
    .await?;
    Ok(gone)
}

/// Whether the author has just said the same.
async fn is_duplicate(
    transaction: &mut Transaction,
    posted: &TweetPosted,
) -> Result<bool, DatabaseError> {
    let age_max = i64::try_from(DUPLICATE_AGE_MAX.as_micros()).unwrap_or(i64::MAX);
    // No id is negative, so -1 stands for none.
    let id = |reference: Option<TweetRef>| reference.map_or(-1, |to| to.tweet_id.as_i64());
    let (duplicate,) = query(
        "SELECT EXISTS (
             SELECT 1 FROM (
                 SELECT text, replied_to_id, quoted_id, retweeted_id, created_at FROM tweet
                 WHERE author_id = $1 ORDER BY tweet_id DESC LIMIT $2
             ) AS newest
             WHERE text = $3 AND coalesce(replied_to_id, -1) = $4 AND coalesce(quoted_id, -1) = $5
               AND retweeted_id IS NULL AND created_at > $6
         )",
    )
    .bind(posted.author_id)
    .bind(DUPLICATE_TWEETS_MAX)
    .bind(&posted.text)
    .bind(id(posted.replied_to))
    .bind(id(posted.quoted))
    .bind(posted.created_at.as_micros().saturating_sub(age_max))
    .fetch_one::<(bool,)>(transaction)
    .await?;
    Ok(duplicate)
}

impl State {
    /// The change of a reply's visibility.
    fn visibility(&self, by: UserId, at: Timestamp) -> Result<ReplyVisibility, DatabaseError> {
        let bad = || DatabaseError::Corrupt(format!("a bad column of the tweet {}", self.tweet_id));
        Ok(ReplyVisibility {
            tweet_id: TweetId::from_i64(self.tweet_id).ok_or_else(bad)?,
            author_id: UserId::from_i64(self.author_id).ok_or_else(bad)?,
            conversation_id: TweetId::from_i64(self.conversation_id).ok_or_else(bad)?,
            hidden_by: by,
            at,
        })
    }
}
