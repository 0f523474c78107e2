//! What happens to tweets, as the tweets service records it.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, Personal, decode_as};
use crate::{Timestamp, TweetId, UserId};

/// One of the tweets service's events. Its stream is the tweet's id, or for an event about all of
/// an author's tweets `author/12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TweetEvent {
    /// A tweet, a reply or a quote is public from now on.
    Posted(TweetPosted),
    /// Its author took it back.
    Deleted(TweetDeleted),
    /// Who began the conversation hid a reply in it.
    Hidden(ReplyVisibility),
    /// Who began the conversation shows a hidden reply again.
    Unhidden(ReplyVisibility),
    /// An author is deactivated: no tweet of theirs is shown, nor any retweet of one.
    AuthorHidden(AuthorVisibility),
    /// The author is back, and all of it with them.
    AuthorUnhidden(AuthorVisibility),
    /// Some more of an author's tweets are counted, or gone, as the author's return or going wants
    /// it.
    AuthorSettled(AuthorVisibility),
}

/// `tweet.posted`, version 2. Version 1 had no mentions: a tweet of that version mentions nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TweetPosted {
    /// Which tweet.
    pub tweet_id: TweetId,
    /// Who wrote it.
    pub author_id: UserId,
    /// What it says, weighing at most 280; empty once the author's account is erased.
    #[serde(default)]
    pub text: String,
    /// The tweet that began the thread; the tweet itself when it began one.
    pub conversation_id: TweetId,
    /// What it answers, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied_to: Option<TweetRef>,
    /// What it quotes, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<TweetRef>,
    /// Those whom the text names, in the order of the text and each once; handles of nobody are
    /// left out.
    pub mentions: Vec<Mention>,
    /// Who may answer.
    pub reply_settings: ReplySettings,
    /// The id of the client that posted it.
    pub client_id: String,
    /// When it was posted.
    pub created_at: Timestamp,
}

/// The first version of `tweet.posted`.
#[derive(Deserialize)]
struct PostedV1 {
    tweet_id: TweetId,
    author_id: UserId,
    text: String,
    conversation_id: TweetId,
    replied_to: Option<TweetRef>,
    quoted: Option<TweetRef>,
    reply_settings: ReplySettings,
    client_id: String,
    created_at: Timestamp,
}

impl PostedV1 {
    fn upcast(self) -> TweetPosted {
        TweetPosted {
            tweet_id: self.tweet_id,
            author_id: self.author_id,
            text: self.text,
            conversation_id: self.conversation_id,
            replied_to: self.replied_to,
            quoted: self.quoted,
            mentions: Vec::new(),
            reply_settings: self.reply_settings,
            client_id: self.client_id,
            created_at: self.created_at,
        }
    }
}

/// A tweet that another one points at, with its author as of that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TweetRef {
    /// Which tweet.
    pub tweet_id: TweetId,
    /// Who wrote it.
    pub author_id: UserId,
}

/// An account that a tweet names, as of the moment it was posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mention {
    /// Whose account.
    pub user_id: UserId,
    /// The handle, as its owner writes it.
    pub username: String,
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

/// `tweet.hidden` and `tweet.unhidden`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyVisibility {
    /// Which reply.
    pub tweet_id: TweetId,
    /// Who wrote the reply.
    pub author_id: UserId,
    /// The tweet that began the thread.
    pub conversation_id: TweetId,
    /// Who hid it or shows it again: the author of the thread's first tweet.
    pub hidden_by: UserId,
    /// When.
    pub at: Timestamp,
}

/// `tweet.author_hidden`, `tweet.author_unhidden` and `tweet.author_settled`, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorVisibility {
    /// Whose tweets.
    pub user_id: UserId,
    /// When.
    pub at: Timestamp,
}

