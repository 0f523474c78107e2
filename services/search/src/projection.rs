//! The index as a fold over events: tweets and retweets come and go, accounts change.
//!
//! Events of one service come in their order, those of different services in any. So a retweet
//! waits, without terms, for its tweet; and an account that is gone is remembered, for tweets of
//! it that are still on their way.
//!
//! What is too old for a recent search leaves with what comes in, so that the index is as large as
//! a week. A retweet of a tweet that has left stays without terms, and is not found.

use std::sync::Arc;

use async_trait::async_trait;
use pillion_chassis::ids::TIME_SHIFT;
use pillion_chassis::sql::query;
use pillion_chassis::{ApplyError, Projection, Recorded, Transaction, TweetId, UserId};
use pillion_events::{EngagementEvent, Retweet, TweetDeleted, TweetEvent, TweetPosted, UserEvent};

use crate::document::{terms_of_retweet, terms_of_tweet};
use crate::live::Live;

const TWEETS: &str = "tweets";
const USERS: &str = "users";
const ENGAGEMENTS: &str = "engagements";
/// The events that make documents, which streams wait for.
const POSTED: &str = "tweet.posted";
const RETWEETED: &str = "engagement.retweeted";

/// By how much a document is older than the newest when it may leave: the seven days of a recent
/// search, and an hour for clocks that differ.
const AGE_MAX_MS: i64 = (7 * 24 + 1) * 3_600_000;
/// How many may leave when one comes. More than one, so that an index that was larger shrinks; few,
/// so that none is long in coming.
const PRUNED_MAX: u32 = 8;

/// The tables `account` and `document`.
#[derive(Debug)]
pub(crate) struct SearchProjection {
    live: Arc<Live>,
}

impl SearchProjection {
    /// New documents are made known to the streams.
    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self { live }
    }
}

#[async_trait]
impl Projection for SearchProjection {
    fn follows(&self) -> &'static [&'static str] {
        &[TWEETS, USERS, ENGAGEMENTS]
    }

    fn opens(&self) -> &'static [&'static str] {
        &[TWEETS]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["document", "account"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        match (event.source.as_str(), event.name.as_str()) {
            (TWEETS, POSTED | "tweet.deleted") => match event.decode()? {
                TweetEvent::Posted(posted) => post(transaction, &posted).await,
                TweetEvent::Deleted(TweetDeleted { tweet_id, .. }) => {
                    delete_tweet(transaction, tweet_id).await
                }
                _ => Ok(()),
            },
            (ENGAGEMENTS, RETWEETED | "engagement.unretweeted") => match event.decode()? {
                EngagementEvent::Retweeted(repeated) => retweet(transaction, &repeated).await,
                EngagementEvent::Unretweeted(Retweet { retweet_id, .. }) => {
                    delete_document(transaction, retweet_id).await
                }
                _ => Ok(()),
            },
            (
                USERS,
                "user.registered"
                | "user.profile_changed"
                | "user.renamed"
                | "user.deactivated"
                | "user.reactivated"
                | "user.deleted",
            ) => user(transaction, event.decode()?).await,
            _ => Ok(()),
        }
    }

    fn is_live(&self) -> bool {
        true
    }

    fn applied(&self, event: &Recorded) {
        if !self.live.has_readers() {
            return;
        }
        let id = match (event.source.as_str(), event.name.as_str()) {
            (TWEETS, POSTED) => match event.decode() {
                Ok(TweetEvent::Posted(posted)) => posted.tweet_id,
                _ => return,
            },
            (ENGAGEMENTS, RETWEETED) => match event.decode() {
                Ok(EngagementEvent::Retweeted(retweet)) => retweet.retweet_id,
                _ => return,
            },
            _ => return,
        };
        self.live.arrived(id);
    }
}

async fn user(transaction: &mut Transaction, event: UserEvent) -> Result<(), ApplyError> {
    match event {
        UserEvent::Registered(user) => register(transaction, user.user_id, &user.username).await,
        UserEvent::ProfileChanged(user) => protect(transaction, user.user_id, user.protected).await,
        UserEvent::Renamed(user) => rename(transaction, user.user_id, &user.username).await,
        UserEvent::Deactivated(user) => set_hidden(transaction, user.user_id, true).await,
        UserEvent::Reactivated(user) => set_hidden(transaction, user.user_id, false).await,
        UserEvent::Deleted(user) => delete_user(transaction, user.user_id).await,
    }
}

