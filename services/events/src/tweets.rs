//! What happens to tweets, as the tweets service records it.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, decode_as};
use crate::{Timestamp, TweetId, UserId};

/// One of the tweets service's events. Its stream is the tweet's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TweetEvent {
    /// A tweet, a reply or a quote is public from now on.
    Posted(TweetPosted),
    /// Its author took it back.
    Deleted(TweetDeleted),
}

/// `tweet.posted`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TweetPosted {
    /// Which tweet.
    pub tweet_id: TweetId,
    /// Who wrote it.
    pub author_id: UserId,
    /// What it says, weighing at most 280.
    pub text: String,
    /// The tweet that began the thread; the tweet itself when it began one.
    pub conversation_id: TweetId,
    /// What it answers, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied_to: Option<TweetRef>,
    /// What it quotes, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<TweetRef>,
    /// Who may answer.
    pub reply_settings: ReplySettings,
    /// The id of the client that posted it.
    pub client_id: String,
    /// When it was posted.
    pub created_at: Timestamp,
}

/// A tweet that another one points at, with its author as of that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TweetRef {
    /// Which tweet.
    pub tweet_id: TweetId,
    /// Who wrote it.
    pub author_id: UserId,
}

/// Who may answer a tweet. The names are the API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ReplySettings {
    /// Anyone.
    #[default]
    #[serde(rename = "everyone")]
    Everyone,
    /// Those whom the tweet mentions.
    #[serde(rename = "mentionedUsers")]
    MentionedUsers,
    /// Those whom the author follows.
    #[serde(rename = "following")]
    Following,
}

impl ReplySettings {
    /// The API's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::MentionedUsers => "mentionedUsers",
            Self::Following => "following",
        }
    }

    /// The settings of the API's name; `None` when there are none of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Everyone, Self::MentionedUsers, Self::Following]
            .into_iter()
            .find(|settings| settings.as_str() == name)
    }
}

/// `tweet.deleted`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TweetDeleted {
    /// Which tweet.
    pub tweet_id: TweetId,
    /// Who wrote it.
    pub author_id: UserId,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

impl Event for TweetEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Posted(_) => "tweet.posted",
            Self::Deleted(_) => "tweet.deleted",
        }
    }

    fn version(&self) -> u16 {
        1
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Posted(event) => serde_json::to_string(event),
            Self::Deleted(event) => serde_json::to_string(event),
        }
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        match (name, version) {
            ("tweet.posted", 1) => decode_as(name, version, data).map(Self::Posted),
            ("tweet.deleted", 1) => decode_as(name, version, data).map(Self::Deleted),
            _ => Err(DecodeError::unknown(name, version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTED: &str = r#"{"tweet_id":"20","author_id":"12","text":"hi","conversation_id":"19","replied_to":{"tweet_id":"19","author_id":"13"},"reply_settings":"mentionedUsers","client_id":"web","created_at":"2026-07-01T10:00:01.000Z"}"#;
    const DELETED: &str =
        r#"{"tweet_id":"20","author_id":"12","deleted_at":"2026-07-02T10:00:01.000Z"}"#;

    fn both_ways(event: &TweetEvent, name: &str, wire: &str) {
        assert_eq!((event.name(), event.version()), (name, 1));
        assert_eq!(event.encode().unwrap(), wire);
        assert_eq!(TweetEvent::decode(name, 1, wire).unwrap(), *event);
    }

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        let tweet_id = TweetId::new(20).unwrap();
        let author_id = UserId::new(12).unwrap();
        let replied_to =
            TweetRef { tweet_id: TweetId::new(19).unwrap(), author_id: UserId::new(13).unwrap() };
        let posted = TweetEvent::Posted(TweetPosted {
            tweet_id,
            author_id,
            text: "hi".to_owned(),
            conversation_id: replied_to.tweet_id,
            replied_to: Some(replied_to),
            quoted: None,
            reply_settings: ReplySettings::MentionedUsers,
            client_id: "web".to_owned(),
            created_at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        });
        both_ways(&posted, "tweet.posted", POSTED);
        let deleted_at = "2026-07-02T10:00:01.000Z".parse().unwrap();
        let deleted = TweetEvent::Deleted(TweetDeleted { tweet_id, author_id, deleted_at });
        both_ways(&deleted, "tweet.deleted", DELETED);
    }

    #[test]
    fn what_this_build_does_not_know_is_not_guessed() {
        let error = TweetEvent::decode("user.deleted", 1, DELETED).unwrap_err();
        assert!(matches!(error, DecodeError::Unknown { .. }), "{error:?}");
    }

    #[test]
    fn reply_settings_have_the_same_name_everywhere() {
        for name in ["everyone", "mentionedUsers", "following"] {
            let settings = ReplySettings::from_name(name).unwrap();
            assert_eq!(serde_json::to_value(settings).unwrap(), name);
        }
        assert_eq!(ReplySettings::from_name("Everyone"), None);
    }
}
