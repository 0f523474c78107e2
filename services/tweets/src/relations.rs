//! Asks the graph service how the calling user stands to others.

use pillion_chassis::{Onward, Peers, UserId};
use serde::Deserialize;

use crate::error::Error;
use crate::peer;

/// The service that knows who follows and blocks whom.
const GRAPH: &str = "graph";

/// Why tweets of a user are not for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The user blocks the caller.
    BlockedBy,
    /// The user's tweets are for approved followers only, of which the caller is none.
    Protected,
    /// The caller blocks the user.
    Blocking,
    /// The caller does not want to see the user's tweets.
    Muting,
}

/// Of these users those whose tweets the caller may not answer or quote, as they may not see them
/// or are blocked. Nobody is asked about an empty list.
pub(crate) async fn out_of_reach(
    peers: &dyn Peers,
    onward: &Onward,
    users: &[UserId],
) -> Result<Vec<UserId>, Error> {
    #[derive(Deserialize)]
    struct Hidden {
        id: UserId,
        reason: Reason,
    }
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        data: Vec<Hidden>,
    }
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let users: Vec<String> = users.iter().map(UserId::to_string).collect();
    let path = format!("/internal/visibility?users={}", users.join(","));
    let Found { data } = peer::get(peers, onward, GRAPH, &path).await?;
    let is_closed = |reason| matches!(reason, Reason::BlockedBy | Reason::Protected);
    Ok(data.into_iter().filter(|user| is_closed(user.reason)).map(|user| user.id).collect())
}

/// Whether a user follows the caller.
pub(crate) async fn is_followed_by(
    peers: &dyn Peers,
    onward: &Onward,
    user_id: UserId,
) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Relation {
        followed_by: bool,
    }
    #[derive(Deserialize)]
    struct Found {
        data: Relation,
    }
    let path = format!("/internal/relation?user={user_id}");
    let found: Found = peer::get(peers, onward, GRAPH, &path).await?;
    Ok(found.data.followed_by)
}
