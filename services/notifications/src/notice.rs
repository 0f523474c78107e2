//! A notification: what it says, and how callers see it.

use pillion_chassis::{Timestamp, TweetId, UserId};
use pillion_events::NotificationId;
use serde::Serialize;

/// What happened, in the API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Follow,
    FollowRequest,
    Mention,
    Reply,
    Like,
    Retweet,
    Quote,
}

/// The API's words.
pub(crate) const KINDS: [&str; 7] =
    ["follow", "follow_request", "mention", "reply", "like", "retweet", "quote"];

impl Kind {
    /// The API's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::FollowRequest => "follow_request",
            Self::Mention => "mention",
            Self::Reply => "reply",
            Self::Like => "like",
            Self::Retweet => "retweet",
            Self::Quote => "quote",
        }
    }

    /// Whether it is about a tweet or retweet of the actor's, which only those are to hear of who
    /// may see it.
    pub(crate) const fn is_of_actors_tweet(self) -> bool {
        matches!(self, Self::Mention | Self::Reply | Self::Retweet | Self::Quote)
    }

    /// Whether the actor can take it back and do it again, which is not news the second time.
    pub(crate) const fn can_be_repeated(self) -> bool {
        matches!(self, Self::Follow | Self::Like | Self::Retweet)
    }
}

/// The same thing told to some users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) recipients: Vec<UserId>,
    pub(crate) kind: Kind,
    pub(crate) actor_id: UserId,
    /// Of likes and retweets the recipient's tweet, of mentions, replies and quotes the new one.
    pub(crate) tweet_id: Option<TweetId>,
    /// Of requests to follow, where the request stands in the graph service's log.
    pub(crate) request_position: Option<i64>,
    pub(crate) created_at: Timestamp,
}

impl Notice {
    /// One user is told what another did with them or with a tweet of theirs.
    pub(crate) fn of(
        kind: Kind,
        actor_id: UserId,
        recipient: UserId,
        tweet_id: Option<TweetId>,
        created_at: Timestamp,
    ) -> Self {
        let recipients = vec![recipient];
        Self { recipients, kind, actor_id, tweet_id, request_position: None, created_at }
    }
}

/// A notification as callers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    pub(crate) id: NotificationId,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) created_at: Timestamp,
    pub(crate) read: bool,
    pub(crate) actor_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tweet_id: Option<TweetId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_word() {
        let kinds = [
            Kind::Follow,
            Kind::FollowRequest,
            Kind::Mention,
            Kind::Reply,
            Kind::Like,
            Kind::Retweet,
            Kind::Quote,
        ];
        assert_eq!(kinds.map(Kind::as_str), KINDS);
    }
}
