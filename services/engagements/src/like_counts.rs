//! How many tweets users like: for the gateway.

use axum::extract::State;
use pillion_chassis::{Answer, Caller, Parameters, Problem, UserId};
use serde::Serialize;

use crate::Engagements;

/// As many users as one look-up gives.
const USERS_PER_REQUEST_MAX: usize = 100;

/// A user's count.
#[derive(Debug, Serialize)]
pub(crate) struct LikeCount {
    id: UserId,
    like_count: i64,
}

/// `GET /internal/like_counts?users=…`: for each of them, zero for those who like nothing.
pub(crate) async fn like_counts(
    State(engagements): State<Engagements>,
    _: Caller,
    mut query: Parameters,
) -> Result<Answer<Vec<LikeCount>>, Problem> {
    let users: Vec<UserId> = query.list("users", USERS_PER_REQUEST_MAX);
    query.finish()?;
    let counts = engagements.store.like_counts(&users).await?;
    let counts = users
        .into_iter()
        .map(|id| LikeCount { id, like_count: counts.get(&id).copied().unwrap_or_default() })
        .collect();
    Ok(Answer::list(counts, Vec::new()))
}
