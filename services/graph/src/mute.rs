//! A user mutes another one, who does not learn of it, or stops it.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::{GraphEvent, Relation};
use serde::Serialize;

use crate::Graph;
use crate::accounts;
use crate::error::Error;
use crate::own::{self, Pair, Target};
use crate::store::Kind;

const VERB: &str = "mute";

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
    Json(Target { target_user_id }): Json<Target>,
) -> Result<Answer<Muting>, Error> {
    caller.require_own("id", id)?;
    accounts::find_target(&*graph.peers, &onward, VERB, caller.user_id, target_user_id).await?;

    let at = graph.clock.now().floor_to_millis();
    let relation = Relation { user_id: caller.user_id, target_user_id, at };
    let mut change = graph.store.change().await?;
    change.require_active(VERB, &relation).await?;
    if !change.between(&relation).await?.ours(Kind::Mute) {
        change.record(GraphEvent::Muted(relation)).await?;
        change.commit().await?;
    }
    Ok(Answer::found(Muting { muting: true }))
}

/// `DELETE /2/users/{id}/muting/{target_user_id}`: once more changes nothing and answers the
/// same.
pub(crate) async fn unmute(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(Pair { id, target_user_id }): Path<Pair>,
    onward: Onward,
) -> Result<Answer<Muting>, Error> {
    caller.require_own("source_user_id", id)?;
    own::end(
        &graph,
        &onward,
        &caller,
        target_user_id,
        "unmute",
        &[(Kind::Mute, GraphEvent::Unmuted)],
    )
    .await?;
    Ok(Answer::found(Muting { muting: false }))
}
