//! What users do with their notifications, and what sagas do for them, as the notifications
//! service records it.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, decode_as};
use crate::{NotificationId, Timestamp, UserId};

/// One of the notifications service's events. Its stream is that of the user: `user/12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotificationEvent {
    /// The user has read all notifications up to one.
    Read(NotificationsRead),
    /// The user, who registers, has an inbox from now on.
    InboxCreated(Inbox),
    /// The user did not come to be: the inbox is gone again.
    InboxDropped(Inbox),
    /// The user is told of a request to follow.
    Requested(RequestNotice),
    /// The request came to nothing, and the user is not told of it any more.
    Withdrawn(RequestNotice),
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

/// `notification.inbox_created` and `notification.inbox_dropped`, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbox {
    /// Whose inbox.
    pub user_id: UserId,
    /// When.
    pub at: Timestamp,
}

/// `notification.requested` and `notification.withdrawn`, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestNotice {
    /// Who is told.
    pub user_id: UserId,
    /// Who asks to follow.
    pub from_user_id: UserId,
    /// Where the request stands in the graph service's log: tells it from earlier and later ones
    /// of the same two.
    pub request_position: i64,
    /// When the user asked, or when the request came to nothing.
    pub at: Timestamp,
}

impl Event for NotificationEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Read(_) => "notification.read",
            Self::InboxCreated(_) => "notification.inbox_created",
            Self::InboxDropped(_) => "notification.inbox_dropped",
            Self::Requested(_) => "notification.requested",
            Self::Withdrawn(_) => "notification.withdrawn",
        }
    }

    fn version(&self) -> u16 {
        1
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Read(event) => serde_json::to_string(event),
            Self::InboxCreated(event) | Self::InboxDropped(event) => serde_json::to_string(event),
            Self::Requested(event) | Self::Withdrawn(event) => serde_json::to_string(event),
        }
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        match (name, version) {
            ("notification.read", 1) => decode_as(name, version, data).map(Self::Read),
            ("notification.inbox_created", 1) => {
                decode_as(name, version, data).map(Self::InboxCreated)
            }
            ("notification.inbox_dropped", 1) => {
                decode_as(name, version, data).map(Self::InboxDropped)
            }
            ("notification.requested", 1) => decode_as(name, version, data).map(Self::Requested),
            ("notification.withdrawn", 1) => decode_as(name, version, data).map(Self::Withdrawn),
            _ => Err(DecodeError::unknown(name, version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str =
        r#"{"user_id":"12","up_to":"1782900001000000","at":"2026-07-01T10:00:01.000Z"}"#;

    const INBOX: &str = r#"{"user_id":"12","at":"2026-07-01T10:00:01.000Z"}"#;
    const REQUEST: &str = r#"{"user_id":"12","from_user_id":"13","request_position":57,"at":"2026-07-01T10:00:01.000Z"}"#;

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        let user_id = UserId::new(12).unwrap();
        let at = "2026-07-01T10:00:01.000Z".parse().unwrap();
        let read = NotificationsRead {
            user_id,
            up_to: NotificationId::new(1_782_900_001_000_000).unwrap(),
            at,
        };
        let inbox = Inbox { user_id, at };
        let from_user_id = UserId::new(13).unwrap();
        let request = RequestNotice { user_id, from_user_id, request_position: 57, at };
        for (event, name, wire) in [
            (NotificationEvent::Read(read), "notification.read", READ),
            (NotificationEvent::InboxCreated(inbox), "notification.inbox_created", INBOX),
            (NotificationEvent::InboxDropped(inbox), "notification.inbox_dropped", INBOX),
            (NotificationEvent::Requested(request), "notification.requested", REQUEST),
            (NotificationEvent::Withdrawn(request), "notification.withdrawn", REQUEST),
        ] {
            assert_eq!((event.name(), event.version()), (name, 1));
            assert_eq!(event.encode().unwrap(), wire);
            assert_eq!(NotificationEvent::decode(name, 1, wire).unwrap(), event);
            let error = NotificationEvent::decode(name, 2, wire).unwrap_err();
            assert!(matches!(error, DecodeError::Unknown { .. }), "{error:?}");
        }
    }
}
