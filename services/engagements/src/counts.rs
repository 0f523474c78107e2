//! How many like, retweet and keep tweets: for the gateway.

use axum::extract::State;
use pillion_chassis::{Answer, Caller, Parameters, Problem, TweetId};
use serde::Serialize;

use crate::Engagements;

/// As many tweets as one look-up gives.
const TWEETS_PER_REQUEST_MAX: usize = 100;

/// A tweet's counts.
#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    id: TweetId,
    like_count: i64,
    retweet_count: i64,
    bookmark_count: i64,
}

/// `GET /internal/counts?tweets=…`: for those of which any is not zero.
pub(crate) async fn counts(
    State(engagements): State<Engagements>,
    _: Caller,
    mut query: Parameters,
) -> Result<Answer<Vec<Counts>>, Problem> {
    let tweets: Vec<TweetId> = query.list("tweets", TWEETS_PER_REQUEST_MAX);
    query.finish()?;
    let totals = engagements.store.counts(&tweets).await?;
    let counts = tweets
        .into_iter()
        .filter_map(|id| {
            let &[like_count, retweet_count, bookmark_count] = totals.get(&id)?;
            Some(Counts { id, like_count, retweet_count, bookmark_count })
        })
        .collect();
    Ok(Answer::list(counts, Vec::new()))
}
