//! What becomes of users' timelines, as the timelines service records it. What is in them is made
//! of the events of others.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, decode_as};
use crate::{Timestamp, UserId};

/// One of the timelines service's events. Its stream is that of the user: `user/12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimelineEvent {
    /// There is a home for a user who is about to be registered.
    Provisioned(TimelineChange),
    /// The registration came to nothing, and the home is gone.
    Dropped(TimelineChange),
    /// A user is deactivated: the home is closed, and the user's tweets are in no timeline.
    Hidden(TimelineChange),
    /// The user is back, and all of it as if nothing had happened.
    Unhidden(TimelineChange),
    /// Some more of a user whose account was deleted is gone.
    Settled(TimelineChange),
}

/// Whose timelines, and when. The wire form of all of them, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineChange {
    /// Whose.
    pub user_id: UserId,
    /// When.
    pub at: Timestamp,
}

impl TimelineEvent {
    /// Whose, and when.
    pub const fn change(&self) -> &TimelineChange {
        match self {
            Self::Provisioned(change)
            | Self::Dropped(change)
            | Self::Hidden(change)
            | Self::Unhidden(change)
            | Self::Settled(change) => change,
        }
    }
}

impl Event for TimelineEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Provisioned(_) => "timeline.provisioned",
            Self::Dropped(_) => "timeline.dropped",
            Self::Hidden(_) => "timeline.hidden",
            Self::Unhidden(_) => "timeline.unhidden",
            Self::Settled(_) => "timeline.settled",
        }
    }

    fn version(&self) -> u16 {
        1
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self.change())
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        let event = match (name, version) {
            ("timeline.provisioned", 1) => Self::Provisioned,
            ("timeline.dropped", 1) => Self::Dropped,
            ("timeline.hidden", 1) => Self::Hidden,
            ("timeline.unhidden", 1) => Self::Unhidden,
            ("timeline.settled", 1) => Self::Settled,
            _ => return Err(DecodeError::unknown(name, version)),
        };
        decode_as(name, version, data).map(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &str = r#"{"user_id":"12","at":"2026-07-01T10:00:01.000Z"}"#;

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        let change = TimelineChange {
            user_id: UserId::new(12).unwrap(),
            at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        };
        for (event, name) in [
            (TimelineEvent::Provisioned(change), "timeline.provisioned"),
            (TimelineEvent::Dropped(change), "timeline.dropped"),
            (TimelineEvent::Hidden(change), "timeline.hidden"),
            (TimelineEvent::Unhidden(change), "timeline.unhidden"),
            (TimelineEvent::Settled(change), "timeline.settled"),
        ] {
            assert_eq!((event.name(), event.version()), (name, 1));
            assert_eq!(event.encode().unwrap(), WIRE);
            assert_eq!(TimelineEvent::decode(name, 1, WIRE).unwrap(), event);
        }
    }

    #[test]
    fn what_this_build_does_not_know_is_not_guessed() {
        for (name, version) in [("timeline.hidden", 2), ("timeline.read", 1)] {
            let error = TimelineEvent::decode(name, version, WIRE).unwrap_err();
            assert!(matches!(error, DecodeError::Unknown { .. }), "{error:?}");
        }
        let error = TimelineEvent::decode("timeline.hidden", 1, "{}").unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { version: 1, .. }), "{error:?}");
    }
}
