//! The tables as a fold over this service's events and those of the tweets and users services.

use async_trait::async_trait;
use pillion_chassis::sql::query;
use pillion_chassis::{
    ApplyError, DatabaseError, Projection, Recorded, Transaction, TweetId, UserId,
};
use pillion_events::{Engagement, EngagementEvent, Retweet, TweetEvent, UserEvent};

use crate::NAME;
use crate::accounts::USERS;
use crate::store::Kind;
use crate::tweet::TWEETS;

/// What makes the tables.
#[derive(Debug)]
pub(crate) struct Tables;

#[async_trait]
impl Projection for Tables {
    fn follows(&self) -> &'static [&'static str] {
        &[TWEETS, USERS]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["engagement", "tweet_count", "user_count", "deleted_tweet", "account"]
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
            "user.registered" | "user.profile_changed" | "user.deleted" if event.is_of(USERS) => {
                apply_user(transaction, event.decode()?).await?;
            }
            _ if event.is_of(NAME) => {
                apply_engagement(transaction, &event.decode()?, event.position).await?;
            }
            _ => {}
        }
        Ok(())
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
        "INSERT INTO engagement (user_id, tweet_id, kind, author_id, position, retweet_id)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(event.user_id)
    .bind(event.tweet_id)
    .bind(kind.as_str())
    .bind(event.author_id)
    .bind(position)
    .bind(retweet_id)
    .execute(&mut *transaction)
    .await?;
    if begun == 0 {
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
    let ended = query("DELETE FROM engagement WHERE user_id = $1 AND tweet_id = $2 AND kind = $3")
        .bind(event.user_id)
        .bind(event.tweet_id)
        .bind(kind.as_str())
        .execute(&mut *transaction)
        .await?;
    if ended == 0 {
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
             (SELECT user_id FROM engagement WHERE tweet_id = $1 AND kind = 'like')",
        "UPDATE tweet_count SET total = total - 1 WHERE kind = 'retweet' AND tweet_id IN
             (SELECT tweet_id FROM engagement WHERE retweet_id = $1)",
        "DELETE FROM tweet_count WHERE tweet_id = $1",
        "DELETE FROM engagement WHERE tweet_id = $1",
        "DELETE FROM engagement WHERE retweet_id = $1",
        "INSERT INTO deleted_tweet (tweet_id) VALUES ($1) ON CONFLICT DO NOTHING",
    ] {
        query(statement).bind(tweet_id).execute(&mut *transaction).await?;
    }
    Ok(())
}

async fn apply_user(transaction: &mut Transaction, event: UserEvent) -> Result<(), DatabaseError> {
    match event {
        UserEvent::Registered(event) => {
            query(
                "INSERT INTO account (user_id, protected, deleted) VALUES ($1, FALSE, FALSE)
                 ON CONFLICT DO NOTHING",
            )
            .bind(event.user_id)
            .execute(transaction)
            .await?;
        }
        UserEvent::ProfileChanged(event) => {
            query(
                "INSERT INTO account (user_id, protected, deleted) VALUES ($1, $2, FALSE)
                 ON CONFLICT (user_id) DO UPDATE SET protected = excluded.protected",
            )
            .bind(event.user_id)
            .bind(event.protected)
            .execute(transaction)
            .await?;
        }
        UserEvent::Deleted(event) => delete_account(transaction, event.user_id).await?,
    }
    Ok(())
}

/// Ends all that the account did and all that was done with its tweets, and lets nothing begin
/// any more.
async fn delete_account(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    for statement in [
        "UPDATE tweet_count SET total = total - 1 WHERE (tweet_id, kind) IN
             (SELECT tweet_id, kind FROM engagement WHERE user_id = $1)",
        "UPDATE user_count SET like_count = like_count -
             (SELECT count(*) FROM engagement WHERE engagement.user_id = user_count.user_id
                AND engagement.kind = 'like' AND engagement.author_id = $1)
         WHERE user_id IN
             (SELECT user_id FROM engagement WHERE author_id = $1 AND kind = 'like')",
        "DELETE FROM tweet_count WHERE tweet_id IN
             (SELECT tweet_id FROM engagement WHERE author_id = $1)",
        "DELETE FROM user_count WHERE user_id = $1",
        "DELETE FROM engagement WHERE user_id = $1 OR author_id = $1",
        "INSERT INTO account (user_id, protected, deleted) VALUES ($1, FALSE, TRUE)
         ON CONFLICT (user_id) DO UPDATE SET protected = FALSE, deleted = TRUE",
    ] {
        query(statement).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