async fn post(transaction: &mut Transaction, posted: &TweetPosted) -> Result<(), ApplyError> {
    if is_gone(transaction, posted.author_id).await? {
        return Ok(());
    }
    let terms = terms_of_tweet(posted);
    query("INSERT INTO document (id, author_id, terms) VALUES ($1, $2, $3)")
        .bind(posted.tweet_id)
        .bind(posted.author_id)
        .bind(&terms)
        .execute(&mut *transaction)
        .await?;
    // Retweets that came first.
    let waiting: Vec<(i64, i64)> =
        query("SELECT id, author_id FROM document WHERE retweeted_id = $1 AND terms = ''")
            .bind(posted.tweet_id)
            .fetch_all(&mut *transaction)
            .await?;
    for (id, user_id) in waiting {
        let (Some(retweet_id), Some(user_id)) = (TweetId::from_i64(id), UserId::from_i64(user_id))
        else {
            continue;
        };
        let retweet = Retweet {
            retweet_id,
            user_id,
            tweet_id: posted.tweet_id,
            author_id: posted.author_id,
            at: posted.created_at,
        };
        query("UPDATE document SET terms = $2 WHERE id = $1")
            .bind(id)
            .bind(terms_of_retweet(&terms, &retweet))
            .execute(&mut *transaction)
            .await?;
    }
    prune(transaction, posted.tweet_id).await
}

async fn retweet(transaction: &mut Transaction, retweet: &Retweet) -> Result<(), ApplyError> {
    if is_gone(transaction, retweet.user_id).await?
        || is_gone(transaction, retweet.author_id).await?
    {
        return Ok(());
    }
    let tweet: Option<(String,)> = query("SELECT terms FROM document WHERE id = $1")
        .bind(retweet.tweet_id)
        .fetch_optional(&mut *transaction)
        .await?;
    let terms = tweet.map(|(terms,)| terms_of_retweet(&terms, retweet)).unwrap_or_default();
    query(
        "INSERT INTO document (id, author_id, retweeted_id, retweeted_author_id, terms)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(retweet.retweet_id)
    .bind(retweet.user_id)
    .bind(retweet.tweet_id)
    .bind(retweet.author_id)
    .bind(terms)
    .execute(&mut *transaction)
    .await?;
    prune(transaction, retweet.retweet_id).await
}

/// Takes out some of what was too old when `newest` came: its id tells the time, no clock does, so
/// that a rebuild takes out the same.
async fn prune(transaction: &mut Transaction, newest: TweetId) -> Result<(), ApplyError> {
    query(
        "DELETE FROM document WHERE id IN
             (SELECT id FROM document WHERE id < $1 ORDER BY id LIMIT $2)",
    )
    .bind(newest.as_i64().saturating_sub(AGE_MAX_MS << TIME_SHIFT))
    .bind(PRUNED_MAX)
    .execute(transaction)
    .await?;
    Ok(())
}

async fn delete_tweet(transaction: &mut Transaction, id: TweetId) -> Result<(), ApplyError> {
    query("DELETE FROM document WHERE retweeted_id = $1")
        .bind(id)
        .execute(&mut *transaction)
        .await?;
    delete_document(transaction, id).await
}

async fn delete_document(transaction: &mut Transaction, id: TweetId) -> Result<(), ApplyError> {
    query("DELETE FROM document WHERE id = $1").bind(id).execute(transaction).await?;
    Ok(())
}

async fn register(
    transaction: &mut Transaction,
    user_id: UserId,
    username: &str,
) -> Result<(), ApplyError> {
    query(
        "INSERT INTO account (user_id, username, protected, deleted)
         VALUES ($1, $2, FALSE, FALSE)",
    )
    .bind(user_id)
    .bind(username.to_ascii_lowercase())
    .execute(transaction)
    .await?;
    Ok(())
}

async fn protect(
    transaction: &mut Transaction,
    user_id: UserId,
    protected: bool,
) -> Result<(), ApplyError> {
    query("UPDATE account SET protected = $2 WHERE user_id = $1")
        .bind(user_id)
        .bind(protected)
        .execute(transaction)
        .await?;
    Ok(())
}

/// An account that is gone has no handle any more.
async fn rename(
    transaction: &mut Transaction,
    user_id: UserId,
    username: &str,
) -> Result<(), ApplyError> {
    query("UPDATE account SET username = $2 WHERE user_id = $1 AND NOT deleted")
        .bind(user_id)
        .bind(username.to_ascii_lowercase())
        .execute(transaction)
        .await?;
    Ok(())
}

async fn set_hidden(
    transaction: &mut Transaction,
    user_id: UserId,
    hidden: bool,
) -> Result<(), ApplyError> {
    query("UPDATE account SET hidden = $2 WHERE user_id = $1")
        .bind(user_id)
        .bind(hidden)
        .execute(transaction)
        .await?;
    Ok(())
}

async fn delete_user(transaction: &mut Transaction, user_id: UserId) -> Result<(), ApplyError> {
    query(
        "UPDATE account SET username = NULL, protected = FALSE, hidden = FALSE, deleted = TRUE
         WHERE user_id = $1",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    query("DELETE FROM document WHERE retweeted_author_id = $1")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    query("DELETE FROM document WHERE author_id = $1")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

async fn is_gone(transaction: &mut Transaction, user_id: UserId) -> Result<bool, ApplyError> {
    let account: Option<(bool,)> = query("SELECT deleted FROM account WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional(transaction)
        .await?;
    Ok(account.is_some_and(|(deleted,)| deleted))
}
