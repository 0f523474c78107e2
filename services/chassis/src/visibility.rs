//! Whether the caller may see what users write, as the graph service tells it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::ids::UserId;
use crate::peers::{Onward, PeerError, Peers};

/// The service that knows who follows, blocks and mutes whom.
const GRAPH: &str = "graph";

/// Why somebody does not see what a user writes; the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The user blocks them.
    BlockedBy,
    /// The user's account is protected, and they do not follow it.
    Protected,
    /// They block the user.
    Blocking,
    /// They mute the user.
    Muting,
}

impl Reason {
    /// Whether it is the user's will, and not only theirs who do not see it.
    pub fn forbids(self) -> bool {
        matches!(self, Self::BlockedBy | Self::Protected)
    }
}

/// The strongest reason of each of these users, at most 300, of whom there is one for the caller.
/// Nobody is asked about nobody.
pub async fn reasons(
    peers: &dyn Peers,
    onward: &Onward,
    users: &[UserId],
) -> Result<HashMap<UserId, Reason>, PeerError> {
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
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let users: Vec<String> = users.iter().map(UserId::to_string).collect();
    let path = format!("/internal/visibility?users={}", users.join(","));
    let Found { data } = onward.get(peers, GRAPH, &path).await?;
    Ok(data.into_iter().map(|hidden| (hidden.id, hidden.reason)).collect())
}
