//! The service's tables as a fold over what happens, and the waking of live streams.

use std::sync::Arc;

use async_trait::async_trait;
use pillion_chassis::{ApplyError, Projection, Recorded, Transaction};
use pillion_events::{EngagementEvent, GraphEvent, NotificationEvent, TweetEvent, UserEvent};

use crate::feeds::Feeds;
use crate::happened::Happened;
use crate::notice::Kind;
use crate::store::inbox;
use crate::store::relations::{self, Silence};

/// Keeps the inboxes.
#[derive(Debug)]
pub(crate) struct NotificationsProjection {
    feeds: Arc<Feeds>,
}

impl NotificationsProjection {
    /// Wakes these feeds.
    pub(crate) fn new(feeds: Arc<Feeds>) -> Self {
        Self { feeds }
    }
}

#[async_trait]
impl Projection for NotificationsProjection {
    fn follows(&self) -> &'static [&'static str] {
        &["tweets", "graph", "engagements", "users"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["notification", "mailbox", "silence", "follow", "account", "deleted_tweet"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        let Some(happened) = Happened::of(event)? else {
            return Ok(());
        };
        match &happened {
            Happened::Tweet(event) => tweet(transaction, event).await?,
            Happened::Graph(event) => graph(transaction, event).await?,
            Happened::Engagement(event) => engagement(transaction, event).await?,
            Happened::User(event) => user(transaction, event).await?,
            Happened::Own(NotificationEvent::Read(read)) => {
                inbox::mark_read(transaction, read.user_id, read.up_to).await?;
            }
        }
        for notice in happened.notices() {
            inbox::add(transaction, &notice, event.recorded_at).await?;
        }
        Ok(())
    }

    fn applied(&self, event: &Recorded) {
        if self.feeds.is_empty() {
            return;
        }
        // What cannot be read was not taken up either.
        if let Ok(Some(happened)) = Happened::of(event) {
            for recipient in happened.notices().iter().flat_map(|notice| &notice.recipients) {
                self.feeds.wake(*recipient);
            }
        }
    }
}

async fn tweet(transaction: &mut Transaction, event: &TweetEvent) -> Result<(), ApplyError> {
    if let TweetEvent::Deleted(deleted) = event {
        inbox::withdraw_tweet(transaction, deleted.tweet_id).await?;
    }
    Ok(())
}

async fn engagement(
    transaction: &mut Transaction,
    event: &EngagementEvent,
) -> Result<(), ApplyError> {
    match event {
        EngagementEvent::Unliked(like) => {
            inbox::withdraw_of(transaction, Kind::Like, like.user_id, like.tweet_id).await?;
        }
        EngagementEvent::Unretweeted(retweet) => {
            inbox::withdraw_of(transaction, Kind::Retweet, retweet.user_id, retweet.tweet_id)
                .await?;
        }
        _ => {}
    }
    Ok(())
}

async fn graph(transaction: &mut Transaction, event: &GraphEvent) -> Result<(), ApplyError> {
    let relation = event.relation();
    let (user_id, target_id) = (relation.user_id, relation.target_user_id);
    match event {
        GraphEvent::Followed(_) => relations::follow(transaction, user_id, target_id).await?,
        GraphEvent::Unfollowed(_) => {
            relations::unfollow(transaction, user_id, target_id).await?;
            inbox::withdraw_between(transaction, Kind::Follow, user_id, target_id).await?;
        }
        GraphEvent::FollowRequested(_) => {}
        GraphEvent::FollowRequestRemoved(_) => {
            inbox::withdraw_between(transaction, Kind::FollowRequest, user_id, target_id).await?;
        }
        GraphEvent::Blocked(_) => {
            relations::silence(transaction, user_id, target_id, Silence::Block).await?;
            inbox::withdraw_all(transaction, user_id, target_id).await?;
            inbox::withdraw_all(transaction, target_id, user_id).await?;
        }
        GraphEvent::Unblocked(_) => {
            relations::unsilence(transaction, user_id, target_id, Silence::Block).await?;
        }
        GraphEvent::Muted(_) => {
            relations::silence(transaction, user_id, target_id, Silence::Mute).await?;
            inbox::withdraw_all(transaction, user_id, target_id).await?;
        }
        GraphEvent::Unmuted(_) => {
            relations::unsilence(transaction, user_id, target_id, Silence::Mute).await?;
        }
    }
    Ok(())
}

async fn user(transaction: &mut Transaction, event: &UserEvent) -> Result<(), ApplyError> {
    match event {
        UserEvent::ProfileChanged(profile) => {
            // What was said to very many takes as long as it takes to withdraw.
            transaction.take_time().await?;
            relations::protect(transaction, profile.user_id, profile.protected).await?;
        }
        UserEvent::Deleted(deleted) => {
            // What was said to very many takes as long as it takes to withdraw.
            transaction.take_time().await?;
            inbox::delete(transaction, deleted.user_id).await?;
            relations::delete(transaction, deleted.user_id).await?;
        }
        UserEvent::Registered(_) => {}
    }
    Ok(())
}
