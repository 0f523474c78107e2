//! A user blocks another one, or stops it.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::{GraphEvent, Relation};
use serde::Serialize;

use crate::error::Error;
use crate::own::{self, Change, Pair, Target};
use crate::store::Kind;
use crate::{Graph, follow_protected};

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
    Json(target): Json<Target>,
) -> Result<Answer<Blocking>, Error> {
    let (mut change, _) = own::begin(&graph, &onward, &caller, id, target, "block").await?;
    let Change { transaction, relation: ours, between } = &mut change;
    if !between.ours(Kind::Block) {
        let ours = *ours;
        let Relation { user_id, target_user_id, at } = ours;
        let theirs = Relation { user_id: target_user_id, target_user_id: user_id, at };
        let store = &graph.store;
        store.record(transaction, GraphEvent::Blocked(ours)).await?;
        for (follows, request, relation) in [
            (between.ours(Kind::Follow), between.our_request(), ours),
            (between.theirs(Kind::Follow), between.their_request(), theirs),
        ] {
            if follows {
                store.record(transaction, GraphEvent::Unfollowed(relation)).await?;
            }
            if let Some(position) = request {
                follow_protected::end(&graph, transaction, relation, position, "blocked").await?;
            }
        }
        change.transaction.commit().await?;
    }
    Ok(Answer::found(Blocking { blocking: true }))
}

/// `DELETE /2/users/{id}/blocking/{target_user_id}`: nobody follows anybody again by it. Once
/// more changes nothing and answers the same.
pub(crate) async fn unblock(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(pair): Path<Pair>,
    onward: Onward,
) -> Result<Answer<Blocking>, Error> {
    let ending = (Kind::Block, GraphEvent::Unblocked as fn(_) -> _);
    own::end(&graph, &onward, &caller, pair, "unblock", ending).await?;
    Ok(Answer::found(Blocking { blocking: false }))
}
