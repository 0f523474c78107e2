//! Following protected accounts.

use pillion_chassis::testing::caller;
use serde_json::json;

use super::harness::{ANN, BOB, CID, Harness, on_each};

#[tokio::test]
async fn a_protected_account_lets_its_followers_in_one_by_one() {
    on_each(async |graph: Harness| {
        graph.protect(BOB, true).await;
        graph.ask(ANN, BOB).await;
        graph.ask(ANN, BOB).await;
        graph.ask(CID, BOB).await;
        assert_eq!(graph.counts(BOB).await, (0, 0));
        assert_eq!(graph.get(BOB, "/pillion/v1/follow-requests").await.ids(), [CID, ANN]);
        assert!(graph.get(ANN, "/pillion/v1/follow-requests").await.ids().is_empty());

        for _ in 0..2 {
            let reply = graph.answer(BOB, "accept", ANN).await;
            assert_eq!(*reply.data(), json!({"accepted": true}));
        }
        assert_eq!(*graph.answer(BOB, "deny", CID).await.data(), json!({"denied": true}));
        assert!(graph.get(BOB, "/pillion/v1/follow-requests").await.ids().is_empty());
        assert_eq!(graph.list(BOB, BOB, "followers").await, [ANN]);
        assert_eq!(graph.counts(BOB).await, (1, 0));
        graph.follow(ANN, BOB).await;
        assert_eq!(
            graph.events().await,
            [
                "follow_requested 11>12",
                "follow_requested 13>12",
                "follow_request_removed 11>12",
                "followed 11>12",
                "follow_request_removed 13>12",
            ]
        );
        // Who was denied may ask again.
        graph.ask(CID, BOB).await;
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn only_requests_that_are_there_are_answered_and_by_whom_they_ask() {
    on_each(async |graph: Harness| {
        graph.protect(BOB, true).await;
        graph.ask(ANN, BOB).await;
        for (by, requester) in [(BOB, CID), (CID, ANN), (ANN, ANN), (ANN, BOB)] {
            for answer in ["accept", "deny"] {
                let reply = graph.answer(by, answer, requester).await;
                assert_eq!(reply.status, 404, "{}", reply.body);
                assert_eq!(reply.body["resource_id"], requester.to_string());
            }
        }
        assert_eq!(graph.events().await.len(), 1);
        graph.send("POST", "/pillion/v1/follow-requests/x/deny", BOB, "").await.invalid("user_id");
    })
    .await;
}

#[tokio::test]
async fn a_request_can_be_taken_back() {
    on_each(async |graph: Harness| {
        graph.protect(BOB, true).await;
        graph.ask(ANN, BOB).await;
        assert_eq!(*graph.end(ANN, "following", BOB).await.data(), json!({"following": false}));
        assert!(graph.get(BOB, "/pillion/v1/follow-requests").await.ids().is_empty());
        assert_eq!(graph.answer(BOB, "accept", ANN).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn requests_wait_on_when_the_account_becomes_public() {
    on_each(async |graph: Harness| {
        graph.protect(BOB, true).await;
        graph.ask(ANN, BOB).await;
        graph.ask(CID, BOB).await;
        graph.protect(BOB, false).await;
        assert_eq!(graph.counts(BOB).await, (0, 0));
        assert_eq!(graph.get(BOB, "/pillion/v1/follow-requests").await.ids(), [CID, ANN]);
        // Either side may end the wait.
        graph.follow(ANN, BOB).await;
        assert_eq!(graph.answer(BOB, "accept", CID).await.status, 200);
        assert_eq!(graph.list(CID, BOB, "followers").await, [CID, ANN]);
        assert!(graph.get(BOB, "/pillion/v1/follow-requests").await.ids().is_empty());
        assert_eq!(graph.events().await[2..4], ["follow_request_removed 11>12", "followed 11>12"]);
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn who_followed_before_the_account_was_protected_stays() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.protect(BOB, true).await;
        graph.follow(ANN, BOB).await;
        assert_eq!(graph.list(ANN, BOB, "followers").await, [ANN]);
    })
    .await;
}

#[tokio::test]
async fn a_protected_accounts_lists_are_for_its_followers() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.follow(BOB, CID).await;
        graph.protect(BOB, true).await;
        for what in ["following", "followers"] {
            let path = format!("/2/users/12/{what}");
            for reply in [
                graph.get(CID, &path).await,
                graph.send_as("GET", &path, Some(caller(None, "")), "").await,
            ] {
                assert_eq!(reply.status, 200);
                assert!(reply.body.get("data").is_none() && reply.body.get("meta").is_none());
                let error = &reply.body["errors"][0];
                assert_eq!(error["title"], "Authorization Error");
                assert_eq!(
                    error["detail"],
                    "Sorry, you are not authorized to see the user with id: [12]."
                );
            }
            for by in [ANN, BOB] {
                assert_eq!(graph.get(by, &path).await.ids().len(), 1);
            }
        }
        graph.protect(BOB, false).await;
        assert_eq!(graph.list(CID, BOB, "followers").await, [ANN]);
    })
    .await;
}
