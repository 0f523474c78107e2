//! Accounts that are hidden for a while, and accounts that are deleted.

use pillion_chassis::saga::State;
use serde_json::json;

use super::harness::{ANN, BOB, CID, Harness, on_each};

/// All that is to be seen of the three accounts.
async fn seen(graph: &Harness) -> Vec<String> {
    let mut all = Vec::new();
    for user in [ANN, BOB, CID] {
        all.push(format!("{user} {:?}", graph.counts(user).await));
        for what in ["following", "followers", "blocking", "muting"] {
            let reply = graph.get(user, &format!("/2/users/{user}/{what}")).await;
            all.push(format!("{user} {what} {}", reply.body));
        }
        all.push(format!("{user} asked by {:?}", graph.requests(user).await));
        for other in [ANN, BOB, CID] {
            let relation = graph.get(user, &format!("/internal/relation?user={other}")).await;
            all.push(format!("{user} {other} {}", relation.data()));
        }
    }
    all
}

async fn hide(graph: &Harness, saga: i64, user: u64) {
    for _ in 0..2 {
        assert_eq!(graph.step("PUT", saga, "hide", user).await.status, 200);
    }
}

async fn unhide(graph: &Harness, saga: i64, user: u64) {
    for _ in 0..2 {
        assert_eq!(graph.step("DELETE", saga, "hide", user).await.status, 200);
    }
}

#[tokio::test]
async fn a_hidden_account_is_nowhere_and_comes_back_as_it_was() {
    on_each(async |graph: Harness| {
        for id in [ANN, BOB, CID] {
            graph.register(id).await;
        }
        graph.follow(ANN, BOB).await;
        graph.follow(BOB, ANN).await;
        graph.follow(BOB, CID).await;
        graph.follow(CID, BOB).await;
        graph.follow(CID, ANN).await;
        graph.begin(ANN, "muting", BOB).await.data();
        graph.add_account(14);
        graph.begin(14, "blocking", BOB).await.data();
        graph.protect(CID, true).await;
        graph.end(BOB, "following", CID).await.data();
        graph.ask(BOB, CID).await;
        let before = seen(&graph).await;

        hide(&graph, 1, BOB).await;
        assert_eq!(graph.counts(ANN).await, (1, 0));
        assert_eq!(graph.counts(CID).await, (0, 1));
        assert_eq!(graph.counts(BOB).await, (0, 0));
        assert_eq!(graph.list(ANN, ANN, "followers").await, [CID]);
        assert!(graph.list(ANN, ANN, "following").await.is_empty());
        assert!(graph.list(ANN, ANN, "muting").await.is_empty());
        assert!(graph.list(14, 14, "blocking").await.is_empty());
        assert!(graph.requests(CID).await.is_empty());
        for what in ["following", "followers"] {
            let reply = graph.get(ANN, &format!("/2/users/12/{what}")).await;
            assert_eq!(reply.error()["title"], "Not Found Error");
        }
        let relation = graph.get(ANN, "/internal/relation?user=12").await;
        assert!(relation.data().as_object().unwrap().values().all(|is| *is == json!(false)));
        graph.assert_rebuilds().await;

        unhide(&graph, 1, BOB).await;
        assert_eq!(seen(&graph).await, before);
        let events = graph.events().await;
        assert_eq!(events[events.len() - 2..], ["account_hidden 12", "account_unhidden 12"]);
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_begins_with_a_hidden_account_or_by_one() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.protect(CID, true).await;
        graph.ask(BOB, CID).await;
        graph.until_states(&[State::Waiting]).await;
        hide(&graph, 1, BOB).await;
        let events = graph.events().await;
        for what in ["following", "blocking", "muting"] {
            graph.begin(ANN, what, BOB).await.invalid("target_user_id");
            assert_eq!(graph.begin(BOB, what, ANN).await.status, 401);
            assert_eq!(graph.end(BOB, what, ANN).await.status, 401);
        }
        for answer in ["accept", "deny"] {
            assert_eq!(graph.answer(CID, answer, BOB).await.status, 404);
            assert_eq!(graph.answer(BOB, answer, ANN).await.status, 401);
        }
        assert_eq!(graph.events().await, events);
        unhide(&graph, 1, BOB).await;
        assert_eq!(graph.answer(CID, "accept", BOB).await.status, 200);
        assert_eq!(*graph.end(ANN, "following", BOB).await.data(), json!({"following": false}));
        assert_eq!(graph.counts(BOB).await, (0, 1));
        graph.assert_rebuilds().await;
    })
    .await;
}

