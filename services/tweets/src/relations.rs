//! Asks the graph service how the calling user stands to others.

use pillion_chassis::{Onward, PeerError, Peers, UserId, visibility};
use serde::Deserialize;

/// The service that knows who follows and blocks whom.
const GRAPH: &str = "graph";

/// Of these users those whose tweets the caller may not answer or quote, as they may not see them
/// or are blocked. Nobody is asked about an empty list.
pub(crate) async fn out_of_reach(
    peers: &dyn Peers,
    onward: &Onward,
    users: &[UserId],
) -> Result<Vec<UserId>, PeerError> {
    let reasons = visibility::reasons(peers, onward, users).await?;
    Ok(reasons.into_iter().filter(|(_, reason)| reason.forbids()).map(|(user, _)| user).collect())
}

/// Whether a user follows the caller.
pub(crate) async fn is_followed_by(
    peers: &dyn Peers,
    onward: &Onward,
    user_id: UserId,
) -> Result<bool, PeerError> {
    #[derive(Deserialize)]
    struct Relation {
        followed_by: bool,
    }
    #[derive(Deserialize)]
    struct Found {
        data: Relation,
    }
    let path = format!("/internal/relation?user={user_id}");
    let found: Found = onward.get(peers, GRAPH, &path).await?;
    Ok(found.data.followed_by)
}
