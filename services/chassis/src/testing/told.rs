//! Events of other services, with what is usual in them.

use pillion_events::{
    ReplySettings, Timestamp, TweetDeleted, TweetEvent, TweetId, TweetPosted, UserDeactivated,
    UserDeleted, UserEvent, UserId, UserProfileChanged, UserReactivated, UserRegistered,
    UserRenamed,
};

/// A user's id.
pub fn user(id: u64) -> UserId {
    UserId::new(id).expect("an id")
}

/// A tweet's id.
pub fn tweet(id: u64) -> TweetId {
    TweetId::new(id).expect("an id")
}

/// There is a new account.
pub fn registered(user_id: u64, username: &str, at: Timestamp) -> UserEvent {
    UserEvent::Registered(UserRegistered {
        user_id: user(user_id),
        username: username.to_owned(),
        name: username.to_owned(),
        description: None,
        location: None,
        url: None,
        created_at: at,
    })
}

/// An owner protects an account, or makes it public.
pub fn protected(user_id: u64, protected: bool, at: Timestamp) -> UserEvent {
    UserEvent::ProfileChanged(UserProfileChanged {
        user_id: user(user_id),
        name: "name".to_owned(),
        description: None,
        location: None,
        url: None,
        protected,
        changed_at: at,
    })
}

/// An account has another handle.
pub fn renamed(user_id: u64, from: &str, to: &str, at: Timestamp) -> UserEvent {
    UserEvent::Renamed(UserRenamed {
        user_id: user(user_id),
        username: to.to_owned(),
        previous_username: from.to_owned(),
        at,
    })
}

/// An account is deactivated.
pub fn deactivated(user_id: u64, at: Timestamp) -> UserEvent {
    UserEvent::Deactivated(UserDeactivated { user_id: user(user_id), at })
}

/// An account is back.
pub fn reactivated(user_id: u64, at: Timestamp) -> UserEvent {
    UserEvent::Reactivated(UserReactivated { user_id: user(user_id), at })
}

/// An account is gone.
pub fn user_deleted(user_id: u64, at: Timestamp) -> UserEvent {
    UserEvent::Deleted(UserDeleted { user_id: user(user_id), deleted_at: at })
}

/// A tweet that answers, quotes and mentions nobody.
pub fn posted(tweet_id: u64, author_id: u64, at: Timestamp) -> TweetPosted {
    TweetPosted {
        tweet_id: tweet(tweet_id),
        author_id: user(author_id),
        text: "hi".to_owned(),
        conversation_id: tweet(tweet_id),
        replied_to: None,
        quoted: None,
        mentions: Vec::new(),
        reply_settings: ReplySettings::Everyone,
        client_id: "web".to_owned(),
        created_at: at,
    }
}

/// A tweet is gone.
pub fn tweet_deleted(tweet_id: u64, author_id: u64, at: Timestamp) -> TweetEvent {
    let (tweet_id, author_id) = (tweet(tweet_id), user(author_id));
    TweetEvent::Deleted(TweetDeleted { tweet_id, author_id, deleted_at: at })
}
