//! A user does not follow another one any more, or takes the request to follow back.

use axum::extract::State;
use pillion_chassis::{Answer, Onward, Path, UserCaller};
use pillion_events::{GraphEvent, Relation};
use serde::Serialize;

use crate::Graph;
use crate::accounts;
use crate::error::Error;
use crate::own::Pair;
use crate::store::Kind;

#[derive(Debug, Serialize)]
pub(crate) struct Unfollowed {
    following: bool,
}

/// `DELETE /2/users/{id}/following/{target_user_id}`: once more changes nothing and answers the
/// same. X has no other route to take a request back, so this one does that too.
pub(crate) async fn unfollow(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(Pair { id, target_user_id }): Path<Pair>,
    onward: Onward,
) -> Result<Answer<Unfollowed>, Error> {
    caller.require_own("source_user_id", id)?;
    let at = graph.clock.now().floor_to_millis();
    let relation = Relation { user_id: caller.user_id, target_user_id, at };
    let mut change = graph.store.change().await?;
    let between = change.between(&relation).await?;
    if between.ours(Kind::Follow) {
        change.record(GraphEvent::Unfollowed(relation)).await?;
        change.commit().await?;
    } else if between.ours(Kind::Request) {
        change.record(GraphEvent::FollowRequestRemoved(relation)).await?;
        change.commit().await?;
    } else {
        drop(change);
        let (peers, verb) = (&*graph.peers, "unfollow");
        accounts::find_target(peers, &onward, verb, caller.user_id, target_user_id).await?;
    }
    Ok(Answer::found(Unfollowed { following: false }))
}
