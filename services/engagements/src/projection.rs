//! The tables as a fold over this service's events and those of the tweets and users services.

pub(crate) mod accounts;

use std::sync::Arc;

use async_trait::async_trait;
use pillion_chassis::sql::query;
use pillion_chassis::{ApplyError, DatabaseError, Projection, Recorded, Transaction, TweetId};
use pillion_events::{Engagement, EngagementEvent, Retweet, TweetEvent};
use tokio::sync::Notify;

use crate::NAME;
use crate::accounts::USERS;
use crate::store::Kind;
use crate::tweet::TWEETS;

/// What makes the tables.
#[derive(Debug)]
pub(crate) struct Tables {
    unsettled: Arc<Notify>,
}

impl Tables {
    /// Wakes who waits for this when there may be more of an account to settle.
    pub(crate) fn new(unsettled: Arc<Notify>) -> Self {
        Self { unsettled }
    }
}

#[async_trait]
impl Projection for Tables {
    fn follows(&self) -> &'static [&'static str] {
        &[TWEETS, USERS]
    }

    fn opens(&self) -> &'static [&'static str] {
        &[]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["engagement", "tweet_count", "user_count", "deleted_tweet", "account", "settling"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        match event.name.as_str() {
            "tweet.deleted" if event.is_of(TWEETS) => {
                if let TweetEvent::Deleted(deleted) = event.decode()? {
                    delete_tweet(transaction, deleted.tweet_id).await?;
                }
            }
            "user.registered"
            | "user.profile_changed"
            | "user.deactivated"
            | "user.reactivated"
            | "user.deleted"
                if event.is_of(USERS) =>
            {
                accounts::apply(transaction, event.decode()?).await?;
            }
            _ if event.is_of(NAME) => {
                apply_engagement(transaction, &event.decode()?, event.position).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn applied(&self, event: &Recorded) {
        let name = event.name.as_str();
        let of_user = matches!(name, "user.deactivated" | "user.reactivated" | "user.deleted");
        if of_user && event.is_of(USERS)
            || name == "engagement.account_settled" && event.is_of(NAME)
        {
            self.unsettled.notify_one();
        }
    }
}

async fn apply_engagement(
    transaction: &mut Transaction,
    event: &EngagementEvent,
    position: i64,
) -> Result<(), DatabaseError> {
    match event {
        EngagementEvent::Liked(event) => {
            begin(transaction, Kind::Like, event, None, position).await
        }
        EngagementEvent::Unliked(event) => end(transaction, Kind::Like, event).await,
        EngagementEvent::Bookmarked(event) => {
            begin(transaction, Kind::Bookmark, event, None, position).await
        }
        EngagementEvent::Unbookmarked(event) => end(transaction, Kind::Bookmark, event).await,
        EngagementEvent::Retweeted(event) => {
            let retweet_id = Some(event.retweet_id);
            begin(transaction, Kind::Retweet, &engagement(event), retweet_id, position).await
        }
        EngagementEvent::Unretweeted(event) => {
            end(transaction, Kind::Retweet, &engagement(event)).await
        }
        EngagementEvent::AccountSettled(event) => {
            accounts::settle(transaction, event.user_id).await
        }
    }
}

/// A retweet without its own id.
fn engagement(retweet: &Retweet) -> Engagement {
    let Retweet { user_id, tweet_id, author_id, at, .. } = *retweet;
    Engagement { user_id, tweet_id, author_id, at }
}

async fn begin(
    transaction: &mut Transaction,
    kind: Kind,
    event: &Engagement,
    retweet_id: Option<TweetId>,
    position: i64,
) -> Result<(), DatabaseError> {
    let begun = query(
        "INSERT INTO engagement
             (user_id, tweet_id, kind, author_id, position, retweet_id, shown)
         VALUES ($1, $2, $3, $4, $5, $6,
                 NOT EXISTS (SELECT 1 FROM account WHERE user_id IN ($1, $4) AND hidden))
         ON CONFLICT DO NOTHING
         RETURNING shown",
    )
    .bind(event.user_id)
    .bind(event.tweet_id)
    .bind(kind.as_str())
    .bind(event.author_id)
    .bind(position)
    .bind(retweet_id)
    .fetch_optional::<(bool,)>(&mut *transaction)
    .await?;
    if begun != Some((true,)) {
        return Ok(());
    }
    query(
        "INSERT INTO tweet_count (tweet_id, kind, total) VALUES ($1, $2, 1)
         ON CONFLICT (tweet_id, kind) DO UPDATE SET total = tweet_count.total + 1",
    )
    .bind(event.tweet_id)
    .bind(kind.as_str())
    .execute(&mut *transaction)
    .await?;
    if kind == Kind::Like {
        query(
            "INSERT INTO user_count (user_id, like_count) VALUES ($1, 1)
             ON CONFLICT (user_id) DO UPDATE SET like_count = user_count.like_count + 1",
        )
        .bind(event.user_id)
        .execute(transaction)
        .await?;
    }
    Ok(())
}

async fn end(
    transaction: &mut Transaction,
    kind: Kind,
    event: &Engagement,
) -> Result<(), DatabaseError> {
    let ended = query(
        "DELETE FROM engagement WHERE user_id = $1 AND tweet_id = $2 AND kind = $3
         RETURNING shown",
    )
    .bind(event.user_id)
    .bind(event.tweet_id)
    .bind(kind.as_str())
    .fetch_optional::<(bool,)>(&mut *transaction)
    .await?;
    if ended != Some((true,)) {
        return Ok(());
    }
    query("UPDATE tweet_count SET total = total - 1 WHERE tweet_id = $1 AND kind = $2")
        .bind(event.tweet_id)
        .bind(kind.as_str())
        .execute(&mut *transaction)
        .await?;
    if kind == Kind::Like {
        query("UPDATE user_count SET like_count = like_count - 1 WHERE user_id = $1")
            .bind(event.user_id)
            .execute(transaction)
            .await?;
    }
    Ok(())
}

/// Ends all that was done with the tweet, or the one retweet whose id it is, and lets nothing
/// begin any more.
async fn delete_tweet(
    transaction: &mut Transaction,
    tweet_id: TweetId,
) -> Result<(), DatabaseError> {
    for statement in [
        "UPDATE user_count SET like_count = like_count - 1 WHERE user_id IN
             (SELECT user_id FROM engagement WHERE tweet_id = $1 AND kind = 'like' AND shown)",
        "UPDATE tweet_count SET total = total - 1 WHERE kind = 'retweet' AND tweet_id IN
             (SELECT tweet_id FROM engagement WHERE retweet_id = $1 AND shown)",
        "DELETE FROM tweet_count WHERE tweet_id = $1",
        "DELETE FROM engagement WHERE tweet_id = $1",
        "DELETE FROM engagement WHERE retweet_id = $1",
        "INSERT INTO deleted_tweet (tweet_id) VALUES ($1) ON CONFLICT DO NOTHING",
    ] {
        query(statement).bind(tweet_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
