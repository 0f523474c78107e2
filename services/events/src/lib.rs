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
mod tweets;
mod users;

pub use engagements::{Engagement, EngagementEvent, Retweet};
pub use event::{DecodeError, Event};
pub use graph::{GraphEvent, Relation};
pub use id::{ID_MAX, IdError, NotificationId, TweetId, UserId};
pub use notifications::{NotificationEvent, NotificationsRead};
pub use time::{TimeError, Timestamp};
pub use tweets::{
    Mention, ReplySettings, ReplyVisibility, TweetDeleted, TweetEvent, TweetPosted, TweetRef,
};
pub use users::{UserDeleted, UserEvent, UserProfileChanged, UserRegistered};
