//! What the gateway asks for its metrics.

use serde_json::json;

use super::harness::{AGAIN, ANN, BOB, CID, HELLO, Harness, MINE, on_each};

#[tokio::test]
async fn counts_are_told_for_tweets_that_have_any_and_in_the_order_asked_for() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        engagements.like(CID, HELLO).await;
        engagements.bookmark(CID, AGAIN).await;
        engagements.like(CID, MINE).await;
        engagements.end(CID, "likes", MINE).await.data();
        let reply = engagements.get(ANN, "/internal/counts?tweets=202,203,201,299").await;
        assert_eq!(
            *reply.data(),
            json!([
                {"id": "202", "like_count": 0, "retweet_count": 0, "bookmark_count": 1},
                {"id": "201", "like_count": 2, "retweet_count": 0, "bookmark_count": 0},
            ])
        );
        let none = engagements.get(ANN, "/internal/counts?tweets=299").await;
        assert_eq!((none.status.as_u16(), none.body), (200, json!({})));
    })
    .await;
}

#[tokio::test]
async fn like_counts_are_told_for_every_user() {
    on_each(async |engagements: Harness| {
        engagements.like(CID, HELLO).await;
        engagements.like(CID, AGAIN).await;
        engagements.bookmark(BOB, HELLO).await;
        let reply = engagements.get(ANN, "/internal/like_counts?users=12,13").await;
        assert_eq!(
            *reply.data(),
            json!([{"id": "12", "like_count": 0}, {"id": "13", "like_count": 2}])
        );
    })
    .await;
}

#[tokio::test]
async fn lists_that_are_missing_bad_or_too_long_are_400() {
    on_each(async |engagements: Harness| {
        for (path, name) in [("counts", "tweets"), ("like_counts", "users")] {
            engagements.get(ANN, &format!("/internal/{path}")).await.invalid(name);
            engagements.get(ANN, &format!("/internal/{path}?{name}=x")).await.invalid(name);
            let ids: Vec<String> = (1..=101).map(|id| id.to_string()).collect();
            let most = format!("/internal/{path}?{name}={}", ids[..100].join(","));
            assert_eq!(engagements.get(ANN, &most).await.status, 200);
            let over = format!("/internal/{path}?{name}={}", ids.join(","));
            engagements.get(ANN, &over).await.invalid(name);
        }
    })
    .await;
}
