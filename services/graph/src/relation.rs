//! What is between the caller and one user: for services that act on it.

use axum::extract::State;
use pillion_chassis::{Answer, Parameters, Problem, UserCaller, UserId};
use serde::Serialize;

use crate::Graph;
use crate::store::Kind;

/// Seen from the caller.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the wire form")]
pub(crate) struct Between {
    following: bool,
    followed_by: bool,
    blocking: bool,
    blocked_by: bool,
    muting: bool,
}

/// `GET /internal/relation?user=…`
pub(crate) async fn relation(
    State(graph): State<Graph>,
    caller: UserCaller,
    mut query: Parameters,
) -> Result<Answer<Between>, Problem> {
    let user: Option<UserId> = query.value("user");
    if user.is_none() {
        let message = "The `user` query parameter can not be empty".to_owned();
        query.refuse("user", Vec::new(), message);
    }
    query.finish()?;
    // Without the parameter `finish` has refused the request.
    let other = user.unwrap_or(caller.user_id);
    let between = graph.store.between(caller.user_id, other).await?;
    Ok(Answer::found(Between {
        following: between.ours(Kind::Follow),
        followed_by: between.theirs(Kind::Follow),
        blocking: between.ours(Kind::Block),
        blocked_by: between.theirs(Kind::Block),
        muting: between.ours(Kind::Mute),
    }))
}
