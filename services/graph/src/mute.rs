//! A user mutes another one, who does not learn of it, or stops it.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::GraphEvent;
use serde::Serialize;

use crate::Graph;
use crate::error::Error;
use crate::own::{self, Pair, Target};
use crate::store::Kind;

#[derive(Debug, Serialize)]
pub(crate) struct Muting {
    muting: bool,
}

/// `POST /2/users/{id}/muting`: once more changes nothing and answers the same.
pub(crate) async fn mute(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    onward: Onward,
    Json(target): Json<Target>,
) -> Result<Answer<Muting>, Error> {
    let (mut change, _) = own::begin(&graph, &onward, &caller, id, target, "mute").await?;
    if !change.between.ours(Kind::Mute) {
        let muted = GraphEvent::Muted(change.relation);
        graph.store.record(&mut change.transaction, muted).await?;
        change.transaction.commit().await?;
    }
    Ok(Answer::found(Muting { muting: true }))
}

/// `DELETE /2/users/{id}/muting/{target_user_id}`: once more changes nothing and answers the
/// same.
pub(crate) async fn unmute(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(pair): Path<Pair>,
    onward: Onward,
) -> Result<Answer<Muting>, Error> {
    let ending = (Kind::Mute, GraphEvent::Unmuted as fn(_) -> _);
    own::end(&graph, &onward, &caller, pair, "unmute", ending).await?;
    Ok(Answer::found(Muting { muting: false }))
}
