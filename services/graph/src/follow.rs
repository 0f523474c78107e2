//! A user follows another one, or asks a protected account to be let in.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::GraphEvent;
use serde::Serialize;

use crate::error::Error;
use crate::own::{self, Change, Target};
use crate::store::Kind;
use crate::{Graph, follow_protected};

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
    Json(target): Json<Target>,
) -> Result<Answer<Following>, Error> {
    let (mut change, target) = own::begin(&graph, &onward, &caller, id, target, "follow").await?;
    let follows = decide(&graph, &mut change, target.protected).await?;
    change.transaction.commit().await?;
    Ok(Answer::found(Following { following: follows, pending_follow: !follows }))
}

/// Whether the user follows the target from now on; else the user has asked for it.
async fn decide(graph: &Graph, change: &mut Change, protected: bool) -> Result<bool, Error> {
    let Change { transaction, relation, between } = change;
    if between.ours(Kind::Follow) {
        return Ok(true);
    }
    if between.theirs(Kind::Block) {
        return Err(Error::BlockedBy);
    }
    if between.ours(Kind::Block) {
        return Err(Error::Blocking);
    }
    let asked = between.our_request();
    if protected {
        if asked.is_none() {
            follow_protected::ask(graph, transaction, *relation).await?;
        }
        return Ok(false);
    }
    // The account was protected when the user asked. As on X, requests wait for an answer even
    // when the account becomes public, unless the user follows it again.
    if let Some(position) = asked {
        let reason = "followed while public";
        follow_protected::end(graph, transaction, *relation, position, reason).await?;
    }
    graph.store.record(transaction, GraphEvent::Followed(*relation)).await?;
    Ok(true)
}
