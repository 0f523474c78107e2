//! The service's URLs.

use pillion_chassis::Routes;

use crate::Tweets;
use crate::{delete_tweet, get_tweets, list_tweets, post_tweet};

/// All of them.
pub(crate) fn routes() -> Routes<Tweets> {
    Routes::new()
        .post("/2/tweets", post_tweet::post_tweet)
        .get("/2/tweets", get_tweets::by_ids)
        .get("/2/tweets/{id}", get_tweets::by_id)
        .delete("/2/tweets/{id}", delete_tweet::delete_tweet)
        .get("/2/users/{id}/tweets", list_tweets::list_tweets)
}
