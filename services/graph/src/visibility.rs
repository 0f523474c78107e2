//! Why the caller may not, or does not want to, see what users write: for the gateway, which
//! leaves it out, and for services that act on a tweet.

use axum::extract::State;
use pillion_chassis::visibility::Reason;
use pillion_chassis::{Answer, Caller, Parameters, Problem, UserId};
use serde::Serialize;

use crate::Graph;

/// A page of 100 tweets has at most 100 authors, 100 authors of what they retweet, and 100 of
/// what they answer or quote.
const USERS_PER_REQUEST_MAX: usize = 300;

/// Somebody of whom there is something to say.
#[derive(Debug, Serialize)]
pub(crate) struct Hidden {
    id: UserId,
    reason: Reason,
}

/// `GET /internal/visibility?users=…`: for those with a reason, the strongest one. Of an app's
/// token nobody is a follower, and nobody blocks it.
pub(crate) async fn visibility(
    State(graph): State<Graph>,
    caller: Caller,
    mut query: Parameters,
) -> Result<Answer<Vec<Hidden>>, Problem> {
    let users: Vec<UserId> = query.list("users", USERS_PER_REQUEST_MAX);
    query.finish()?;
    let reasons = graph.store.reasons(caller.user_id, &users).await?;
    let hidden = users
        .into_iter()
        .filter_map(|id| reasons.get(&id).map(|&reason| Hidden { id, reason }))
        .collect();
    Ok(Answer::list(hidden, Vec::new()))
}
