//! The event contract: what services tell each other, as serde types without any I/O.
//!
//! Every event has a name (`tweet.posted`), a version of its wire form and a JSON object. The
//! wire form of a released version never changes: a new field that matters makes a new version,
//! and readers keep decoding the old ones, because an event log is kept for ever. A test per
//! event freezes its wire form.

mod engagements;
mod event;
mod graph;
mod id;
mod notifications;
mod time;
mod timelines;
mod tweets;
mod users;

pub use engagements::{AccountSettled, Engagement, EngagementEvent, Retweet};
pub use event::{DecodeError, Event, Personal};
pub use graph::{AccountHiding, GraphAccountEvent, GraphEvent, Relation};
pub use id::{ID_MAX, IdError, NotificationId, TweetId, UserId};
pub use notifications::{Inbox, NotificationEvent, NotificationsRead, RequestNotice};
pub use time::{TimeError, Timestamp};
pub use timelines::{TimelineChange, TimelineEvent};
pub use tweets::{
    AuthorVisibility, Mention, ReplySettings, ReplyVisibility, TweetDeleted, TweetEvent,
    TweetPosted, TweetRef,
};
pub use users::{
    UserDeactivated, UserDeleted, UserEvent, UserProfileChanged, UserReactivated, UserRegistered,
    UserRenamed,
};
