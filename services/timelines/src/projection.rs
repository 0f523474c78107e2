//! The service's tables as a fold over what happens to tweets, follows, retweets and accounts.

use std::sync::Arc;

use async_trait::async_trait;
use pillion_chassis::database::Transaction;
use pillion_chassis::event_log::Recorded;
use pillion_chassis::journal::{ApplyError, Projection};
use pillion_events::{EngagementEvent, GraphEvent, Retweet, TimelineEvent, TweetEvent, UserEvent};
use tokio::sync::Notify;

use crate::store::posts::Post;
use crate::store::{accounts, follows, mentions, posts, settling};
use crate::{Config, Limits, NAME};

/// Keeps the homes.
#[derive(Debug)]
pub(crate) struct TimelinesProjection {
    config: Config,
    limits: Limits,
    unsettled: Arc<Notify>,
}

impl TimelinesProjection {
    /// With these settings. Others make other tables, but the same timelines. Wakes who waits for
    /// `unsettled` when something may be left of a deleted account.
    pub(crate) fn new(config: Config, limits: Limits, unsettled: Arc<Notify>) -> Self {
        Self { config, limits, unsettled }
    }

    async fn tweet(
        &self,
        transaction: &mut Transaction,
        event: TweetEvent,
    ) -> Result<(), ApplyError> {
        match event {
            TweetEvent::Posted(posted) => {
                let post = Post::of(&posted);
                if posts::add(transaction, &post, self.config, self.limits).await? {
                    mentions::add(transaction, &posted).await?;
                }
            }
            TweetEvent::Deleted(deleted) => {
                posts::remove_tweet(transaction, deleted.tweet_id).await?;
                mentions::remove_tweet(transaction, deleted.tweet_id).await?;
            }
            // Hiding takes a reply out of its thread, not out of the homes. An author who is hidden
            // is hidden here by events of this service's own.
            TweetEvent::Hidden(_)
            | TweetEvent::Unhidden(_)
            | TweetEvent::AuthorHidden(_)
            | TweetEvent::AuthorUnhidden(_)
            | TweetEvent::AuthorSettled(_) => {}
        }
        Ok(())
    }

    async fn engagement(
        &self,
        transaction: &mut Transaction,
        event: EngagementEvent,
    ) -> Result<(), ApplyError> {
        match event {
            EngagementEvent::Retweeted(retweet) => {
                let post = Post::of_retweet(&retweet);
                posts::add(transaction, &post, self.config, self.limits).await?;
            }
            EngagementEvent::Unretweeted(Retweet { retweet_id, .. }) => {
                posts::remove_retweet(transaction, retweet_id).await?;
            }
            EngagementEvent::Liked(_)
            | EngagementEvent::Unliked(_)
            | EngagementEvent::Bookmarked(_)
            | EngagementEvent::Unbookmarked(_)
            | EngagementEvent::AccountSettled(_) => {}
        }
        Ok(())
    }

    async fn graph(
        &self,
        transaction: &mut Transaction,
        event: GraphEvent,
    ) -> Result<(), ApplyError> {
        let relation = *event.relation();
        let (user_id, target_id) = (relation.user_id, relation.target_user_id);
        match event {
            GraphEvent::Followed(_) => {
                follows::add(transaction, user_id, target_id, self.config, self.limits).await?;
            }
            GraphEvent::Unfollowed(_) => follows::remove(transaction, user_id, target_id).await?,
            // The graph ends the follows between the two with events of their own; until these come,
            // nobody is to see the other at home.
            GraphEvent::Blocked(_) => {
                follows::remove(transaction, user_id, target_id).await?;
                follows::remove(transaction, target_id, user_id).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

#[async_trait]
impl Projection for TimelinesProjection {
    fn follows(&self) -> &'static [&'static str] {
        &["tweets", "graph", "engagements", "users"]
    }

    fn opens(&self) -> &'static [&'static str] {
        &[]
    }

    fn tables(&self) -> &'static [&'static str] {
        &[
            "home",
            "mention",
            "post",
            "follow",
            "account",
            "hidden_user",
            "deleted_tweet",
            "settling",
        ]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        match event.name.as_str() {
            "tweet.posted" | "tweet.deleted" => self.tweet(transaction, event.decode()?).await,
            "engagement.retweeted" | "engagement.unretweeted" => {
                self.engagement(transaction, event.decode()?).await
            }
            "graph.followed" | "graph.unfollowed" | "graph.blocked" => {
                self.graph(transaction, event.decode()?).await
            }
            "user.registered" | "user.deleted" => user(transaction, event.decode()?).await,
            _ if event.is_of(NAME) => own(transaction, event.decode()?).await,
            _ => Ok(()),
        }
    }

    fn applied(&self, event: &Recorded) {
        if matches!(event.name.as_str(), "user.deleted" | "timeline.settled") {
            self.unsettled.notify_one();
        }
    }
}

async fn user(transaction: &mut Transaction, event: UserEvent) -> Result<(), ApplyError> {
    match event {
        UserEvent::Registered(registered) => {
            accounts::ensure(transaction, registered.user_id).await?;
        }
        UserEvent::Deleted(deleted) => accounts::delete(transaction, deleted.user_id).await?,
        _ => {}
    }
    Ok(())
}

async fn own(transaction: &mut Transaction, event: TimelineEvent) -> Result<(), ApplyError> {
    let user_id = event.change().user_id;
    match event {
        TimelineEvent::Provisioned(_) => {
            accounts::ensure(transaction, user_id).await?;
        }
        TimelineEvent::Dropped(_) => accounts::forget(transaction, user_id).await?,
        TimelineEvent::Hidden(_) => accounts::set_hidden(transaction, user_id, true).await?,
        TimelineEvent::Unhidden(_) => accounts::set_hidden(transaction, user_id, false).await?,
        TimelineEvent::Settled(_) => settling::settle(transaction, user_id).await?,
    }
    Ok(())
}
