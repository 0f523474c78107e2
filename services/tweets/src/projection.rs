//! What the tables hold: a fold over the service's own events, over the accounts that there are,
//! and over retweets.

mod authors;
mod retweets;

use std::sync::Arc;

use async_trait::async_trait;
use pillion_chassis::sql::query;
use pillion_chassis::{
    ApplyError, DatabaseError, Projection, Recorded, Transaction, TweetId, UserId,
};
use pillion_events::{EngagementEvent, TweetEvent, TweetPosted, UserEvent};
use tokio::sync::Notify;

use crate::NAME;

/// The service that knows accounts.
const USERS: &str = "users";
/// The service that knows who retweets what.
const ENGAGEMENTS: &str = "engagements";

/// Tweets, how many each user has, and the handles for the texts of retweets.
#[derive(Debug)]
pub(crate) struct TweetProjection {
    unsettled: Arc<Notify>,
}

impl TweetProjection {
    /// Wakes who waits for this when there may be more of an author's tweets to settle.
    pub(crate) fn new(unsettled: Arc<Notify>) -> Self {
        Self { unsettled }
    }
}

#[async_trait]
impl Projection for TweetProjection {
    fn follows(&self) -> &'static [&'static str] {
        &[USERS, ENGAGEMENTS]
    }

    fn opens(&self) -> &'static [&'static str] {
        &[]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["tweet", "author", "account", "hidden_author", "settling"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        match (event.source.as_str(), event.name.as_str()) {
            (NAME, _) => own(transaction, event.decode()?).await?,
            (USERS, "user.registered" | "user.renamed" | "user.deleted") => {
                match event.decode()? {
                    UserEvent::Registered(event) => {
                        authors::registered(transaction, event.user_id, &event.username).await?;
                    }
                    UserEvent::Renamed(event) => {
                        authors::renamed(transaction, event.user_id, &event.username).await?;
                    }
                    UserEvent::Deleted(event) => {
                        authors::deleted(transaction, event.user_id).await?;
                    }
                    _ => {}
                }
            }
            (ENGAGEMENTS, "engagement.retweeted" | "engagement.unretweeted") => {
                match event.decode()? {
                    EngagementEvent::Retweeted(event) => {
                        retweets::added(transaction, &event).await?;
                    }
                    EngagementEvent::Unretweeted(event) => {
                        retweets::taken_back(transaction, event.retweet_id).await?;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn applied(&self, event: &Recorded) {
        let is_own = event.is_of(NAME) && event.name.starts_with("tweet.author_");
        if is_own || (event.is_of(USERS) && event.name == "user.deleted") {
            self.unsettled.notify_one();
        }
    }
}

async fn own(transaction: &mut Transaction, event: TweetEvent) -> Result<(), ApplyError> {
    match event {
        TweetEvent::Posted(event) => posted(transaction, &event).await,
        TweetEvent::Deleted(event) => Ok(deleted(transaction, event.tweet_id).await?),
        TweetEvent::Hidden(event) => Ok(set_hidden(transaction, event.tweet_id, true).await?),
        TweetEvent::Unhidden(event) => Ok(set_hidden(transaction, event.tweet_id, false).await?),
        TweetEvent::AuthorHidden(event) => Ok(authors::hide(transaction, event.user_id).await?),
        TweetEvent::AuthorUnhidden(event) => Ok(authors::unhide(transaction, event.user_id).await?),
        TweetEvent::AuthorSettled(event) => Ok(authors::settle(transaction, event.user_id).await?),
    }
}

/// A hidden author posts nothing, so that the tweet is counted.
async fn posted(transaction: &mut Transaction, event: &TweetPosted) -> Result<(), ApplyError> {
    let mentions = serde_json::to_string(&event.mentions).map_err(ApplyError::poison)?;
    let replied_to = event.replied_to.map(|to| to.tweet_id);
    let quoted = event.quoted.map(|to| to.tweet_id);
    count_references(transaction, replied_to.map(TweetId::as_i64), quoted.map(TweetId::as_i64), 1)
        .await?;
    query(
        "INSERT INTO tweet
             (tweet_id, author_id, text, conversation_id, replied_to_id, replied_to_author_id,
              quoted_id, quoted_author_id, mentions, reply_settings, client_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(event.tweet_id)
    .bind(event.author_id)
    .bind(&event.text)
    .bind(event.conversation_id)
    .bind(replied_to)
    .bind(event.replied_to.map(|to| to.author_id))
    .bind(quoted)
    .bind(event.quoted.map(|to| to.author_id))
    .bind(mentions)
    .bind(event.reply_settings.as_str())
    .bind(&event.client_id)
    .bind(event.created_at)
    .execute(&mut *transaction)
    .await?;
    Ok(count_tweet(transaction, event.author_id).await?)
}

/// Removes a tweet and its retweets.
async fn deleted(transaction: &mut Transaction, tweet_id: TweetId) -> Result<(), DatabaseError> {
    retweets::remove_of(transaction, tweet_id).await?;
    let pointed_at = query(
        "DELETE FROM tweet WHERE tweet_id = $1
         RETURNING author_id, replied_to_id, quoted_id, shown",
    )
    .bind(tweet_id)
    .fetch_optional::<(i64, Option<i64>, Option<i64>, bool)>(&mut *transaction)
    .await?;
    if let Some((author_id, replied_to, quoted, true)) = pointed_at {
        count_references(transaction, replied_to, quoted, -1).await?;
        uncount_tweet(transaction, author_id).await?;
    }
    Ok(())
}

async fn set_hidden(
    transaction: &mut Transaction,
    tweet_id: TweetId,
    hidden: bool,
) -> Result<(), DatabaseError> {
    query("UPDATE tweet SET hidden = $2 WHERE tweet_id = $1")
        .bind(tweet_id)
        .bind(hidden)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Adds to the counts of the tweets that a tweet points at. One that was deleted has none.
async fn count_references(
    transaction: &mut Transaction,
    replied_to: Option<i64>,
    quoted: Option<i64>,
    by: i64,
) -> Result<(), DatabaseError> {
    for (tweet_id, sql) in [
        (replied_to, "UPDATE tweet SET reply_count = reply_count + $2 WHERE tweet_id = $1"),
        (quoted, "UPDATE tweet SET quote_count = quote_count + $2 WHERE tweet_id = $1"),
    ] {
        if let Some(tweet_id) = tweet_id {
            query(sql).bind(tweet_id).bind(by).execute(&mut *transaction).await?;
        }
    }
    Ok(())
}

async fn count_tweet(transaction: &mut Transaction, author: UserId) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO author (user_id, tweet_count) VALUES ($1, 1)
         ON CONFLICT (user_id) DO UPDATE SET tweet_count = author.tweet_count + 1",
    )
    .bind(author)
    .execute(transaction)
    .await?;
    Ok(())
}

async fn uncount_tweet(transaction: &mut Transaction, author: i64) -> Result<(), DatabaseError> {
    for sql in [
        "UPDATE author SET tweet_count = tweet_count - 1 WHERE user_id = $1",
        "DELETE FROM author WHERE user_id = $1 AND tweet_count = 0",
    ] {
        query(sql).bind(author).execute(&mut *transaction).await?;
    }
    Ok(())
}