impl Event for TweetEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Posted(_) => "tweet.posted",
            Self::Deleted(_) => "tweet.deleted",
            Self::Hidden(_) => "tweet.hidden",
            Self::Unhidden(_) => "tweet.unhidden",
            Self::AuthorHidden(_) => "tweet.author_hidden",
            Self::AuthorUnhidden(_) => "tweet.author_unhidden",
            Self::AuthorSettled(_) => "tweet.author_settled",
        }
    }

    fn version(&self) -> u16 {
        match self {
            Self::Posted(_) => 2,
            Self::Deleted(_)
            | Self::Hidden(_)
            | Self::Unhidden(_)
            | Self::AuthorHidden(_)
            | Self::AuthorUnhidden(_)
            | Self::AuthorSettled(_) => 1,
        }
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Posted(event) => serde_json::to_string(event),
            Self::Deleted(event) => serde_json::to_string(event),
            Self::Hidden(event) | Self::Unhidden(event) => serde_json::to_string(event),
            Self::AuthorHidden(event)
            | Self::AuthorUnhidden(event)
            | Self::AuthorSettled(event) => serde_json::to_string(event),
        }
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        match (name, version) {
            ("tweet.posted", 1) => {
                decode_as(name, version, data).map(|event: PostedV1| Self::Posted(event.upcast()))
            }
            ("tweet.posted", 2) => decode_as(name, version, data).map(Self::Posted),
            ("tweet.deleted", 1) => decode_as(name, version, data).map(Self::Deleted),
            ("tweet.hidden", 1) => decode_as(name, version, data).map(Self::Hidden),
            ("tweet.unhidden", 1) => decode_as(name, version, data).map(Self::Unhidden),
            ("tweet.author_hidden", 1) => decode_as(name, version, data).map(Self::AuthorHidden),
            ("tweet.author_unhidden", 1) => {
                decode_as(name, version, data).map(Self::AuthorUnhidden)
            }
            ("tweet.author_settled", 1) => decode_as(name, version, data).map(Self::AuthorSettled),
            _ => Err(DecodeError::unknown(name, version)),
        }
    }

    fn personal(&self) -> Option<Personal> {
        match self {
            Self::Posted(event) => Some(Personal { subject: event.author_id, fields: &["text"] }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTED_1: &str = r#"{"tweet_id":"20","author_id":"12","text":"hi @biz","conversation_id":"19","replied_to":{"tweet_id":"19","author_id":"13"},"reply_settings":"mentionedUsers","client_id":"web","created_at":"2026-07-01T10:00:01.000Z"}"#;
    const POSTED: &str = r#"{"tweet_id":"20","author_id":"12","text":"hi @biz","conversation_id":"19","replied_to":{"tweet_id":"19","author_id":"13"},"mentions":[{"user_id":"13","username":"Biz"}],"reply_settings":"mentionedUsers","client_id":"web","created_at":"2026-07-01T10:00:01.000Z"}"#;
    const DELETED: &str =
        r#"{"tweet_id":"20","author_id":"12","deleted_at":"2026-07-02T10:00:01.000Z"}"#;
    const HIDDEN: &str = r#"{"tweet_id":"20","author_id":"12","conversation_id":"19","hidden_by":"13","at":"2026-07-02T10:00:01.000Z"}"#;

    const AUTHOR: &str = r#"{"user_id":"12","at":"2026-07-02T10:00:01.000Z"}"#;

    fn both_ways(event: &TweetEvent, name: &str, version: u16, wire: &str) {
        assert_eq!((event.name(), event.version()), (name, version));
        assert_eq!(event.encode().unwrap(), wire);
        assert_eq!(TweetEvent::decode(name, version, wire).unwrap(), *event);
    }

    fn posted() -> TweetPosted {
        let replied_to =
            TweetRef { tweet_id: TweetId::new(19).unwrap(), author_id: UserId::new(13).unwrap() };
        TweetPosted {
            tweet_id: TweetId::new(20).unwrap(),
            author_id: UserId::new(12).unwrap(),
            text: "hi @biz".to_owned(),
            conversation_id: replied_to.tweet_id,
            replied_to: Some(replied_to),
            quoted: None,
            mentions: vec![Mention {
                user_id: UserId::new(13).unwrap(),
                username: "Biz".to_owned(),
            }],
            reply_settings: ReplySettings::MentionedUsers,
            client_id: "web".to_owned(),
            created_at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        both_ways(&TweetEvent::Posted(posted()), "tweet.posted", 2, POSTED);
        let TweetPosted { tweet_id, author_id, conversation_id, .. } = posted();
        let at = "2026-07-02T10:00:01.000Z".parse().unwrap();
        let deleted = TweetEvent::Deleted(TweetDeleted { tweet_id, author_id, deleted_at: at });
        both_ways(&deleted, "tweet.deleted", 1, DELETED);
        let hidden_by = UserId::new(13).unwrap();
        let hidden = ReplyVisibility { tweet_id, author_id, conversation_id, hidden_by, at };
        both_ways(&TweetEvent::Hidden(hidden.clone()), "tweet.hidden", 1, HIDDEN);
        both_ways(&TweetEvent::Unhidden(hidden), "tweet.unhidden", 1, HIDDEN);
        let author = AuthorVisibility { user_id: author_id, at };
        both_ways(&TweetEvent::AuthorHidden(author), "tweet.author_hidden", 1, AUTHOR);
        both_ways(&TweetEvent::AuthorUnhidden(author), "tweet.author_unhidden", 1, AUTHOR);
        both_ways(&TweetEvent::AuthorSettled(author), "tweet.author_settled", 1, AUTHOR);
    }

    #[test]
    fn a_tweet_of_the_first_version_mentions_nobody() {
        let event = TweetEvent::decode("tweet.posted", 1, POSTED_1).unwrap();
        assert_eq!(event, TweetEvent::Posted(TweetPosted { mentions: Vec::new(), ..posted() }));
        assert_eq!(event.version(), 2, "written again, it is of the version of this build");
    }

    #[test]
    fn the_second_version_must_tell_its_mentions() {
        let error = TweetEvent::decode("tweet.posted", 2, POSTED_1).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { version: 2, .. }), "{error:?}");
    }

    #[test]
    fn a_text_is_its_authors_and_may_be_missing() {
        let event = TweetEvent::Posted(posted());
        let personal = Personal { subject: posted().author_id, fields: &["text"] };
        assert_eq!(event.personal(), Some(personal));
        let without = POSTED.replace(r#""text":"hi @biz","#, "");
        let event = TweetEvent::decode("tweet.posted", 2, &without).unwrap();
        assert_eq!(event, TweetEvent::Posted(TweetPosted { text: String::new(), ..posted() }));
        assert_eq!(TweetEvent::decode("tweet.deleted", 1, DELETED).unwrap().personal(), None);
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
