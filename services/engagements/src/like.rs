//! A user likes a tweet, or does not any more.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Onward, Path, UserCaller, UserId};
use pillion_events::{Engagement, EngagementEvent};
use serde::Serialize;

use crate::Engagements;
use crate::error::Error;
use crate::own::{Pair, Target};
use crate::store::Kind;
use crate::tweet;

const KIND: Kind = Kind::Like;

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
    let source = tweet::find_target(&engagements, &onward, KIND, id, tweet_id).await?;
    let at = engagements.clock.now().floor_to_millis();
    let mut change = engagements.store.change().await?;
    change.require_there(KIND, id, &source).await?;
    if change.find(KIND, id, source.tweet_id).await?.is_none() {
        let liked =
            Engagement { user_id: id, tweet_id: source.tweet_id, author_id: source.author_id, at };
        change.record(id, EngagementEvent::Liked(liked), at).await?;
        change.commit().await?;
    }
    Ok(Answer::found(Liked { liked: true }))
}

/// `DELETE /2/users/{id}/likes/{tweet_id}`: once more changes nothing and answers the same.
pub(crate) async fn unlike(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(Pair { id, tweet_id }): Path<Pair>,
) -> Result<Answer<Liked>, Error> {
    caller.require_own("id", id)?;
    let tweet_id = engagements.store.source_of(tweet_id).await?;
    let at = engagements.clock.now().floor_to_millis();
    let mut change = engagements.store.change().await?;
    if let Some(like) = change.find(KIND, id, tweet_id).await? {
        let unliked = Engagement { user_id: id, tweet_id, author_id: like.author_id, at };
        change.record(id, EngagementEvent::Unliked(unliked), at).await?;
        change.commit().await?;
    }
    Ok(Answer::found(Liked { liked: false }))
}
