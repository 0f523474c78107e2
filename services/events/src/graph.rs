//! What happens between accounts, as the graph service records it.

use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Event, decode_as};
use crate::{Timestamp, UserId};

/// One of the graph service's events. Its stream is that of the user who does it or, where
/// another user ends it by a block or an answer, of the user who began it: `user/12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphEvent {
    /// The user follows the target from now on.
    Followed(Relation),
    /// The user does not follow the target any more: by the user's own choice, or because one of
    /// the two blocked the other.
    Unfollowed(Relation),
    /// The user asks the target, whose account is protected, to be let in as a follower.
    FollowRequested(Relation),
    /// The user's request is gone: accepted (then [`GraphEvent::Followed`] comes next), denied,
    /// taken back, not answered in time, or ended by a block.
    FollowRequestRemoved(Relation),
    /// The user blocks the target. What was between them ends with the events that come next.
    Blocked(Relation),
    /// The user does not block the target any more. What the block ended stays ended.
    Unblocked(Relation),
    /// The user does not want to see the target's tweets.
    Muted(Relation),
    /// The user wants to see them again.
    Unmuted(Relation),
}

/// From whom to whom, and when. The wire form of all graph events, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Who follows, asks, blocks or mutes.
    pub user_id: UserId,
    /// Whom.
    pub target_user_id: UserId,
    /// When this began or ended.
    pub at: Timestamp,
}

/// What happens to a whole account, in the graph service's log. Its stream is that of the account:
/// `user/12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphAccountEvent {
    /// The account is on no list and in no count any more, but nothing of it is lost.
    Hidden(AccountHiding),
    /// It is there again as it was.
    Unhidden(AccountHiding),
    /// Some more of its relations are counted, not counted, or gone, as its return or going wants
    /// it.
    Settled(AccountHiding),
}

/// Whose account, and when. The wire form of all of these, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountHiding {
    /// Whose account.
    pub user_id: UserId,
    /// When it was hidden, shown again or settled.
    pub at: Timestamp,
}

impl GraphAccountEvent {
    /// Whose account, and when.
    pub const fn hiding(&self) -> &AccountHiding {
        match self {
            Self::Hidden(hiding) | Self::Unhidden(hiding) | Self::Settled(hiding) => hiding,
        }
    }
}

impl Event for GraphAccountEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Hidden(_) => "graph.account_hidden",
            Self::Unhidden(_) => "graph.account_unhidden",
            Self::Settled(_) => "graph.account_settled",
        }
    }

    fn version(&self) -> u16 {
        1
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self.hiding())
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        let event = match (name, version) {
            ("graph.account_hidden", 1) => Self::Hidden,
            ("graph.account_unhidden", 1) => Self::Unhidden,
            ("graph.account_settled", 1) => Self::Settled,
            _ => return Err(DecodeError::unknown(name, version)),
        };
        decode_as(name, version, data).map(event)
    }
}

impl GraphEvent {
    /// From whom to whom.
    pub const fn relation(&self) -> &Relation {
        match self {
            Self::Followed(relation)
            | Self::Unfollowed(relation)
            | Self::FollowRequested(relation)
            | Self::FollowRequestRemoved(relation)
            | Self::Blocked(relation)
            | Self::Unblocked(relation)
            | Self::Muted(relation)
            | Self::Unmuted(relation) => relation,
        }
    }
}

impl Event for GraphEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Followed(_) => "graph.followed",
            Self::Unfollowed(_) => "graph.unfollowed",
            Self::FollowRequested(_) => "graph.follow_requested",
            Self::FollowRequestRemoved(_) => "graph.follow_request_removed",
            Self::Blocked(_) => "graph.blocked",
            Self::Unblocked(_) => "graph.unblocked",
            Self::Muted(_) => "graph.muted",
            Self::Unmuted(_) => "graph.unmuted",
        }
    }

    fn version(&self) -> u16 {
        1
    }

    fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self.relation())
    }

    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        let event = match (name, version) {
            ("graph.followed", 1) => Self::Followed,
            ("graph.unfollowed", 1) => Self::Unfollowed,
            ("graph.follow_requested", 1) => Self::FollowRequested,
            ("graph.follow_request_removed", 1) => Self::FollowRequestRemoved,
            ("graph.blocked", 1) => Self::Blocked,
            ("graph.unblocked", 1) => Self::Unblocked,
            ("graph.muted", 1) => Self::Muted,
            ("graph.unmuted", 1) => Self::Unmuted,
            _ => return Err(DecodeError::unknown(name, version)),
        };
        decode_as(name, version, data).map(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &str = r#"{"user_id":"12","target_user_id":"13","at":"2026-07-01T10:00:01.000Z"}"#;

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        let relation = Relation {
            user_id: UserId::new(12).unwrap(),
            target_user_id: UserId::new(13).unwrap(),
            at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        };
        for (event, name) in [
            (GraphEvent::Followed(relation), "graph.followed"),
            (GraphEvent::Unfollowed(relation), "graph.unfollowed"),
            (GraphEvent::FollowRequested(relation), "graph.follow_requested"),
            (GraphEvent::FollowRequestRemoved(relation), "graph.follow_request_removed"),
            (GraphEvent::Blocked(relation), "graph.blocked"),
            (GraphEvent::Unblocked(relation), "graph.unblocked"),
            (GraphEvent::Muted(relation), "graph.muted"),
            (GraphEvent::Unmuted(relation), "graph.unmuted"),
        ] {
            assert_eq!((event.name(), event.version()), (name, 1));
            assert_eq!(event.encode().unwrap(), WIRE);
            assert_eq!(GraphEvent::decode(name, 1, WIRE).unwrap(), event);
        }
    }

    #[test]
    fn the_wire_forms_of_accounts_stay_as_they_are() {
        const WIRE: &str = r#"{"user_id":"12","at":"2026-07-01T10:00:01.000Z"}"#;
        let hiding = AccountHiding {
            user_id: UserId::new(12).unwrap(),
            at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        };
        for (event, name) in [
            (GraphAccountEvent::Hidden(hiding), "graph.account_hidden"),
            (GraphAccountEvent::Unhidden(hiding), "graph.account_unhidden"),
            (GraphAccountEvent::Settled(hiding), "graph.account_settled"),
        ] {
            assert_eq!((event.name(), event.version()), (name, 1));
            assert_eq!(event.encode().unwrap(), WIRE);
            assert_eq!(GraphAccountEvent::decode(name, 1, WIRE).unwrap(), event);
        }
        let error = GraphAccountEvent::decode("graph.account_hidden", 2, WIRE).unwrap_err();
        assert!(matches!(error, DecodeError::Unknown { .. }), "{error:?}");
    }

    #[test]
    fn what_this_build_does_not_know_is_not_guessed() {
        for (name, version) in [("graph.followed", 2), ("graph.poked", 1), ("user.deleted", 1)] {
            let error = GraphEvent::decode(name, version, WIRE).unwrap_err();
            assert!(matches!(error, DecodeError::Unknown { .. }), "{error:?}");
        }
        let error = GraphEvent::decode("graph.muted", 1, r#"{"user_id":"12"}"#).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { version: 1, .. }), "{error:?}");
    }
}
