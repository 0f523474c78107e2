//! The service's URLs.

use pillion_chassis::Routes;

use crate::Engagements;
use crate::{bookmark, counts, like, like_counts, list_tweets, list_users, retweet};

/// All of them. Those under `/internal` are for other services; the gateway never exposes them.
pub(crate) fn routes() -> Routes<Engagements> {
    Routes::new()
        .post("/2/users/{id}/likes", like::like)
        .delete("/2/users/{id}/likes/{tweet_id}", like::unlike)
        .get("/2/users/{id}/liked_tweets", list_tweets::liked_tweets)
        .get("/2/tweets/{id}/liking_users", list_users::liking_users)
        .post("/2/users/{id}/retweets", retweet::retweet)
        .delete("/2/users/{id}/retweets/{source_tweet_id}", retweet::unretweet)
        .get("/2/tweets/{id}/retweeted_by", list_users::retweeted_by)
        .get("/2/tweets/{id}/retweets", list_tweets::retweets)
        .get("/2/users/reposts_of_me", list_tweets::reposts_of_me)
        .post("/2/users/{id}/bookmarks", bookmark::bookmark)
        .delete("/2/users/{id}/bookmarks/{tweet_id}", bookmark::unbookmark)
        .get("/2/users/{id}/bookmarks", list_tweets::bookmarks)
        .get("/internal/counts", counts::counts)
        .get("/internal/like_counts", like_counts::like_counts)
}
