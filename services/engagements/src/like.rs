//! A user likes a tweet, or does not any more.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::EngagementEvent;
use serde::Serialize;

use crate::Engagements;
use crate::error::Error;
use crate::mark;
use crate::own::{Pair, Target};
use crate::store::Kind;

#[derive(Debug, Serialize)]
pub(crate) struct Liked {
    liked: bool,
}

/// `POST /2/users/{id}/likes`: once more changes nothing and answers the same.
pub(crate) async fn like(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    onward: Onward,
    Json(Target { tweet_id }): Json<Target>,
) -> Result<Answer<Liked>, Error> {
    caller.require_own("id", id)?;
    let begins = EngagementEvent::Liked;
    mark::begin(&engagements, &onward, Kind::Like, begins, id, tweet_id).await?;
    Ok(Answer::found(Liked { liked: true }))
}

/// `DELETE /2/users/{id}/likes/{tweet_id}`: once more changes nothing and answers the same.
pub(crate) async fn unlike(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(Pair { id, tweet_id }): Path<Pair>,
) -> Result<Answer<Liked>, Error> {
    caller.require_own("id", id)?;
    mark::end(&engagements, Kind::Like, EngagementEvent::Unliked, id, tweet_id).await?;
    Ok(Answer::found(Liked { liked: false }))
}
