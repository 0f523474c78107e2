//! Bodies of tweets and numbers of tweets for the other services, many at a time.

use axum::extract::State;
use pillion_chassis::dialect::TWEET_FIELDS;
use pillion_chassis::{Answer, Caller, Parameters, Problem, TweetId, UserId};
use serde::Serialize;

use crate::Tweets;
use crate::tweet_body::TweetBody;

/// What one call may ask for: a page of X's lists.
const IDS_PER_REQUEST_MAX: usize = 100;

/// How many tweets a user has.
#[derive(Debug, Serialize)]
pub(crate) struct TweetCount {
    id: UserId,
    tweet_count: i64,
}

/// `GET /internal/tweets?ids=…`: bodies in the order of the request, those that are not there
/// left out. Whether the caller may see them is for the gateway to find out, with `_authors`.
pub(crate) async fn tweets_by_ids(
    State(tweets): State<Tweets>,
    caller: Caller,
    mut query: Parameters,
) -> Result<Answer<Vec<TweetBody>>, Problem> {
    let ids: Vec<TweetId> = query.list("ids", IDS_PER_REQUEST_MAX);
    let fields = query.fields("tweet.fields", &TWEET_FIELDS);
    query.finish()?;
    let mut stored = tweets.store.by_ids(&ids).await?;
    let mut found = Vec::with_capacity(stored.len());
    for id in ids {
        if let Some(index) = stored.iter().position(|tweet| tweet.id() == id) {
            found.push(TweetBody::new(stored.swap_remove(index), &fields));
        }
    }
    tweets.usage.count(&caller, found.len());
    Ok(Answer::list(found, Vec::new()))
}

/// `GET /internal/tweet_counts?users=…`: for those of the users who have any tweets.
pub(crate) async fn tweet_counts(
    State(tweets): State<Tweets>,
    _caller: Caller,
    mut query: Parameters,
) -> Result<Answer<Vec<TweetCount>>, Problem> {
    let users: Vec<UserId> = query.list("users", IDS_PER_REQUEST_MAX);
    query.finish()?;
    let counts = tweets.store.tweet_counts(&users).await?;
    let counts = counts.into_iter().map(|(id, tweet_count)| TweetCount { id, tweet_count });
    Ok(Answer::list(counts.collect(), Vec::new()))
}
