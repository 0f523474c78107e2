//! A user keeps a tweet among the bookmarks, which nobody else sees, or does not any more.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::{Engagement, EngagementEvent};
use serde::Serialize;

use crate::Engagements;
use crate::error::Error;
use crate::own::{Pair, Target};
use crate::store::Kind;
use crate::tweet;

const KIND: Kind = Kind::Bookmark;

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
    let source = tweet::find_target(&engagements, &onward, KIND, id, tweet_id).await?;
    let at = engagements.clock.now().floor_to_millis();
    let mut change = engagements.store.change().await?;
    change.require_there(KIND, id, &source).await?;
    if change.find(KIND, id, source.tweet_id).await?.is_none() {
        let bookmarked =
            Engagement { user_id: id, tweet_id: source.tweet_id, author_id: source.author_id, at };
        change.record(id, EngagementEvent::Bookmarked(bookmarked), at).await?;
        change.commit().await?;
    }
    Ok(Answer::found(Bookmarked { bookmarked: true }))
}

/// `DELETE /2/users/{id}/bookmarks/{tweet_id}`: once more changes nothing and answers the same.
pub(crate) async fn unbookmark(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(Pair { id, tweet_id }): Path<Pair>,
) -> Result<Answer<Bookmarked>, Error> {
    caller.require_own("id", id)?;
    let tweet_id = engagements.store.source_of(tweet_id).await?;
    let at = engagements.clock.now().floor_to_millis();
    let mut change = engagements.store.change().await?;
    if let Some(bookmark) = change.find(KIND, id, tweet_id).await? {
        let unbookmarked = Engagement { user_id: id, tweet_id, author_id: bookmark.author_id, at };
        change.record(id, EngagementEvent::Unbookmarked(unbookmarked), at).await?;
        change.commit().await?;
    }
    Ok(Answer::found(Bookmarked { bookmarked: false }))
}
