//! What happens to accounts, as the users service records it.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, decode_as};
use crate::{Timestamp, UserId};

/// One of the users service's events. Its stream is the user's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserEvent {
    /// An account has a profile and a handle from now on.
    Registered(UserRegistered),
    /// The owner changed what the profile says.
    ProfileChanged(UserProfileChanged),
    /// The account is gone for good.
    Deleted(UserDeleted),
}

/// `user.registered`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRegistered {
    /// Whose account.
    pub user_id: UserId,
    /// The handle, as its owner writes it; unique without regard to case.
    pub username: String,
    /// The name shown, 1 to 50 characters.
    pub name: String,
    /// What the owner says about themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where the owner says to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The owner's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Since when the account exists.
    pub created_at: Timestamp,
}

/// `user.profile_changed`, version 1: the whole profile as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserProfileChanged {
    /// Whose account.
    pub user_id: UserId,
    /// The name shown, 1 to 50 characters.
    pub name: String,
    /// What the owner says about themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where the owner says to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The owner's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether only followers whom the owner approved see the tweets.
    pub protected: bool,
    /// When it was changed.
    pub changed_at: Timestamp,
}

/// `user.deleted`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDeleted {
    /// Whose account.
    pub user_id: UserId,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

impl Event for UserEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Registered(_) => "user.registered",
            Self::ProfileChanged(_) => "user.profile_changed",
            Self::Deleted(_) => "user.deleted",
        }
    }

    fn version(&self) -> u16 {
        1
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Registered(event) => serde_json::to_string(event),
            Self::ProfileChanged(event) => serde_json::to_string(event),
            Self::Deleted(event) => serde_json::to_string(event),
        }
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        match (name, version) {
            ("user.registered", 1) => decode_as(name, version, data).map(Self::Registered),
            ("user.profile_changed", 1) => decode_as(name, version, data).map(Self::ProfileChanged),
            ("user.deleted", 1) => decode_as(name, version, data).map(Self::Deleted),
            _ => Err(DecodeError::unknown(name, version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERED: &str = r#"{"user_id":"12","username":"Jack","name":"jack","description":"hi","created_at":"2026-07-01T10:00:01.000Z"}"#;
    const CHANGED: &str = r#"{"user_id":"12","name":"Jack","url":"https://jack.example","protected":true,"changed_at":"2026-07-01T11:00:01.000Z"}"#;
    const DELETED: &str = r#"{"user_id":"12","deleted_at":"2026-07-02T10:00:01.000Z"}"#;

    fn both_ways(event: &UserEvent, name: &str, wire: &str) {
        assert_eq!((event.name(), event.version()), (name, 1));
        assert_eq!(event.encode().unwrap(), wire);
        assert_eq!(UserEvent::decode(name, 1, wire).unwrap(), *event);
    }

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        let user_id = UserId::new(12).unwrap();
        let registered = UserEvent::Registered(UserRegistered {
            user_id,
            username: "Jack".to_owned(),
            name: "jack".to_owned(),
            description: Some("hi".to_owned()),
            location: None,
            url: None,
            created_at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        });
        both_ways(&registered, "user.registered", REGISTERED);
        let changed = UserEvent::ProfileChanged(UserProfileChanged {
            user_id,
            name: "Jack".to_owned(),
            description: None,
            location: None,
            url: Some("https://jack.example".to_owned()),
            protected: true,
            changed_at: "2026-07-01T11:00:01.000Z".parse().unwrap(),
        });
        both_ways(&changed, "user.profile_changed", CHANGED);
        let deleted_at = "2026-07-02T10:00:01.000Z".parse().unwrap();
        let deleted = UserEvent::Deleted(UserDeleted { user_id, deleted_at });
        both_ways(&deleted, "user.deleted", DELETED);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let error = UserEvent::decode("user.deleted", 2, DELETED).unwrap_err();
        assert_eq!(
            error.to_string(),
            "event user.deleted version 2 is unknown to this build; run a newer one"
        );
        let error = UserEvent::decode("user.deleted", 1, "{}").unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { version: 1, .. }), "{error:?}");
    }
}
