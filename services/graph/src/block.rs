//! A user blocks another one, or stops it.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::{GraphEvent, Relation};
use serde::Serialize;

use crate::Graph;
use crate::accounts;
use crate::error::Error;
use crate::own::{self, Pair, Target};
use crate::store::Kind;

const VERB: &str = "block";

#[derive(Debug, Serialize)]
pub(crate) struct Blocking {
    blocking: bool,
}

/// `POST /2/users/{id}/blocking`: ends follows and requests in both directions. Once more changes
/// nothing and answers the same.
pub(crate) async fn block(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    onward: Onward,
    Json(Target { target_user_id }): Json<Target>,
) -> Result<Answer<Blocking>, Error> {
    caller.require_own("id", id)?;
    accounts::find_target(&*graph.peers, &onward, VERB, caller.user_id, target_user_id).await?;

    let at = graph.clock.now().floor_to_millis();
    let ours = Relation { user_id: caller.user_id, target_user_id, at };
    let theirs = Relation { user_id: target_user_id, target_user_id: caller.user_id, at };
    let mut change = graph.store.change().await?;
    change.require_active(VERB, &ours).await?;
    let between = change.between(&ours).await?;
    if !between.ours(Kind::Block) {
        change.record(GraphEvent::Blocked(ours)).await?;
        for (ends, event) in [
            (between.ours(Kind::Follow), GraphEvent::Unfollowed(ours)),
            (between.ours(Kind::Request), GraphEvent::FollowRequestRemoved(ours)),
            (between.theirs(Kind::Follow), GraphEvent::Unfollowed(theirs)),
            (between.theirs(Kind::Request), GraphEvent::FollowRequestRemoved(theirs)),
        ] {
            if ends {
                change.record(event).await?;
            }
        }
        change.commit().await?;
    }
    Ok(Answer::found(Blocking { blocking: true }))
}

/// `DELETE /2/users/{id}/blocking/{target_user_id}`: nobody follows anybody again by it. Once
/// more changes nothing and answers the same.
pub(crate) async fn unblock(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(Pair { id, target_user_id }): Path<Pair>,
    onward: Onward,
) -> Result<Answer<Blocking>, Error> {
    caller.require_own("source_user_id", id)?;
    own::end(
        &graph,
        &onward,
        &caller,
        target_user_id,
        "unblock",
        &[(Kind::Block, GraphEvent::Unblocked)],
    )
    .await?;
    Ok(Answer::found(Blocking { blocking: false }))
}
