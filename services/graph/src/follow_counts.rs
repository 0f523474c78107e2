//! How many follow users, and how many they follow: for the gateway.

use axum::extract::State;
use pillion_chassis::{Answer, Caller, Parameters, Problem, UserId};
use serde::Serialize;

use crate::Graph;

/// As many users as one look-up gives.
const USERS_PER_REQUEST_MAX: usize = 100;

/// A user's counts.
#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    id: UserId,
    followers_count: i64,
    following_count: i64,
}

/// `GET /internal/follow_counts?users=…`: for each of them, zeros for those without any.
pub(crate) async fn follow_counts(
    State(graph): State<Graph>,
    _: Caller,
    mut query: Parameters,
) -> Result<Answer<Vec<Counts>>, Problem> {
    let users: Vec<UserId> = query.list("users", USERS_PER_REQUEST_MAX);
    query.finish()?;
    let counts = graph.store.follow_counts(&users).await?;
    let counts = users
        .into_iter()
        .map(|id| {
            let (followers_count, following_count) = counts.get(&id).copied().unwrap_or_default();
            Counts { id, followers_count, following_count }
        })
        .collect();
    Ok(Answer::list(counts, Vec::new()))
}
