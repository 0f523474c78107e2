//! A user keeps a tweet among the bookmarks, which nobody else sees, or does not any more.

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
pub(crate) struct Bookmarked {
    bookmarked: bool,
}

/// `POST /2/users/{id}/bookmarks`: once more changes nothing and answers the same.
pub(crate) async fn bookmark(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    onward: Onward,
    Json(Target { tweet_id }): Json<Target>,
) -> Result<Answer<Bookmarked>, Error> {
    caller.require_own("id", id)?;
    let begins = EngagementEvent::Bookmarked;
    mark::begin(&engagements, &onward, Kind::Bookmark, begins, id, tweet_id).await?;
    Ok(Answer::found(Bookmarked { bookmarked: true }))
}

/// `DELETE /2/users/{id}/bookmarks/{tweet_id}`: once more changes nothing and answers the same.
pub(crate) async fn unbookmark(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(Pair { id, tweet_id }): Path<Pair>,
) -> Result<Answer<Bookmarked>, Error> {
    caller.require_own("id", id)?;
    mark::end(&engagements, Kind::Bookmark, EngagementEvent::Unbookmarked, id, tweet_id).await?;
    Ok(Answer::found(Bookmarked { bookmarked: false }))
}
