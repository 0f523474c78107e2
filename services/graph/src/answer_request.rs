//! The owner of a protected account lets a user in as a follower, or does not.

use axum::extract::State;
use pillion_chassis::{Answer, Path, UserCaller, UserId};
use pillion_events::{GraphEvent, Relation};
use serde::Serialize;

use crate::Graph;
use crate::error::Error;
use crate::store::Kind;

#[derive(Debug, Serialize)]
pub(crate) struct Accepted {
    accepted: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Denied {
    denied: bool,
}

/// `POST /pillion/v1/follow-requests/{user_id}/accept`: the user follows the caller from now on.
/// Once more, while the user follows, changes nothing and answers the same.
pub(crate) async fn accept(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(user_id): Path<UserId>,
) -> Result<Answer<Accepted>, Error> {
    let at = graph.clock.now().floor_to_millis();
    let relation = Relation { user_id, target_user_id: caller.user_id, at };
    let mut change = graph.store.change().await?;
    let between = change.between(&relation).await?;
    if between.ours(Kind::Request) {
        change.record(GraphEvent::FollowRequestRemoved(relation)).await?;
        change.record(GraphEvent::Followed(relation)).await?;
        change.commit().await?;
    } else if !between.ours(Kind::Follow) {
        return Err(Error::NoRequest(user_id));
    }
    Ok(Answer::found(Accepted { accepted: true }))
}

/// `POST /pillion/v1/follow-requests/{user_id}/deny`: the user may ask again.
pub(crate) async fn deny(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(user_id): Path<UserId>,
) -> Result<Answer<Denied>, Error> {
    let at = graph.clock.now().floor_to_millis();
    let relation = Relation { user_id, target_user_id: caller.user_id, at };
    let mut change = graph.store.change().await?;
    if !change.between(&relation).await?.ours(Kind::Request) {
        return Err(Error::NoRequest(user_id));
    }
    change.record(GraphEvent::FollowRequestRemoved(relation)).await?;
    change.commit().await?;
    Ok(Answer::found(Denied { denied: true }))
}
