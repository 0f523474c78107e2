//! Tweets by id, one or up to a hundred.

use axum::extract::State;
use pillion_chassis::dialect::TWEET_FIELDS;
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Parameters, Path, Problem, TweetId};

use crate::Tweets;
use crate::tweet_body::TweetBody;

/// X's bound for one look-up.
const TWEETS_PER_REQUEST_MAX: usize = 100;

/// `GET /2/tweets/{id}`
pub(crate) async fn by_id(
    State(tweets): State<Tweets>,
    Path(id): Path<TweetId>,
    mut query: Parameters,
) -> Result<Answer<TweetBody>, Problem> {
    let fields = query.fields("tweet.fields", &TWEET_FIELDS);
    query.finish()?;
    Ok(match tweets.store.by_ids(&[id]).await?.into_iter().next() {
        Some(tweet) => Answer::found(TweetBody::new(tweet, &fields)),
        None => Answer::missing(not_found_error("tweet", "id", &id.to_string())),
    })
}

/// `GET /2/tweets?ids=…`
pub(crate) async fn by_ids(
    State(tweets): State<Tweets>,
    mut query: Parameters,
) -> Result<Answer<Vec<TweetBody>>, Problem> {
    let ids: Vec<TweetId> = query.list("ids", TWEETS_PER_REQUEST_MAX);
    let fields = query.fields("tweet.fields", &TWEET_FIELDS);
    query.finish()?;
    let mut stored = tweets.store.by_ids(&ids).await?;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for id in ids {
        match stored.iter().position(|tweet| tweet.id() == id) {
            Some(index) => found.push(TweetBody::new(stored.swap_remove(index), &fields)),
            None => errors.push(not_found_error("tweet", "ids", &id.to_string())),
        }
    }
    Ok(Answer::list(found, errors))
}
