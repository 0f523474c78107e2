//! What a page costs does not depend on how much is on it.

use pillion_chassis::testing::statements;

use super::harness::{ANN, BOB, HELLO, Harness, on_each};

/// How many statements each list takes.
async fn costs(engagements: &Harness, tweets: &str) -> Vec<usize> {
    let mut costs = Vec::new();
    for path in [
        "/2/users/11/liked_tweets?max_results=100",
        "/2/users/11/bookmarks?max_results=100",
        "/2/tweets/201/liking_users?max_results=100",
        "/2/tweets/201/retweeted_by?max_results=100",
        "/2/tweets/201/retweets?max_results=100",
        &format!("/internal/counts?tweets={tweets}"),
        &format!("/internal/like_counts?users={ANN},{BOB}"),
    ] {
        let (reply, statements) = statements(engagements.get(ANN, path)).await;
        assert!(!reply.items().is_empty(), "{path}: {}", reply.body);
        assert!((1..=2).contains(&statements.len()), "{path}: {statements:?}");
        costs.push(statements.len());
    }
    // The tweet is Bob's.
    let of_bob = engagements.get(BOB, "/2/users/reposts_of_me?max_results=100");
    let (reply, statements) = statements(of_bob).await;
    assert!(!reply.items().is_empty(), "{}", reply.body);
    costs.push(statements.len());
    costs
}

#[tokio::test]
async fn a_page_takes_as_many_statements_however_much_is_on_it() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        engagements.bookmark(ANN, HELLO).await;
        engagements.retweet(ANN, HELLO).await;
        let mut tweets = vec![HELLO.to_string()];
        let few = costs(&engagements, &tweets.join(",")).await;
        for n in 0..60 {
            engagements.add_tweet(1_000 + n, BOB);
            engagements.like(ANN, 1_000 + n).await;
            engagements.bookmark(ANN, 1_000 + n).await;
            tweets.push((1_000 + n).to_string());
            engagements.like(2_000 + n, HELLO).await;
            engagements.retweet(2_000 + n, HELLO).await;
        }
        assert_eq!(costs(&engagements, &tweets.join(",")).await, few);
    })
    .await;
}
