//! Blocks and mutes, and what they end and refuse.

use serde_json::json;

use super::harness::{ANN, BOB, CID, Harness, on_each};

#[tokio::test]
async fn a_block_ends_follows_in_both_directions() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.follow(BOB, ANN).await;
        graph.follow(CID, ANN).await;
        for _ in 0..2 {
            let reply = graph.begin(ANN, "blocking", BOB).await;
            assert_eq!(*reply.data(), json!({"blocking": true}));
        }
        assert_eq!(
            graph.events().await[3..],
            ["blocked 11>12", "unfollowed 11>12", "unfollowed 12>11"]
        );
        assert_eq!((graph.counts(ANN).await, graph.counts(BOB).await), ((1, 0), (0, 0)));
        graph.register(CID).await;
        assert_eq!(graph.list(ANN, ANN, "blocking").await, [BOB]);
        assert!(graph.list(BOB, BOB, "blocking").await.is_empty());
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn a_block_ends_requests_in_both_directions() {
    on_each(async |graph: Harness| {
        graph.protect(ANN, true).await;
        graph.protect(BOB, true).await;
        graph.ask(ANN, BOB).await;
        graph.ask(BOB, ANN).await;
        graph.begin(ANN, "blocking", BOB).await.data();
        assert_eq!(
            graph.events().await[2..],
            ["blocked 11>12", "follow_request_removed 11>12", "follow_request_removed 12>11"]
        );
        assert_eq!(graph.answer(ANN, "accept", BOB).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn nobody_follows_across_a_block() {
    on_each(async |graph: Harness| {
        graph.begin(ANN, "blocking", BOB).await.data();
        for protected in [false, true] {
            graph.protect(ANN, protected).await;
            let reply = graph.begin(BOB, "following", ANN).await;
            assert_eq!(reply.status, 403);
            assert_eq!(reply.body["title"], "Forbidden");
            assert_eq!(
                reply.body["detail"],
                "You have been blocked from following this account at the request of the user."
            );
        }
        let reply = graph.begin(ANN, "following", BOB).await;
        assert_eq!(reply.status, 403);
        assert!(reply.body["detail"].as_str().unwrap().contains("Unblock it first"));
        assert_eq!(graph.events().await, ["blocked 11>12"]);
    })
    .await;
}

#[tokio::test]
async fn an_unblock_brings_nothing_back_and_lets_follow_again() {
    on_each(async |graph: Harness| {
        graph.follow(BOB, ANN).await;
        graph.begin(ANN, "blocking", BOB).await.data();
        for _ in 0..2 {
            let reply = graph.end(ANN, "blocking", BOB).await;
            assert_eq!(*reply.data(), json!({"blocking": false}));
        }
        assert!(graph.list(ANN, ANN, "followers").await.is_empty());
        graph.follow(BOB, ANN).await;
        assert_eq!(graph.list(ANN, ANN, "followers").await, [BOB]);
    })
    .await;
}

#[tokio::test]
async fn both_may_block_each_other() {
    on_each(async |graph: Harness| {
        graph.begin(ANN, "blocking", BOB).await.data();
        graph.begin(BOB, "blocking", ANN).await.data();
        graph.end(ANN, "blocking", BOB).await.data();
        assert_eq!(graph.begin(ANN, "following", BOB).await.status, 403);
        assert_eq!(graph.list(BOB, BOB, "blocking").await, [ANN]);
    })
    .await;
}

#[tokio::test]
async fn who_is_blocked_does_not_see_the_others_lists() {
    on_each(async |graph: Harness| {
        graph.follow(CID, ANN).await;
        graph.begin(ANN, "blocking", BOB).await.data();
        for what in ["following", "followers"] {
            let reply = graph.get(BOB, &format!("/2/users/11/{what}")).await;
            assert_eq!(reply.body["errors"][0]["title"], "Authorization Error");
            assert!(reply.body.get("data").is_none());
        }
        // Who blocks still sees.
        graph.follow(CID, BOB).await;
        assert_eq!(graph.list(ANN, BOB, "followers").await, [CID]);
    })
    .await;
}

#[tokio::test]
async fn a_mute_is_the_muters_own_business() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        for _ in 0..2 {
            assert_eq!(*graph.begin(ANN, "muting", BOB).await.data(), json!({"muting": true}));
        }
        assert_eq!(graph.list(ANN, ANN, "muting").await, [BOB]);
        assert_eq!(graph.list(ANN, ANN, "following").await, [BOB]);
        assert!(graph.reasons(BOB, &[ANN]).await.is_empty());
        for _ in 0..2 {
            assert_eq!(*graph.end(ANN, "muting", BOB).await.data(), json!({"muting": false}));
        }
        assert_eq!(graph.events().await, ["followed 11>12", "muted 11>12", "unmuted 11>12"]);
        graph.register(CID).await;
        graph.assert_rebuilds().await;
    })
    .await;
}
