//! The service's URLs.

use pillion_chassis::Routes;

use crate::Tweets;
use crate::{delete_tweet, hide_reply, hydrate, list_tweets, post_tweet, quote_tweets, usage};

/// All of them. Those under `/internal` are for other services; the gateway never exposes them,
/// and reads all tweets through the first of them.
pub(crate) fn routes() -> Routes<Tweets> {
    Routes::new()
        .post("/2/tweets", post_tweet::post_tweet)
        .delete("/2/tweets/{id}", delete_tweet::delete_tweet)
        .put("/2/tweets/{id}/hidden", hide_reply::hide_reply)
        .get("/2/tweets/{id}/quote_tweets", quote_tweets::quote_tweets)
        .get("/2/users/{id}/tweets", list_tweets::list_tweets)
        .get("/2/usage/tweets", usage::usage)
        .get("/internal/tweets", hydrate::tweets_by_ids)
        .get("/internal/tweet_counts", hydrate::tweet_counts)
}
