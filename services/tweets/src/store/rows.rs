//! Rows, and the tweets that they stand for.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Timestamp, Transaction, TweetId, UserId};
use pillion_events::{Mention, ReplySettings, TweetPosted, TweetRef};

use crate::tweet::{Tweet, retweet_text};

/// Tweets, the text of retweets taken from what they repeat. A `WHERE` that says which, of the
/// table `t`, follows.
pub(super) const SELECT: &str = "
    SELECT t.tweet_id, t.author_id, coalesce(o.text, t.text) AS text, t.conversation_id,
           t.replied_to_id, t.replied_to_author_id, t.quoted_id, t.quoted_author_id,
           t.retweeted_id, t.retweeted_author_id, a.username AS retweeted_username,
           coalesce(o.mentions, t.mentions) AS mentions, t.reply_settings, t.client_id,
           t.created_at, coalesce(o.hidden, t.hidden) AS hidden, t.reply_count, t.quote_count
    FROM tweet AS t
    LEFT JOIN tweet AS o ON o.tweet_id = t.retweeted_id
    LEFT JOIN account AS a ON a.user_id = t.retweeted_author_id";

/// A row of [`SELECT`].
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    tweet_id: i64,
    author_id: i64,
    text: String,
    conversation_id: i64,
    replied_to_id: Option<i64>,
    replied_to_author_id: Option<i64>,
    quoted_id: Option<i64>,
    quoted_author_id: Option<i64>,
    retweeted_id: Option<i64>,
    retweeted_author_id: Option<i64>,
    retweeted_username: Option<String>,
    mentions: String,
    reply_settings: String,
    client_id: String,
    created_at: i64,
    hidden: bool,
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
        let retweeted = reference(row.retweeted_id, row.retweeted_author_id)?;
        let mut mentions: Vec<Mention> = serde_json::from_str(&row.mentions).map_err(|_| bad())?;
        // For a moment a handle may not be known here yet; the text then stands alone.
        let mut text = row.text;
        if let (Some(TweetRef { author_id, .. }), Some(username)) =
            (retweeted, row.retweeted_username)
        {
            text = retweet_text(&username, &text);
            mentions.insert(0, Mention { user_id: author_id, username });
        }
        Ok(Self {
            retweeted,
            hidden: row.hidden,
            reply_count: row.reply_count.try_into().map_err(|_| bad())?,
            quote_count: row.quote_count.try_into().map_err(|_| bad())?,
            posted: TweetPosted {
                tweet_id: tweet(row.tweet_id)?,
                author_id: user(row.author_id)?,
                text,
                conversation_id: tweet(row.conversation_id)?,
                replied_to: reference(row.replied_to_id, row.replied_to_author_id)?,
                quoted: reference(row.quoted_id, row.quoted_author_id)?,
                mentions,
                reply_settings: ReplySettings::from_name(&row.reply_settings).ok_or_else(bad)?,
                client_id: row.client_id,
                created_at: Timestamp::from_micros(row.created_at),
            },
        })
    }
}

/// What a change of a tweet is decided by.
#[derive(sqlx::FromRow)]
pub(super) struct State {
    pub(super) tweet_id: i64,
    pub(super) author_id: i64,
    pub(super) conversation_id: i64,
    pub(super) replied_to_id: Option<i64>,
    pub(super) retweeted_id: Option<i64>,
    pub(super) hidden: bool,
}

impl State {
    /// Of a public tweet.
    pub(super) async fn find(
        transaction: &mut Transaction,
        tweet_id: TweetId,
    ) -> Result<Option<Self>, DatabaseError> {
        query(concat!(
            "SELECT t.tweet_id, t.author_id, t.conversation_id, t.replied_to_id, t.retweeted_id,
                    t.hidden
             FROM tweet AS t WHERE t.tweet_id = $1 AND ",
            super::is_for_all!()
        ))
        .bind(tweet_id)
        .fetch_optional(transaction)
        .await
    }
}
