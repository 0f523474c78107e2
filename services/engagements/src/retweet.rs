//! A user retweets a tweet, or takes the retweet back.

use axum::extract::State;
use pillion_chassis::ids::time_of;
use pillion_chassis::{Answer, Json, Onward, Path, TweetId, UserCaller, UserId};
use pillion_events::{EngagementEvent, Retweet};
use serde::Serialize;

use crate::Engagements;
use crate::error::Error;
use crate::own::{Pair, Target};
use crate::store::Kind;
use crate::tweet;

const KIND: Kind = Kind::Retweet;

/// The retweet's own id, while there is one.
#[derive(Debug, Serialize)]
pub(crate) struct Retweeted {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<TweetId>,
    retweeted: bool,
}

/// `POST /2/users/{id}/retweets`: once more changes nothing and answers the same.
pub(crate) async fn retweet(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    onward: Onward,
    Json(Target { tweet_id }): Json<Target>,
) -> Result<Answer<Retweeted>, Error> {
    caller.require_own("id", id)?;
    let source = tweet::find_target(&engagements, &onward, KIND, id, tweet_id).await?;
    let mut change = engagements.store.change().await?;
    change.require_there(KIND, id, &source).await?;
    if let Some(retweet) = change.find(KIND, id, source.tweet_id).await? {
        return Ok(Answer::found(Retweeted { id: retweet.retweet_id, retweeted: true }));
    }
    if source.author_id != id && change.is_protected(source.author_id).await? {
        return Err(Error::NotForRetweet);
    }
    let retweet_id = engagements.ids.tweet()?;
    // Clients read the time out of the id, so the two must not differ.
    let at = time_of(retweet_id.get());
    let retweet = Retweet {
        retweet_id,
        user_id: id,
        tweet_id: source.tweet_id,
        author_id: source.author_id,
        at,
    };
    change.record(id, EngagementEvent::Retweeted(retweet), at).await?;
    change.commit().await?;
    Ok(Answer::found(Retweeted { id: Some(retweet_id), retweeted: true }))
}

/// `DELETE /2/users/{id}/retweets/{source_tweet_id}`: once more changes nothing and answers the
/// same. The retweet's own id is understood too.
pub(crate) async fn unretweet(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(Pair { id, tweet_id }): Path<Pair>,
) -> Result<Answer<Retweeted>, Error> {
    caller.require_own("id", id)?;
    let tweet_id = engagements.store.source_of(tweet_id).await?;
    let at = engagements.clock.now().floor_to_millis();
    let mut change = engagements.store.change().await?;
    change.require_account(id).await?;
    if let Some(found) = change.find(KIND, id, tweet_id).await?
        && let Some(retweet_id) = found.retweet_id
    {
        let author_id = found.author_id;
        let retweet = Retweet { retweet_id, user_id: id, tweet_id, author_id, at };
        change.record(id, EngagementEvent::Unretweeted(retweet), at).await?;
        change.commit().await?;
    }
    Ok(Answer::found(Retweeted { id: None, retweeted: false }))
}
