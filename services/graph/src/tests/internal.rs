//! What other services ask.

use pillion_chassis::testing::caller;
use serde_json::json;

use super::harness::{ANN, BOB, CID, Harness, on_each};

fn reason(user: u64, reason: &str) -> (u64, String) {
    (user, reason.to_owned())
}

#[tokio::test]
async fn the_strongest_reason_counts() {
    on_each(async |graph: Harness| {
        assert!(graph.reasons(ANN, &[ANN, BOB, CID]).await.is_empty());
        graph.begin(ANN, "muting", BOB).await.data();
        assert_eq!(graph.reasons(ANN, &[BOB]).await, [reason(BOB, "muting")]);
        graph.begin(ANN, "blocking", BOB).await.data();
        assert_eq!(graph.reasons(ANN, &[BOB]).await, [reason(BOB, "blocking")]);
        graph.protect(BOB, true).await;
        assert_eq!(graph.reasons(ANN, &[BOB]).await, [reason(BOB, "protected")]);
        graph.begin(BOB, "blocking", ANN).await.data();
        assert_eq!(graph.reasons(ANN, &[BOB]).await, [reason(BOB, "blocked_by")]);
        graph.protect(CID, true).await;
        assert_eq!(
            graph.reasons(ANN, &[CID, ANN, BOB]).await,
            [reason(CID, "protected"), reason(BOB, "blocked_by")]
        );
    })
    .await;
}

#[tokio::test]
async fn followers_and_the_owner_see_a_protected_account() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.protect(BOB, true).await;
        graph.ask(CID, BOB).await;
        assert!(graph.reasons(ANN, &[BOB]).await.is_empty());
        assert!(graph.reasons(BOB, &[BOB]).await.is_empty());
        assert_eq!(graph.reasons(CID, &[BOB]).await, [reason(BOB, "protected")]);
        // To be followed by a protected account lets nobody in.
        graph.follow(BOB, CID).await;
        assert_eq!(graph.reasons(CID, &[BOB]).await, [reason(BOB, "protected")]);
        graph.begin(BOB, "blocking", ANN).await.data();
        let path = "/internal/visibility?users=11,12,13";
        let reply = graph.send_as("GET", path, Some(caller(None, "")), "").await;
        assert_eq!(*reply.data(), json!([{"id": "12", "reason": "protected"}]));
    })
    .await;
}

#[tokio::test]
async fn a_relation_is_told_from_both_sides() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.begin(ANN, "muting", BOB).await.data();
        let of_ann = graph.get(ANN, "/internal/relation?user=12").await;
        assert_eq!(
            *of_ann.data(),
            json!({"following": true, "followed_by": false, "blocking": false, "blocked_by": false, "muting": true})
        );
        let of_bob = graph.get(BOB, "/internal/relation?user=11").await;
        assert_eq!(
            *of_bob.data(),
            json!({"following": false, "followed_by": true, "blocking": false, "blocked_by": false, "muting": false})
        );
        graph.begin(BOB, "blocking", CID).await.data();
        let of_cid = graph.get(CID, "/internal/relation?user=12").await;
        assert_eq!(of_cid.data()["blocked_by"], true);
        assert_eq!(graph.get(BOB, "/internal/relation?user=13").await.data()["blocking"], true);
    })
    .await;
}

#[tokio::test]
async fn counts_are_told_in_the_order_asked_for_with_zeros() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.follow(CID, BOB).await;
        let reply = graph.get(ANN, "/internal/follow_counts?users=13,12,77").await;
        assert_eq!(
            *reply.data(),
            json!([
                {"id": "13", "followers_count": 0, "following_count": 1},
                {"id": "12", "followers_count": 2, "following_count": 0},
                {"id": "77", "followers_count": 0, "following_count": 0},
            ])
        );
    })
    .await;
}

#[tokio::test]
async fn lists_that_are_missing_bad_or_too_long_are_400() {
    on_each(async |graph: Harness| {
        for (path, count_max) in [("visibility", 300), ("follow_counts", 100)] {
            graph.get(ANN, &format!("/internal/{path}")).await.invalid("users");
            graph.get(ANN, &format!("/internal/{path}?users=ann")).await.invalid("users");
            let ids: Vec<String> = (1..=count_max + 1).map(|id| id.to_string()).collect();
            let most = ids[..count_max].join(",");
            let reply = graph.get(ANN, &format!("/internal/{path}?users={most}")).await;
            assert_eq!(reply.status, 200);
            let reply = graph.get(ANN, &format!("/internal/{path}?users={}", ids.join(","))).await;
            reply.invalid("users");
        }
        graph.get(ANN, "/internal/relation").await.invalid("user");
        graph.get(ANN, "/internal/relation?user=bob").await.invalid("user");
    })
    .await;
}

#[tokio::test]
async fn a04_connections_are_told_in_xs_words_and_only_to_users() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.follow(BOB, ANN).await;
        graph.begin(ANN, "muting", BOB).await.data();
        graph.begin(CID, "blocking", ANN).await.data();
        graph.begin(ANN, "blocking", CID).await.data();
        let path = "/internal/connections?users=12,13,77";
        let expected = json!([
            {"id": "12", "connection_status": ["followed_by", "following", "muting"]},
            // Whoever blocks the caller does not say so.
            {"id": "13", "connection_status": ["blocking"]},
            {"id": "77", "connection_status": []},
        ]);
        assert_eq!(*graph.get(ANN, path).await.data(), expected);
        graph.protect(BOB, true).await;
        graph.add_account(14);
        graph.ask(14, BOB).await;
        let connections = graph.get(BOB, "/internal/connections?users=14").await;
        let expected = json!([{"id": "14", "connection_status": ["follow_request_received"]}]);
        assert_eq!(*connections.data(), expected);
        let connections = graph.get(14, "/internal/connections?users=12").await;
        let expected = json!([{"id": "12", "connection_status": ["follow_request_sent"]}]);
        assert_eq!(*connections.data(), expected);
    })
    .await;
}
