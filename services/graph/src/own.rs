//! What the routes about the caller's own relations have in common: a path, a body, and how a
//! relation ends.

use pillion_chassis::{Onward, UserCaller, UserId};
use pillion_events::{GraphEvent, Relation};
use serde::Deserialize;

use crate::Graph;
use crate::accounts;
use crate::error::Error;
use crate::store::Kind;

/// The body of the routes that begin something with another user.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) target_user_id: UserId,
}

/// The path of the routes that end it.
#[derive(Debug, Deserialize)]
pub(crate) struct Pair {
    pub(crate) id: UserId,
    pub(crate) target_user_id: UserId,
}

/// A kind of relation and the event that ends one.
pub(crate) type End = (Kind, fn(Relation) -> GraphEvent);

/// Ends a relation from the caller to another user with the first of these events whose relation
/// there is. If there is none, nothing changes, but both accounts must exist; `verb` says what was
/// to be done.
pub(crate) async fn end(
    graph: &Graph,
    onward: &Onward,
    caller: &UserCaller,
    target_user_id: UserId,
    verb: &'static str,
    ends: &[End],
) -> Result<(), Error> {
    let at = graph.clock.now().floor_to_millis();
    let relation = Relation { user_id: caller.user_id, target_user_id, at };
    let mut change = graph.store.change().await?;
    let between = change.between(&relation).await?;
    if let Some((_, event)) = ends.iter().find(|(kind, _)| between.ours(*kind)) {
        change.record(event(relation)).await?;
        change.commit().await?;
    } else {
        drop(change);
        let peers = &*graph.peers;
        accounts::find_target(peers, onward, verb, caller.user_id, target_user_id).await?;
    }
    Ok(())
}
