//! Tweets in `SQLite`.

use async_trait::async_trait;
use pillion_chassis::event_log::{self, AppendError};
use pillion_chassis::{Database, DatabaseError, Timestamp, TweetId, UserId};
use pillion_events::{ReplySettings, TweetDeleted, TweetEvent, TweetPosted, TweetRef};
use sqlx::SqliteConnection;
use sqlx::migrate::Migrator;

use super::{Store, TweetsOf};
use crate::error::Error;
use crate::tweet::Tweet;

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The store on the service's `SQLite` file.
#[derive(Debug)]
pub(crate) struct SqliteStore(Database);

impl SqliteStore {
    /// The store on a migrated database.
    pub(crate) fn new(database: Database) -> Self {
        Self(database)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    tweet_id: i64,
    author_id: i64,
    text: String,
    conversation_id: i64,
    replied_to_id: Option<i64>,
    replied_to_author_id: Option<i64>,
    quoted_id: Option<i64>,
    quoted_author_id: Option<i64>,
    reply_settings: String,
    client_id: String,
    created_at: i64,
    reply_count: i64,
    quote_count: i64,
}

impl TryFrom<Row> for Tweet {
    type Error = DatabaseError;

    fn try_from(row: Row) -> Result<Self, DatabaseError> {
        let bad = || DatabaseError::Corrupt(format!("a bad column of the tweet {}", row.tweet_id));
        let tweet = |id| TweetId::from_i64(id).ok_or_else(bad);
        let user = |id| UserId::from_i64(id).ok_or_else(bad);
        let reference = |tweet_id, author_id| match (tweet_id, author_id) {
            (None, None) => Ok(None),
            (Some(tweet_id), Some(author_id)) => {
                Ok(Some(TweetRef { tweet_id: tweet(tweet_id)?, author_id: user(author_id)? }))
            }
            _ => Err(bad()),
        };
        Ok(Self {
            reply_count: row.reply_count.try_into().map_err(|_| bad())?,
            quote_count: row.quote_count.try_into().map_err(|_| bad())?,
            posted: TweetPosted {
                tweet_id: tweet(row.tweet_id)?,
                author_id: user(row.author_id)?,
                conversation_id: tweet(row.conversation_id)?,
                replied_to: reference(row.replied_to_id, row.replied_to_author_id)?,
                quoted: reference(row.quoted_id, row.quoted_author_id)?,
                reply_settings: ReplySettings::from_name(&row.reply_settings).ok_or_else(bad)?,
                client_id: row.client_id,
                created_at: Timestamp::from_micros(row.created_at),
                text: row.text,
            },
        })
    }
}

/// A list as one bound value, which `json_each` takes apart: a statement for any number of ids.
fn json_list<T: Into<serde_json::Value>>(values: impl Iterator<Item = T>) -> String {
    values.collect::<serde_json::Value>().to_string()
}

fn stream(tweet_id: TweetId) -> String {
    format!("tweet/{tweet_id}")
}

#[async_trait]
impl Store for SqliteStore {
    async fn post(&self, posted: &TweetPosted) -> Result<(), Error> {
        let mut transaction = self.0.write().await?;
        for (key, reference) in
            [("reply.in_reply_to_tweet_id", posted.replied_to), ("quote_tweet_id", posted.quoted)]
        {
            if let Some(TweetRef { tweet_id, .. }) = reference
                && find(&mut transaction, tweet_id).await?.is_none()
            {
                return Err(Error::NoSuchReference { key, tweet_id });
            }
        }
        apply_posted(&mut transaction, posted).await?;
        let event = TweetEvent::Posted(posted.clone());
        let stream = stream(posted.tweet_id);
        event_log::append(&mut transaction, &stream, 0, &event, posted.created_at).await?;
        transaction.commit().await.map_err(AppendError::from)?;
        Ok(())
    }

    async fn delete(&self, id: TweetId, author_id: UserId, at: Timestamp) -> Result<(), Error> {
        let mut transaction = self.0.write().await?;
        let (author, version) = find(&mut transaction, id).await?.ok_or(Error::NotFound(id))?;
        if author != author_id {
            return Err(Error::NotTheAuthor(id));
        }
        let event = TweetDeleted { tweet_id: id, author_id, deleted_at: at };
        apply_deleted(&mut transaction, &event).await?;
        let event = TweetEvent::Deleted(event);
        event_log::append(&mut transaction, &stream(id), version, &event, at).await?;
        transaction.commit().await.map_err(AppendError::from)?;
        Ok(())
    }

    async fn by_ids(&self, ids: &[TweetId]) -> Result<Vec<Tweet>, DatabaseError> {
        let ids = json_list(ids.iter().map(|id| id.as_i64()));
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT tweet_id, author_id, text, conversation_id, replied_to_id,
                    replied_to_author_id, quoted_id, quoted_author_id, reply_settings, client_id,
                    created_at, reply_count, quote_count
             FROM tweet WHERE tweet_id IN (SELECT value FROM json_each(?))",
        )
        .bind(ids)
        .fetch_all(self.0.read())
        .await?;
        rows.into_iter().map(Tweet::try_from).collect()
    }

