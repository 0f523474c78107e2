//! Asks the graph service whether the caller may see what a user writes.

use pillion_chassis::{Onward, Peers, UserId};
use serde::Deserialize;

use crate::ask::ask;
use crate::error::Error;

/// The service that knows who follows and blocks whom.
const GRAPH: &str = "graph";

/// Why the caller may not see what a user writes, or does not want to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The user blocks the caller.
    BlockedBy,
    /// The user is protected, and the caller does not follow them.
    Protected,
    /// The caller blocks the user.
    Blocking,
    /// The caller mutes the user.
    Muting,
}

impl Reason {
    /// Whether it is the user's will, not the caller's.
    pub(crate) fn forbids(self) -> bool {
        matches!(self, Self::BlockedBy | Self::Protected)
    }
}

/// The strongest reason, if there is one. Nobody is hidden from themself.
pub(crate) async fn find(
    peers: &dyn Peers,
    onward: &Onward,
    caller: Option<UserId>,
    user_id: UserId,
) -> Result<Option<Reason>, Error> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        data: Vec<Hidden>,
    }
    #[derive(Deserialize)]
    struct Hidden {
        id: UserId,
        reason: Reason,
    }
    if caller == Some(user_id) {
        return Ok(None);
    }
    let path = format!("/internal/visibility?users={user_id}");
    let found: Found = ask(peers, onward, GRAPH, &path).await?;
    let hidden = found.data.into_iter().find(|hidden| hidden.id == user_id);
    Ok(hidden.map(|hidden| hidden.reason))
}
