//! What users do with tweets, as the engagements service records it.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, decode_as};
use crate::{Timestamp, TweetId, UserId};

/// One of the engagements service's events. Its stream is that of the user who does it:
/// `user/12`. The tweet is never a retweet: what is done with a retweet is done with its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngagementEvent {
    /// The user likes the tweet.
    Liked(Engagement),
    /// The user does not like it any more.
    Unliked(Engagement),
    /// The user keeps the tweet among the bookmarks, which nobody else sees.
    Bookmarked(Engagement),
    /// The user does not keep it any more.
    Unbookmarked(Engagement),
    /// The user shows the tweet to their followers.
    Retweeted(Retweet),
    /// The user takes that back.
    Unretweeted(Retweet),
    /// Some more of what the user did, and of what others did with the user's tweets, counts, does
    /// not count, or is gone, as the account's return or going wants it.
    AccountSettled(AccountSettled),
}

/// Who, and with which tweet. The wire form of likes and bookmarks, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engagement {
    /// Who does it.
    pub user_id: UserId,
    /// With which tweet.
    pub tweet_id: TweetId,
    /// Who wrote the tweet.
    pub author_id: UserId,
    /// When.
    pub at: Timestamp,
}

/// Who retweets which tweet. The wire form of retweets, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retweet {
    /// The retweet's own id, which is a tweet's id as well.
    pub retweet_id: TweetId,
    /// Who does it.
    pub user_id: UserId,
    /// The tweet that is retweeted.
    pub tweet_id: TweetId,
    /// Who wrote that tweet.
    pub author_id: UserId,
    /// When.
    pub at: Timestamp,
}

/// `engagement.account_settled`, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSettled {
    /// Whose account.
    pub user_id: UserId,
    /// When.
    pub at: Timestamp,
}

impl Event for EngagementEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Liked(_) => "engagement.liked",
            Self::Unliked(_) => "engagement.unliked",
            Self::Bookmarked(_) => "engagement.bookmarked",
            Self::Unbookmarked(_) => "engagement.unbookmarked",
            Self::Retweeted(_) => "engagement.retweeted",
            Self::Unretweeted(_) => "engagement.unretweeted",
            Self::AccountSettled(_) => "engagement.account_settled",
        }
    }

    fn version(&self) -> u16 {
        1
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Liked(event)
            | Self::Unliked(event)
            | Self::Bookmarked(event)
            | Self::Unbookmarked(event) => serde_json::to_string(event),
            Self::Retweeted(event) | Self::Unretweeted(event) => serde_json::to_string(event),
            Self::AccountSettled(event) => serde_json::to_string(event),
        }
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        match (name, version) {
            ("engagement.liked", 1) => decode_as(name, version, data).map(Self::Liked),
            ("engagement.unliked", 1) => decode_as(name, version, data).map(Self::Unliked),
            ("engagement.bookmarked", 1) => decode_as(name, version, data).map(Self::Bookmarked),
            ("engagement.unbookmarked", 1) => {
                decode_as(name, version, data).map(Self::Unbookmarked)
            }
            ("engagement.retweeted", 1) => decode_as(name, version, data).map(Self::Retweeted),
            ("engagement.unretweeted", 1) => decode_as(name, version, data).map(Self::Unretweeted),
            ("engagement.account_settled", 1) => {
                decode_as(name, version, data).map(Self::AccountSettled)
            }
            _ => Err(DecodeError::unknown(name, version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGAGEMENT: &str =
        r#"{"user_id":"12","tweet_id":"20","author_id":"13","at":"2026-07-01T10:00:01.000Z"}"#;
    const RETWEET: &str = r#"{"retweet_id":"21","user_id":"12","tweet_id":"20","author_id":"13","at":"2026-07-01T10:00:01.000Z"}"#;

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        let engagement = Engagement {
            user_id: UserId::new(12).unwrap(),
            tweet_id: TweetId::new(20).unwrap(),
            author_id: UserId::new(13).unwrap(),
            at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        };
        let Engagement { user_id, tweet_id, author_id, at } = engagement;
        let retweet_id = TweetId::new(21).unwrap();
        let retweet = Retweet { retweet_id, user_id, tweet_id, author_id, at };
        for (event, name, wire) in [
            (EngagementEvent::Liked(engagement), "engagement.liked", ENGAGEMENT),
            (EngagementEvent::Unliked(engagement), "engagement.unliked", ENGAGEMENT),
            (EngagementEvent::Bookmarked(engagement), "engagement.bookmarked", ENGAGEMENT),
            (EngagementEvent::Unbookmarked(engagement), "engagement.unbookmarked", ENGAGEMENT),
            (EngagementEvent::Retweeted(retweet), "engagement.retweeted", RETWEET),
            (EngagementEvent::Unretweeted(retweet), "engagement.unretweeted", RETWEET),
        ] {
            assert_eq!((event.name(), event.version()), (name, 1));
            assert_eq!(event.encode().unwrap(), wire);
            assert_eq!(EngagementEvent::decode(name, 1, wire).unwrap(), event);
        }
    }

    #[test]
    fn the_wire_form_of_accounts_stays_as_it_is() {
        const WIRE: &str = r#"{"user_id":"12","at":"2026-07-01T10:00:01.000Z"}"#;
        let user_id = UserId::new(12).unwrap();
        let at = "2026-07-01T10:00:01.000Z".parse().unwrap();
        let event = EngagementEvent::AccountSettled(AccountSettled { user_id, at });
        assert_eq!((event.name(), event.version()), ("engagement.account_settled", 1));
        assert_eq!(event.encode().unwrap(), WIRE);
        let decoded = EngagementEvent::decode("engagement.account_settled", 1, WIRE).unwrap();
        assert_eq!(decoded, event);
    }

    #[test]
    fn what_this_build_does_not_know_is_not_guessed() {
        for (name, version) in [("engagement.liked", 2), ("engagement.viewed", 1)] {
            let error = EngagementEvent::decode(name, version, ENGAGEMENT).unwrap_err();
            assert!(matches!(error, DecodeError::Unknown { .. }), "{error:?}");
        }
        let error = EngagementEvent::decode("engagement.retweeted", 1, ENGAGEMENT).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { version: 1, .. }), "{error:?}");
    }
}
