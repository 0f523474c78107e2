//! A user does not follow another one any more, or takes the request to follow back.

use axum::extract::State;
use pillion_chassis::{Answer, Onward, Path, UserCaller};
use pillion_events::GraphEvent;
use serde::Serialize;

use crate::error::Error;
use crate::own::{self, Change, Pair};
use crate::store::Kind;
use crate::{Graph, follow_protected};

const VERB: &str = "unfollow";

#[derive(Debug, Serialize)]
pub(crate) struct Unfollowed {
    following: bool,
}

/// `DELETE /2/users/{id}/following/{target_user_id}`: once more changes nothing and answers the
/// same. X has no other route to take a request back, so this one does that too.
pub(crate) async fn unfollow(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(pair): Path<Pair>,
    onward: Onward,
) -> Result<Answer<Unfollowed>, Error> {
    let mut change = own::open(&graph, &caller, pair, VERB).await?;
    let Change { transaction, relation, between } = &mut change;
    // Nobody follows and asks to follow at once.
    if between.ours(Kind::Follow) {
        graph.store.record(transaction, GraphEvent::Unfollowed(*relation)).await?;
        change.transaction.commit().await?;
    } else if let Some(position) = between.our_request() {
        follow_protected::end(&graph, transaction, *relation, position, "taken back").await?;
        change.transaction.commit().await?;
    } else {
        change.nothing_to_end(&graph, &onward, VERB).await?;
    }
    Ok(Answer::found(Unfollowed { following: false }))
}