/// Who is hidden counts for nobody, whoever comes and goes first.
#[tokio::test]
async fn counts_are_right_in_any_order_of_hiding() {
    on_each(async |graph: Harness| {
        for (one, other) in [(ANN, BOB), (BOB, ANN), (ANN, CID), (CID, BOB)] {
            graph.follow(one, other).await;
        }
        let counts = async || {
            let all = [graph.counts(ANN).await, graph.counts(BOB).await, graph.counts(CID).await];
            all.map(|(followers, following)| (followers, following))
        };
        let before = counts().await;
        assert_eq!(before, [(1, 2), (2, 1), (1, 1)]);
        hide(&graph, 1, ANN).await;
        assert_eq!(counts().await, [(0, 0), (1, 0), (0, 1)]);
        hide(&graph, 2, BOB).await;
        assert_eq!(counts().await, [(0, 0), (0, 0), (0, 0)]);
        unhide(&graph, 1, ANN).await;
        assert_eq!(counts().await, [(0, 1), (0, 0), (1, 0)]);
        // One of them never comes back.
        graph.delete_account(BOB).await;
        assert_eq!(counts().await, [(0, 1), (0, 0), (1, 0)]);
        assert_eq!(graph.step("PUT", 3, "hide", BOB).await.status, 409);
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn requests_of_deleted_accounts_end_with_their_sagas_and_then_it_is_purged() {
    on_each(async |graph: Harness| {
        graph.protect(BOB, true).await;
        graph.protect(CID, true).await;
        graph.ask(ANN, BOB).await;
        graph.ask(ANN, CID).await;
        graph.add_account(14);
        graph.ask(14, BOB).await;
        graph.ask_without_saga(15, BOB).await;
        graph.follow(CID, ANN).await;
        graph.until_states(&[State::Waiting; 3]).await;
        let purge = async |saga, user| graph.step("PUT", saga, "purge", user).await;
        let early = purge(1, BOB).await;
        assert_eq!(
            (early.status.as_u16(), &early.headers["saga-step"]),
            (503, &"failed".parse().unwrap())
        );

        graph.delete_account(BOB).await;
        // From the first moment on.
        assert_eq!(graph.get(BOB, "/pillion/v1/follow-requests").await.status, 401);
        assert_eq!(graph.answer(BOB, "accept", ANN).await.status, 401);
        graph.until("purged", async || purge(1, BOB).await.status == 200).await;
        graph.until_states(&[State::Compensated, State::Waiting, State::Compensated]).await;
        assert_eq!(graph.requests(CID).await, [ANN]);

        graph.delete_account(ANN).await;
        assert!(graph.requests(CID).await.is_empty());
        assert_eq!(graph.answer(CID, "accept", ANN).await.status, 404);
        graph.until("purged", async || purge(2, ANN).await.status == 200).await;
        graph.until_states(&[State::Compensated; 3]).await;
        assert_eq!(graph.counts(CID).await, (0, 0));
        let ends = graph.events().await;
        let ends = ends.iter().filter(|event| event.starts_with("follow_request_removed")).count();
        assert_eq!(ends, 4);
        graph.assert_rebuilds().await;
    })
    .await;
}

/// What somebody began with an account can be ended when the account is deactivated or deleted, and
/// stays ended when it is back.
#[tokio::test]
async fn a06_what_was_begun_with_an_account_that_is_gone_can_be_ended() {
    on_each(async |graph: Harness| {
        for id in [ANN, BOB, CID] {
            graph.register(id).await;
        }
        graph.follow(ANN, BOB).await;
        graph.begin(ANN, "muting", BOB).await.data();
        graph.begin(CID, "blocking", BOB).await.data();
        hide(&graph, 1, BOB).await;
        for _ in 0..2 {
            let ended = graph.end(ANN, "following", BOB).await;
            assert_eq!((ended.status.as_u16(), ended.data()), (200, &json!({"following": false})));
            assert_eq!(*graph.end(ANN, "muting", BOB).await.data(), json!({"muting": false}));
            assert_eq!(*graph.end(CID, "blocking", BOB).await.data(), json!({"blocking": false}));
        }
        graph.assert_rebuilds().await;
        unhide(&graph, 1, BOB).await;
        for user in [ANN, CID] {
            let relation = graph.get(user, "/internal/relation?user=12").await;
            assert!(relation.data().as_object().unwrap().values().all(|is| *is == json!(false)));
        }
        assert_eq!((graph.counts(ANN).await, graph.counts(BOB).await), ((0, 0), (0, 0)));

        // A request to follow, too.
        graph.protect(CID, true).await;
        graph.ask(BOB, CID).await;
        hide(&graph, 2, CID).await;
        assert_eq!(*graph.end(BOB, "following", CID).await.data(), json!({"following": false}));
        unhide(&graph, 2, CID).await;
        assert!(graph.requests(CID).await.is_empty());

        graph.follow(ANN, BOB).await;
        graph.delete_account(BOB).await;
        for what in ["following", "muting", "blocking"] {
            assert_eq!(graph.end(ANN, what, BOB).await.status, 200, "{what}");
        }
        graph.end(ANN, "following", ANN).await.invalid("target_user_id");
        graph.assert_rebuilds().await;
    })
    .await;
}
