//! An author takes a tweet back.

use axum::extract::State;
use pillion_chassis::{Answer, Path, TweetId, UserCaller};
use serde::Serialize;

use crate::Tweets;
use crate::error::Error;

#[derive(Debug, Serialize)]
pub(crate) struct Deleted {
    deleted: bool,
}

/// `DELETE /2/tweets/{id}`: 200 also when there is no such tweet (any more), as on X.
pub(crate) async fn delete_tweet(
    State(tweets): State<Tweets>,
    caller: UserCaller,
    Path(id): Path<TweetId>,
) -> Result<Answer<Deleted>, Error> {
    let now = tweets.clock.now().floor_to_millis();
    tweets.store.delete(id, caller.user_id, now).await?;
    Ok(Answer::found(Deleted { deleted: true }))
}
