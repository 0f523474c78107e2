//! A user does not follow another one any more, or takes the request to follow back.

use axum::extract::State;
use pillion_chassis::{Answer, Onward, Path, UserCaller};
use pillion_events::GraphEvent;
use serde::Serialize;

use crate::Graph;
use crate::error::Error;
use crate::own::{self, End, Pair};
use crate::store::Kind;

/// Nobody follows and asks to follow at once.
const ENDS: [End; 2] =
    [(Kind::Follow, GraphEvent::Unfollowed), (Kind::Request, GraphEvent::FollowRequestRemoved)];

#[derive(Debug, Serialize)]
pub(crate) struct Unfollowed {
    following: bool,
}

/// `DELETE /2/users/{id}/following/{target_user_id}`: once more changes nothing and answers the
/// same. X has no other route to take a request back, so this one does that too.
pub(crate) async fn unfollow(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(Pair { id, target_user_id }): Path<Pair>,
    onward: Onward,
) -> Result<Answer<Unfollowed>, Error> {
    caller.require_own("source_user_id", id)?;
    own::end(&graph, &onward, &caller, target_user_id, "unfollow", &ENDS).await?;
    Ok(Answer::found(Unfollowed { following: false }))
}
