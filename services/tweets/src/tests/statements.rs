//! What a page costs does not depend on how much is on it.

use pillion_chassis::testing::statements;

use super::harness::{ANN, BOB, CID, Harness, on_each};

/// How many statements each list takes.
async fn costs(tweets: &Harness, root: &str, ids: &str) -> Vec<(String, usize)> {
    let mut costs = Vec::new();
    for path in [
        "/2/users/11/tweets?max_results=100&tweet.fields=public_metrics,entities".to_owned(),
        format!("/2/tweets/{root}/quote_tweets?max_results=100"),
        format!("/internal/tweets?ids={ids}&tweet.fields=public_metrics,referenced_tweets"),
        format!("/internal/tweet_counts?users={ANN},{BOB},{CID}"),
    ] {
        let (reply, statements) = statements(tweets.get(&path)).await;
        assert!(!reply.items().is_empty(), "{path}: {}", reply.body);
        assert!((1..=2).contains(&statements.len()), "{path}: {statements:?}");
        let route = path.split(['?', '=']).next().unwrap_or_default();
        costs.push((route.to_owned(), statements.len()));
    }
    costs
}

#[tokio::test]
async fn a_page_takes_as_many_statements_however_much_is_on_it() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let mut ids = vec![root.clone()];
        ids.push(tweets.quote(BOB, &root, "a quote").await.id());
        let few = costs(&tweets, &root, &ids.join(",")).await;
        for n in 0..45 {
            ids.push(tweets.post_text(ANN, &format!("tweet {n} @bob #tag")).await);
            ids.push(tweets.quote(CID, &root, &format!("quote {n}")).await.id());
        }
        assert_eq!(costs(&tweets, &root, &ids.join(",")).await, few);
    })
    .await;
}