    async fn tweets_of(&self, list: &TweetsOf) -> Result<Vec<Tweet>, DatabaseError> {
        const LATEST_FIRST: &str =
            "SELECT tweet_id, author_id, text, conversation_id, replied_to_id,
                    replied_to_author_id, quoted_id, quoted_author_id, reply_settings, client_id,
                    created_at, reply_count, quote_count
             FROM tweet
             WHERE author_id = ? AND tweet_id > ? AND tweet_id < ? AND created_at >= ?
               AND created_at < ? AND (? OR replied_to_id IS NULL)
             ORDER BY tweet_id DESC LIMIT ?";
        const EARLIEST_FIRST: &str =
            "SELECT tweet_id, author_id, text, conversation_id, replied_to_id,
                    replied_to_author_id, quoted_id, quoted_author_id, reply_settings, client_id,
                    created_at, reply_count, quote_count
             FROM tweet
             WHERE author_id = ? AND tweet_id > ? AND tweet_id < ? AND created_at >= ?
               AND created_at < ? AND (? OR replied_to_id IS NULL)
             ORDER BY tweet_id ASC LIMIT ?";
        let rows: Vec<Row> =
            sqlx::query_as(if list.latest_first { LATEST_FIRST } else { EARLIEST_FIRST })
                .bind(list.author_id.as_i64())
                .bind(list.above_id)
                .bind(list.below_id)
                .bind(list.from)
                .bind(list.before)
                .bind(list.with_replies)
                .bind(list.count_max)
                .fetch_all(self.0.read())
                .await?;
        rows.into_iter().map(Tweet::try_from).collect()
    }

    async fn last_id(&self) -> Result<Option<TweetId>, DatabaseError> {
        let (last,): (Option<i64>,) =
            sqlx::query_as("SELECT max(tweet_id) FROM tweet").fetch_one(self.0.read()).await?;
        Ok(last.and_then(TweetId::from_i64))
    }
}

/// A public tweet's author and version.
async fn find(
    connection: &mut SqliteConnection,
    tweet_id: TweetId,
) -> Result<Option<(UserId, i64)>, AppendError> {
    let row: Option<(i64, i64)> =
        sqlx::query_as("SELECT author_id, version FROM tweet WHERE tweet_id = ?")
            .bind(tweet_id.as_i64())
            .fetch_optional(connection)
            .await?;
    Ok(row.and_then(|(author, version)| Some((UserId::from_i64(author)?, version))))
}

/// Makes the state what it is after `tweet.posted`.
async fn apply_posted(
    connection: &mut SqliteConnection,
    event: &TweetPosted,
) -> Result<(), AppendError> {
    let replied_to = event.replied_to.map(|to| to.tweet_id.as_i64());
    let quoted = event.quoted.map(|to| to.tweet_id.as_i64());
    count(connection, replied_to, quoted, 1).await?;
    sqlx::query(
        "INSERT INTO tweet
             (tweet_id, author_id, text, conversation_id, replied_to_id, replied_to_author_id,
              quoted_id, quoted_author_id, reply_settings, client_id, created_at, version)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
    )
    .bind(event.tweet_id.as_i64())
    .bind(event.author_id.as_i64())
    .bind(&event.text)
    .bind(event.conversation_id.as_i64())
    .bind(replied_to)
    .bind(event.replied_to.map(|to| to.author_id.as_i64()))
    .bind(quoted)
    .bind(event.quoted.map(|to| to.author_id.as_i64()))
    .bind(event.reply_settings.as_str())
    .bind(&event.client_id)
    .bind(event.created_at.as_micros())
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes the state what it is after `tweet.deleted`.
async fn apply_deleted(
    connection: &mut SqliteConnection,
    event: &TweetDeleted,
) -> Result<(), AppendError> {
    let pointed_at: Option<(Option<i64>, Option<i64>)> =
        sqlx::query_as("DELETE FROM tweet WHERE tweet_id = ? RETURNING replied_to_id, quoted_id")
            .bind(event.tweet_id.as_i64())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some((replied_to, quoted)) = pointed_at {
        count(connection, replied_to, quoted, -1).await?;
    }
    Ok(())
}

/// Adds to the counts of the tweets that a tweet points at. One that was deleted has none.
async fn count(
    connection: &mut SqliteConnection,
    replied_to: Option<i64>,
    quoted: Option<i64>,
    by: i64,
) -> Result<(), AppendError> {
    if let Some(tweet_id) = replied_to {
        sqlx::query("UPDATE tweet SET reply_count = reply_count + ? WHERE tweet_id = ?")
            .bind(by)
            .bind(tweet_id)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(tweet_id) = quoted {
        sqlx::query("UPDATE tweet SET quote_count = quote_count + ? WHERE tweet_id = ?")
            .bind(by)
            .bind(tweet_id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
