//! The service's tables as a fold over what happens, and the waking of live streams.

use std::sync::Arc;

use async_trait::async_trait;
use pillion_chassis::{ApplyError, Projection, Recorded, Transaction};
use pillion_events::{
    EngagementEvent, GraphEvent, Inbox, NotificationEvent, NotificationsRead, RequestNotice,
    TweetEvent, UserDeactivated, UserEvent, UserReactivated,
};

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

    fn opens(&self) -> &'static [&'static str] {
        &[]
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
            Happened::Graph(told) => graph(transaction, told, event.position).await?,
            Happened::Engagement(event) => engagement(transaction, event).await?,
            Happened::User(event) => user(transaction, event).await?,
            Happened::Own(event) => own(transaction, event).await?,
        }
        for notice in happened.notices() {
            inbox::add(transaction, &notice, event.recorded_at).await?;
        }
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
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

async fn own(transaction: &mut Transaction, event: &NotificationEvent) -> Result<(), ApplyError> {
    match *event {
        NotificationEvent::Read(NotificationsRead { user_id, up_to, .. }) => {
            inbox::mark_read(transaction, user_id, up_to).await?;
        }
        NotificationEvent::InboxCreated(Inbox { user_id, .. }) => {
            inbox::create(transaction, user_id).await?;
        }
        NotificationEvent::InboxDropped(Inbox { user_id, .. }) => {
            inbox::delete(transaction, user_id).await?;
        }
        // A new request takes the place of one whose end is still on its way.
        NotificationEvent::Requested(request) | NotificationEvent::Withdrawn(request) => {
            let RequestNotice { user_id, from_user_id, request_position, .. } = request;
            inbox::withdraw_requests(transaction, from_user_id, user_id, request_position).await?;
        }
    }
    Ok(())
}

async fn graph(
    transaction: &mut Transaction,
    event: &GraphEvent,
    position: i64,
) -> Result<(), ApplyError> {
    let relation = event.relation();
    let (user_id, target_id) = (relation.user_id, relation.target_user_id);
    match event {
        GraphEvent::Followed(_) => relations::follow(transaction, user_id, target_id).await?,
        GraphEvent::Unfollowed(_) => {
            relations::unfollow(transaction, user_id, target_id).await?;
            inbox::withdraw_follow(transaction, user_id, target_id).await?;
        }
        // The saga of the request tells its target.
        GraphEvent::FollowRequested(_) => {}
        GraphEvent::FollowRequestRemoved(_) => {
            inbox::withdraw_requests(transaction, user_id, target_id, position).await?;
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
        UserEvent::Deactivated(UserDeactivated { user_id, .. }) => {
            relations::set_deactivated(transaction, *user_id, true).await?;
        }
        UserEvent::Reactivated(UserReactivated { user_id, .. }) => {
            relations::set_deactivated(transaction, *user_id, false).await?;
        }
        UserEvent::Registered(_) | UserEvent::Renamed(_) => {}
    }
    Ok(())
}
