//! What happens to accounts, as the users service records it.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, Personal, decode_as};
use crate::{Timestamp, UserId};

/// One of the users service's events. Its stream is the user's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserEvent {
    /// An account has a profile and a handle from now on.
    Registered(UserRegistered),
    /// The owner changed what the profile says.
    ProfileChanged(UserProfileChanged),
    /// The account has another handle from now on, and the one it had is free.
    Renamed(UserRenamed),
    /// The account is as if it did not exist, until it is reactivated or deleted.
    Deactivated(UserDeactivated),
    /// The account is there again, with all that it had.
    Reactivated(UserReactivated),
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
    /// The name shown, 1 to 50 characters; empty once the account is erased.
    #[serde(default)]
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
    /// The name shown, 1 to 50 characters; empty once the account is erased.
    #[serde(default)]
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

/// `user.renamed`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRenamed {
    /// Whose account.
    pub user_id: UserId,
    /// The handle from now on, as its owner writes it; unique without regard to case.
    pub username: String,
    /// The handle until now.
    pub previous_username: String,
    /// When it was changed.
    pub at: Timestamp,
}

/// `user.deactivated`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDeactivated {
    /// Whose account.
    pub user_id: UserId,
    /// Since when.
    pub at: Timestamp,
}

/// `user.reactivated`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserReactivated {
    /// Whose account.
    pub user_id: UserId,
    /// Since when.
    pub at: Timestamp,
}

/// `user.deleted`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDeleted {
    /// Whose account.
    pub user_id: UserId,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// What the owner of an account says of themselves.
const PROFILE: &[&str] = &["name", "description", "location", "url"];

impl Event for UserEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Registered(_) => "user.registered",
            Self::ProfileChanged(_) => "user.profile_changed",
            Self::Renamed(_) => "user.renamed",
            Self::Deactivated(_) => "user.deactivated",
            Self::Reactivated(_) => "user.reactivated",
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
            Self::Renamed(event) => serde_json::to_string(event),
            Self::Deactivated(event) => serde_json::to_string(event),
            Self::Reactivated(event) => serde_json::to_string(event),
            Self::Deleted(event) => serde_json::to_string(event),
        }
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        match (name, version) {
            ("user.registered", 1) => decode_as(name, version, data).map(Self::Registered),
            ("user.profile_changed", 1) => decode_as(name, version, data).map(Self::ProfileChanged),
            ("user.renamed", 1) => decode_as(name, version, data).map(Self::Renamed),
            ("user.deactivated", 1) => decode_as(name, version, data).map(Self::Deactivated),
            ("user.reactivated", 1) => decode_as(name, version, data).map(Self::Reactivated),
            ("user.deleted", 1) => decode_as(name, version, data).map(Self::Deleted),
            _ => Err(DecodeError::unknown(name, version)),
        }
    }

    fn personal(&self) -> Option<Personal> {
        match self {
            Self::Registered(UserRegistered { user_id, .. })
            | Self::ProfileChanged(UserProfileChanged { user_id, .. }) => {
                Some(Personal { subject: *user_id, fields: PROFILE })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERED: &str = r#"{"user_id":"12","username":"Jack","name":"jack","description":"hi","created_at":"2026-07-01T10:00:01.000Z"}"#;
    const CHANGED: &str = r#"{"user_id":"12","name":"Jack","url":"https://jack.example","protected":true,"changed_at":"2026-07-01T11:00:01.000Z"}"#;
    const RENAMED: &str = r#"{"user_id":"12","username":"Jack_D","previous_username":"Jack","at":"2026-07-01T12:00:01.000Z"}"#;
    const SINCE: &str = r#"{"user_id":"12","at":"2026-07-01T13:00:01.000Z"}"#;
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
        let renamed = UserEvent::Renamed(UserRenamed {
            user_id,
            username: "Jack_D".to_owned(),
            previous_username: "Jack".to_owned(),
            at: "2026-07-01T12:00:01.000Z".parse().unwrap(),
        });
        both_ways(&renamed, "user.renamed", RENAMED);
        let at = "2026-07-01T13:00:01.000Z".parse().unwrap();
        let deactivated = UserEvent::Deactivated(UserDeactivated { user_id, at });
        both_ways(&deactivated, "user.deactivated", SINCE);
        let reactivated = UserEvent::Reactivated(UserReactivated { user_id, at });
        both_ways(&reactivated, "user.reactivated", SINCE);
        let deleted_at = "2026-07-02T10:00:01.000Z".parse().unwrap();
        let deleted = UserEvent::Deleted(UserDeleted { user_id, deleted_at });
        both_ways(&deleted, "user.deleted", DELETED);
    }

    #[test]
    fn a_profile_is_its_owners_and_may_be_missing() {
        for (name, wire) in [("user.registered", REGISTERED), ("user.profile_changed", CHANGED)] {
            let event = UserEvent::decode(name, 1, wire).unwrap();
            let Some(Personal { subject, fields }) = event.personal() else { panic!("{event:?}") };
            assert_eq!(subject, UserId::new(12).unwrap());
            let mut data: serde_json::Map<_, _> = serde_json::from_str(wire).unwrap();
            data.retain(|field, _| !fields.contains(&field.as_str()));
            let data = serde_json::to_string(&data).unwrap();
            let (UserEvent::Registered(UserRegistered { name, description, url, .. })
            | UserEvent::ProfileChanged(UserProfileChanged { name, description, url, .. })) =
                UserEvent::decode(name, 1, &data).unwrap()
            else {
                panic!("{data}")
            };
            assert_eq!((name.as_str(), description, url), ("", None, None));
        }
        assert_eq!(UserEvent::decode("user.deleted", 1, DELETED).unwrap().personal(), None);
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
