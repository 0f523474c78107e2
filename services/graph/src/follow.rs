//! A user follows another one, or asks a protected account to be let in.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::{GraphEvent, Relation};
use serde::Serialize;

use crate::Graph;
use crate::error::Error;
use crate::own::Target;
use crate::store::Kind;
use crate::{accounts, store};

const VERB: &str = "follow";

/// What has come of it: one of the two is true.
#[derive(Debug, Serialize)]
pub(crate) struct Following {
    following: bool,
    pending_follow: bool,
}

/// `POST /2/users/{id}/following`: once more changes nothing and answers the same.
pub(crate) async fn follow(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    onward: Onward,
    Json(Target { target_user_id }): Json<Target>,
) -> Result<Answer<Following>, Error> {
    caller.require_own("id", id)?;
    let target =
        accounts::find_target(&*graph.peers, &onward, VERB, caller.user_id, target_user_id).await?;

    let at = graph.clock.now().floor_to_millis();
    let relation = Relation { user_id: caller.user_id, target_user_id, at };
    let mut change = graph.store.change().await?;
    change.require_active(VERB, &relation).await?;
    let between = change.between(&relation).await?;
    let follows = decide(&mut change, relation, &between, target.protected).await?;
    change.commit().await?;
    Ok(Answer::found(Following { following: follows, pending_follow: !follows }))
}

/// Whether the user follows the target from now on; else the user has asked for it.
async fn decide(
    change: &mut store::Change,
    relation: Relation,
    between: &store::Between,
    protected: bool,
) -> Result<bool, Error> {
    if between.ours(Kind::Follow) {
        return Ok(true);
    }
    if between.theirs(Kind::Block) {
        return Err(Error::BlockedBy);
    }
    if between.ours(Kind::Block) {
        return Err(Error::Blocking);
    }
    let asked = between.ours(Kind::Request);
    if protected {
        if !asked {
            change.record(GraphEvent::FollowRequested(relation)).await?;
        }
        return Ok(false);
    }
    // The account was protected when the user asked. As on X, requests wait for an answer even
    // when the account becomes public, unless the user follows it again.
    if asked {
        change.record(GraphEvent::FollowRequestRemoved(relation)).await?;
    }
    change.record(GraphEvent::Followed(relation)).await?;
    Ok(true)
}
