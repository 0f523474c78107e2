//! Who began a conversation hides a reply in it, or shows it again.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Path, TweetId, UserCaller};
use serde::{Deserialize, Serialize};

use crate::Tweets;
use crate::error::Error;

/// Sent and answered alike.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    hidden: bool,
}

/// `PUT /2/tweets/{id}/hidden`
pub(crate) async fn hide_reply(
    State(tweets): State<Tweets>,
    caller: UserCaller,
    Path(id): Path<TweetId>,
    Json(body): Json<Body>,
) -> Result<Answer<Body>, Error> {
    let now = tweets.clock.now().floor_to_millis();
    tweets.store.set_hidden(id, caller.user_id, body.hidden, now).await?;
    Ok(Answer::found(body))
}
