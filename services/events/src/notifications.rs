//! What users do with their notifications, as the notifications service records it.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, decode_as};
use crate::{NotificationId, Timestamp, UserId};

/// One of the notifications service's events. Its stream is that of the user: `user/12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotificationEvent {
    /// The user has read all notifications up to one.
    Read(NotificationsRead),
}

/// `notification.read`, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationsRead {
    /// Who has read.
    pub user_id: UserId,
    /// The newest that was read.
    pub up_to: NotificationId,
    /// When.
    pub at: Timestamp,
}

impl Event for NotificationEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Read(_) => "notification.read",
        }
    }

    fn version(&self) -> u16 {
        1
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Read(event) => serde_json::to_string(event),
        }
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        match (name, version) {
            ("notification.read", 1) => decode_as(name, version, data).map(Self::Read),
            _ => Err(DecodeError::unknown(name, version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str =
        r#"{"user_id":"12","up_to":"1782900001000000","at":"2026-07-01T10:00:01.000Z"}"#;

    #[test]
    fn the_wire_form_stays_as_it_is() {
        let read = NotificationEvent::Read(NotificationsRead {
            user_id: UserId::new(12).unwrap(),
            up_to: NotificationId::new(1_782_900_001_000_000).unwrap(),
            at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        });
        assert_eq!((read.name(), read.version()), ("notification.read", 1));
        assert_eq!(read.encode().unwrap(), READ);
        assert_eq!(NotificationEvent::decode("notification.read", 1, READ).unwrap(), read);
        let error = NotificationEvent::decode("notification.read", 2, READ).unwrap_err();
        assert!(matches!(error, DecodeError::Unknown { .. }), "{error:?}");
    }
}
