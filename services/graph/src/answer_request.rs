//! The owner of a protected account lets a user in as a follower, or does not.

use axum::extract::State;
use pillion_chassis::{Answer, Path, UserCaller, UserId};
use pillion_events::Relation;
use serde::Serialize;

use crate::error::Error;
use crate::own::Change;
use crate::store::{self, Kind};
use crate::{Graph, follow_protected};

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
    let Change { transaction, relation, between } = open(&graph, &caller, user_id).await?;
    if let Some(position) = between.our_request() {
        follow_protected::accept(&graph, transaction, relation, position).await?;
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
    let Change { mut transaction, relation, between } = open(&graph, &caller, user_id).await?;
    let position = between.our_request().ok_or(Error::NoRequest(user_id))?;
    follow_protected::end(&graph, &mut transaction, relation, position, "denied").await?;
    transaction.commit().await?;
    Ok(Answer::found(Denied { denied: true }))
}

/// Opens a change of what is between the user who asks and the caller. Of a user who is gone there
/// is nothing.
async fn open(graph: &Graph, caller: &UserCaller, user_id: UserId) -> Result<Change, Error> {
    let at = graph.clock.now().floor_to_millis();
    let relation = Relation { user_id, target_user_id: caller.user_id, at };
    let answer = Relation { user_id: caller.user_id, target_user_id: user_id, at };
    let mut transaction = graph.store.write().await?;
    store::require_active(&mut transaction, "answer", &answer).await.map_err(
        |error| match error {
            Error::NotActive { target, .. } => Error::NoRequest(target),
            error => error,
        },
    )?;
    let between = store::between(&mut transaction, user_id, caller.user_id).await?;
    Ok(Change { transaction, relation, between })
}
