//! The saga of a request to follow: how it comes to its end, and what is left then.

use std::time::Duration;

use pillion_chassis::saga::State;
use pillion_chassis::testing::{by_service, caller};
use serde_json::json;

use super::elsewhere::Mood;
use super::harness::{ANN, BOB, CID, Harness, on_each};

const DAY_HOURS: u64 = 24;

/// Bob's account is protected, Ann has asked, and the saga waits for the answer.
async fn asked(graph: &Harness) {
    graph.protect(BOB, true).await;
    graph.ask(ANN, BOB).await;
    graph.until_states(&[State::Waiting]).await;
    assert_eq!(graph.elsewhere.happened(), ["request 11>12"]);
}

#[tokio::test]
async fn an_accepted_request_becomes_a_follow_and_is_brought_home() {
    on_each(async |graph: Harness| {
        asked(&graph).await;
        let told = graph.elsewhere.data();
        assert_eq!(told["request_position"], 1);
        assert_eq!(told["at"], "2026-07-01T10:00:01.000Z");
        assert_eq!(graph.answer(BOB, "accept", ANN).await.status, 200);
        assert_eq!(graph.list(ANN, BOB, "followers").await, [ANN]);
        graph.until_states(&[State::Completed]).await;
        assert_eq!(graph.elsewhere.happened(), ["request 11>12", "backfill 11>12"]);
        // Whoever follows the log knows by this when the follow was taken up.
        assert_eq!(graph.elsewhere.data()["followed_position"], 3);
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn whatever_ends_a_request_ends_it_at_once_and_its_saga_takes_back() {
    on_each(async |graph: Harness| {
        graph.protect(BOB, true).await;
        let mut ended = Vec::new();
        let mut happened = Vec::new();
        for end in ["deny", "take back", "block", "be blocked", "follow while public"] {
            graph.ask(ANN, BOB).await;
            ended.push(State::Compensated);
            let mut waiting = ended.clone();
            *waiting.last_mut().unwrap() = State::Waiting;
            graph.until_states(&waiting).await;
            match end {
                "deny" => graph.answer(BOB, "deny", ANN).await,
                "take back" => graph.end(ANN, "following", BOB).await,
                "block" => graph.begin(ANN, "blocking", BOB).await,
                "be blocked" => graph.begin(BOB, "blocking", ANN).await,
                _ => {
                    graph.protect(BOB, false).await;
                    graph.begin(ANN, "following", BOB).await
                }
            }
            .data();
            assert!(graph.requests(BOB).await.is_empty(), "{end}");
            assert_eq!(graph.answer(BOB, "deny", ANN).await.status, 404, "{end}");
            graph.until_states(&ended).await;
            happened.extend(["request 11>12", "-request 11>12"]);
            assert_eq!(graph.elsewhere.happened(), happened, "{end}");
            graph.end(ANN, "blocking", BOB).await.data();
            graph.end(BOB, "blocking", ANN).await.data();
        }
        let removed = graph.events().await;
        let removed = removed.iter().filter(|event| *event == "follow_request_removed 11>12");
        assert_eq!(removed.count(), 5, "once each");
        assert_eq!((graph.counts(ANN).await, graph.counts(BOB).await), ((0, 1), (1, 0)));
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn a_request_that_nobody_answers_runs_out() {
    on_each(async |graph: Harness| {
        asked(&graph).await;
        graph.clock.advance(Duration::from_hours(90 * DAY_HOURS - 1));
        assert_eq!(graph.requests(BOB).await, [ANN]);
        graph.clock.advance(Duration::from_hours(1));
        graph.until_states(&[State::Compensated]).await;
        assert!(graph.requests(BOB).await.is_empty());
        assert_eq!(graph.answer(BOB, "accept", ANN).await.status, 404);
        assert_eq!(graph.elsewhere.happened(), ["request 11>12", "-request 11>12"]);
        assert_eq!(
            graph.events().await,
            ["follow_requested 11>12", "follow_request_removed 11>12"]
        );
        graph.ask(ANN, BOB).await;
        graph.until_states(&[State::Compensated, State::Waiting]).await;
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn who_was_turned_down_may_ask_again_while_that_is_taken_back() {
    on_each(async |graph: Harness| {
        graph.elsewhere.set_mood("request", Some(Mood::Fails));
        graph.protect(BOB, true).await;
        for _ in 0..3 {
            graph.ask(ANN, BOB).await;
            assert_eq!(graph.answer(BOB, "deny", ANN).await.status, 200);
        }
        graph.ask(ANN, BOB).await;
        assert_eq!(graph.requests(BOB).await, [ANN]);
        graph.elsewhere.set_mood("request", None);
        let over = State::Compensated;
        graph
            .until("three are over and one waits", async || {
                graph.clock.advance(Duration::from_secs(5));
                graph.states().await == [over, over, over, State::Waiting]
            })
            .await;
        assert_eq!(graph.elsewhere.happened(), ["request 11>12"], "of the others nothing is left");
        assert_eq!(graph.answer(BOB, "accept", ANN).await.status, 200);
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn an_acceptance_is_kept_until_the_request_was_told_of() {
    on_each(async |graph: Harness| {
        graph.elsewhere.set_mood("request", Some(Mood::Fails));
        graph.protect(BOB, true).await;
        graph.ask(ANN, BOB).await;
        let reply = graph.answer(BOB, "accept", ANN).await;
        assert_eq!(reply.status, 503, "{}", reply.body);
        assert!(reply.headers.contains_key("retry-after"));
        assert_eq!(graph.requests(BOB).await, [ANN]);
        graph.elsewhere.set_mood("request", None);
        graph
            .until("the saga goes on by itself", async || {
                graph.clock.advance(Duration::from_secs(5));
                graph.states().await == [State::Completed]
            })
            .await;
        assert_eq!(graph.list(ANN, BOB, "followers").await, [ANN]);
        assert_eq!(graph.answer(BOB, "accept", ANN).await.status, 200);
        assert_eq!(graph.elsewhere.happened(), ["request 11>12", "backfill 11>12"]);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_cannot_be_told_of_comes_to_nothing() {
    on_each(async |graph: Harness| {
        graph.protect(BOB, true).await;
        graph.elsewhere.set_mood("request", Some(Mood::Refuses));
        graph.ask(ANN, BOB).await;
        graph.until_states(&[State::Compensated]).await;
        assert!(graph.requests(BOB).await.is_empty());

        graph.elsewhere.set_mood("request", Some(Mood::Fails));
        graph.ask(ANN, BOB).await;
        graph
            .until("ten minutes are over", async || {
                graph.clock.advance(Duration::from_mins(1));
                graph.states().await == [State::Compensated, State::Compensated]
            })
            .await;
        assert!(graph.requests(BOB).await.is_empty());
        assert!(graph.elsewhere.happened().is_empty());
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn a_follow_is_there_while_it_is_being_brought_home() {
    on_each(async |graph: Harness| {
        asked(&graph).await;
        graph.elsewhere.set_mood("backfill", Some(Mood::Fails));
        assert_eq!(graph.answer(BOB, "accept", ANN).await.status, 200);
        assert_eq!(graph.list(ANN, BOB, "followers").await, [ANN]);
        // It may be over before it was brought home.
        graph.begin(BOB, "blocking", ANN).await.data();
        assert!(graph.list(BOB, BOB, "followers").await.is_empty());
        graph.elsewhere.set_mood("backfill", None);
        graph
            .until("it was brought home", async || {
                graph.clock.advance(Duration::from_secs(5));
                graph.states().await == [State::Completed]
            })
            .await;
        assert!(graph.list(BOB, BOB, "followers").await.is_empty());
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn requests_from_before_there_were_sagas_are_answered_as_ever() {
    on_each(async |graph: Harness| {
        graph.protect(BOB, true).await;
        for asks in [ANN, CID, 14] {
            graph.add_account(asks);
            graph.ask_without_saga(asks, BOB).await;
        }
        assert_eq!(graph.requests(BOB).await, [14, CID, ANN]);
        assert_eq!(graph.answer(BOB, "accept", ANN).await.status, 200);
        assert_eq!(graph.answer(BOB, "deny", CID).await.status, 200);
        assert_eq!(*graph.end(14, "following", BOB).await.data(), json!({"following": false}));
        assert_eq!(graph.list(ANN, BOB, "followers").await, [ANN]);
        assert!(graph.requests(BOB).await.is_empty() && graph.states().await.is_empty());
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn only_services_order_steps() {
    on_each(async |graph: Harness| {
        let body = json!({"saga": "s", "kind": "compensated", "data": {"user_id": "12"}});
        let path = "/internal/sagas/1/steps/hide";
        for (caller, status) in [
            (None, 401),
            (Some(caller(Some(BOB), "follows.write")), 403),
            (Some(by_service("identity")), 200),
        ] {
            for method in ["PUT", "DELETE"] {
                let reply = graph.send_as(method, path, caller.clone(), &body.to_string()).await;
                assert_eq!(reply.status, status, "{method}: {}", reply.body);
            }
        }
        let events = graph.events().await;
        assert_eq!(events, ["account_hidden 12", "account_unhidden 12"]);
        for (method, step) in [("PUT", "poke"), ("PUT", "unhide")] {
            let reply = graph.step(method, 2, step, BOB).await;
            assert_eq!(reply.status, 503, "{}", reply.body);
            assert_eq!(reply.headers["saga-step"], "failed");
        }
        let reply = graph.send_as(
            "PUT",
            "/internal/sagas/3/steps/hide",
            Some(by_service("identity")),
            r#"{"saga":"s","kind":"compensated","data":{"user":"12"}}"#,
        );
        let reply = reply.await;
        assert_eq!(
            (reply.status.as_u16(), &reply.headers["saga-step"]),
            (400, &"refused".parse().unwrap())
        );
    })
    .await;
}
