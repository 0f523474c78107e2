//! What an event tells, and to whom.

use pillion_chassis::{Recorded, UserId};
use pillion_events::{
    DecodeError, EngagementEvent, GraphEvent, NotificationEvent, Relation, RequestNotice, Retweet,
    TweetEvent, TweetPosted, UserEvent,
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
            | "graph.follow_request_removed"
            | "graph.blocked"
            | "graph.unblocked"
            | "graph.muted"
            | "graph.unmuted" => Self::Graph(event.decode()?),
            "user.profile_changed" | "user.deactivated" | "user.reactivated" | "user.deleted" => {
                Self::User(event.decode()?)
            }
            "notification.read"
            | "notification.inbox_created"
            | "notification.inbox_dropped"
            | "notification.requested"
            | "notification.withdrawn" => Self::Own(event.decode()?),
            _ => return Ok(None),
        }))
    }

    /// What it tells, and to whom; nobody is told of what they did themself. Who does not want
    /// to hear it, or may not, is among the recipients.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let notices = match self {
            Self::Tweet(TweetEvent::Posted(posted)) => posted_notices(posted),
            Self::Graph(GraphEvent::Followed(Relation { user_id, target_user_id, at })) => {
                vec![Notice::of(Kind::Follow, *user_id, *target_user_id, None, *at)]
            }
            Self::Own(NotificationEvent::Requested(request)) => {
                let RequestNotice { user_id, from_user_id, request_position, at } = *request;
                let notice = Notice::of(Kind::FollowRequest, from_user_id, user_id, None, at);
                vec![Notice { request_position: Some(request_position), ..notice }]
            }
            Self::Engagement(EngagementEvent::Liked(like)) => {
                let tweet_id = Some(like.tweet_id);
                vec![Notice::of(Kind::Like, like.user_id, like.author_id, tweet_id, like.at)]
            }
            Self::Engagement(EngagementEvent::Retweeted(retweet)) => {
                let Retweet { user_id, tweet_id, author_id, at, .. } = *retweet;
                vec![Notice::of(Kind::Retweet, user_id, author_id, Some(tweet_id), at)]
            }
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
            request_position: None,
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
