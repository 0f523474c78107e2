//! What an event tells, and to whom.

use pillion_chassis::{Recorded, UserId};
use pillion_events::{
    DecodeError, EngagementEvent, GraphEvent, NotificationEvent, TweetEvent, TweetPosted, UserEvent,
};

use crate::notice::{Kind, Notice};

/// An event that matters here.
#[derive(Debug)]
pub(crate) enum Happened {
    Tweet(TweetEvent),
    Graph(GraphEvent),
    Engagement(EngagementEvent),
    User(UserEvent),
    Own(NotificationEvent),
}

impl Happened {
    /// Reads an event; `None` if it does not matter here.
    pub(crate) fn of(event: &Recorded) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match event.name.as_str() {
            "tweet.posted" | "tweet.deleted" => Self::Tweet(event.decode()?),
            "engagement.liked"
            | "engagement.unliked"
            | "engagement.retweeted"
            | "engagement.unretweeted" => Self::Engagement(event.decode()?),
            "graph.followed"
            | "graph.unfollowed"
            | "graph.follow_requested"
            | "graph.follow_request_removed"
            | "graph.blocked"
            | "graph.unblocked"
            | "graph.muted"
            | "graph.unmuted" => Self::Graph(event.decode()?),
            "user.profile_changed" | "user.deleted" => Self::User(event.decode()?),
            "notification.read" => Self::Own(event.decode()?),
            _ => return Ok(None),
        }))
    }

    /// What it tells, and to whom; nobody is told of what they did themself. Who does not want
    /// to hear it, or may not, is among the recipients.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let notices = match self {
            Self::Tweet(TweetEvent::Posted(posted)) => posted_notices(posted),
            Self::Graph(GraphEvent::Followed(relation)) => vec![Notice {
                recipients: vec![relation.target_user_id],
                kind: Kind::Follow,
                actor_id: relation.user_id,
                tweet_id: None,
                created_at: relation.at,
            }],
            Self::Graph(GraphEvent::FollowRequested(relation)) => vec![Notice {
                recipients: vec![relation.target_user_id],
                kind: Kind::FollowRequest,
                actor_id: relation.user_id,
                tweet_id: None,
                created_at: relation.at,
            }],
            Self::Engagement(EngagementEvent::Liked(like)) => vec![Notice {
                recipients: vec![like.author_id],
                kind: Kind::Like,
                actor_id: like.user_id,
                tweet_id: Some(like.tweet_id),
                created_at: like.at,
            }],
            Self::Engagement(EngagementEvent::Retweeted(retweet)) => vec![Notice {
                recipients: vec![retweet.author_id],
                kind: Kind::Retweet,
                actor_id: retweet.user_id,
                tweet_id: Some(retweet.tweet_id),
                created_at: retweet.at,
            }],
            _ => Vec::new(),
        };
        notices.into_iter().filter_map(without_oneself).collect()
    }
}

/// Everyone whom a tweet concerns is told once: that it answers them, else that it quotes them,
/// else that it names them.
fn posted_notices(posted: &TweetPosted) -> Vec<Notice> {
    let mut told: Vec<UserId> = Vec::new();
    let mut notice = |kind, users: Vec<UserId>| {
        let mut recipients = Vec::new();
        for user in users {
            if !told.contains(&user) {
                told.push(user);
                recipients.push(user);
            }
        }
        Notice {
            recipients,
            kind,
            actor_id: posted.author_id,
            tweet_id: Some(posted.tweet_id),
            created_at: posted.created_at,
        }
    };
    vec![
        notice(Kind::Reply, posted.replied_to.iter().map(|to| to.author_id).collect()),
        notice(Kind::Quote, posted.quoted.iter().map(|quoted| quoted.author_id).collect()),
        notice(Kind::Mention, posted.mentions.iter().map(|mention| mention.user_id).collect()),
    ]
}

fn without_oneself(mut notice: Notice) -> Option<Notice> {
    let actor_id = notice.actor_id;
    notice.recipients.retain(|recipient| *recipient != actor_id);
    (!notice.recipients.is_empty()).then_some(notice)
}
