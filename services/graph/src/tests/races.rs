//! Several at once about one request: it comes to one end.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::saga::State;
use tokio::task::JoinSet;

use super::harness::{ANN, BOB, Harness, on_each};

const ROUNDS: usize = 12;
const AT_ONCE: usize = 16;

/// Bob's account is protected.
async fn protected(graph: Harness) -> Arc<Harness> {
    graph.protect(BOB, true).await;
    Arc::new(graph)
}

/// Ann asks, and the saga waits, or has just begun.
async fn ask(graph: &Harness, round: usize) {
    graph.ask(ANN, BOB).await;
    if round.is_multiple_of(2) {
        let is_waiting = async || graph.states().await.last() == Some(&State::Waiting);
        graph.until("the saga waits", is_waiting).await;
    }
}

/// How the last saga ended.
async fn end(graph: &Harness) -> State {
    let ended = async || {
        let states = graph.states().await;
        states.iter().all(|state| matches!(state, State::Completed | State::Compensated))
    };
    graph.until("all sagas are at their end", ended).await;
    *graph.states().await.last().unwrap()
}

/// What is to be seen and heard of the last request agrees with how its saga ended.
async fn check(graph: &Harness, events: &[String], end: State) {
    let count = |name: &str| events.iter().filter(|event| *event == name).count();
    assert!(graph.requests(BOB).await.is_empty());
    assert_eq!(count("follow_requested 11>12"), 1, "{events:?}");
    assert_eq!(count("follow_request_removed 11>12"), 1, "{events:?}");
    let followed = count("followed 11>12");
    assert_eq!(followed, usize::from(end == State::Completed), "{events:?}");
    let follows = graph.list(BOB, BOB, "followers").await.contains(&ANN);
    assert_eq!(follows, followed > count("unfollowed 11>12"), "{events:?}");
    assert_eq!(graph.counts(BOB).await.0, i64::from(follows));
    let happened = graph.elsewhere.happened();
    let count = |name: &str| happened.iter().filter(|step| *step == name).count();
    assert_eq!(count("request 11>12"), count("-request 11>12") + count("backfill 11>12"));
}

/// Asks again and again, lets these two happen at once, and checks what comes of it.
async fn race(
    graph: &Arc<Harness>,
    one: impl AsyncFn(&Harness) -> u16 + Copy + Send + 'static,
    other: impl AsyncFn(&Harness) -> u16 + Copy + Send + 'static,
) {
    for round in 0..ROUNDS {
        let before = graph.events().await.len();
        ask(graph, round).await;
        let (one, other) = tokio::join!(one(graph), other(graph));
        for status in [one, other] {
            assert!(matches!(status, 200 | 404), "{one} {other}");
        }
        let end = end(graph).await;
        let events = graph.events().await.split_off(before);
        check(graph, &events, end).await;
        graph.end(BOB, "blocking", ANN).await.data();
        graph.end(ANN, "following", BOB).await.data();
    }
    graph.assert_rebuilds().await;
}

async fn accept(graph: &Harness) -> u16 {
    graph.answer(BOB, "accept", ANN).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_and_denied_at_once() {
    on_each(async |graph: Harness| {
        let deny = async |graph: &Harness| graph.answer(BOB, "deny", ANN).await.status.as_u16();
        race(&protected(graph).await, accept, deny).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_and_taken_back_at_once() {
    on_each(async |graph: Harness| {
        let take_back =
            async |graph: &Harness| graph.end(ANN, "following", BOB).await.status.as_u16();
        race(&protected(graph).await, accept, take_back).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_and_blocked_at_once() {
    on_each(async |graph: Harness| {
        let block = async |graph: &Harness| graph.begin(BOB, "blocking", ANN).await.status.as_u16();
        race(&protected(graph).await, accept, block).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_as_its_time_runs_out() {
    on_each(async |graph: Harness| {
        let run_out = async |graph: &Harness| {
            graph.clock.advance(Duration::from_hours(24 * 90));
            200
        };
        race(&protected(graph).await, accept, run_out).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_often_asks_once_and_who_accepts_often_lets_in_once() {
    on_each(async |graph: Harness| {
        let graph = protected(graph).await;
        let mut asking = JoinSet::new();
        for _ in 0..AT_ONCE {
            let graph = graph.clone();
            asking.spawn(async move { graph.ask(ANN, BOB).await });
        }
        asking.join_all().await;
        assert_eq!(graph.states().await.len(), 1);
        let mut accepting = JoinSet::new();
        for _ in 0..AT_ONCE {
            let graph = graph.clone();
            accepting.spawn(async move { accept(&graph).await });
        }
        let statuses = accepting.join_all().await;
        assert_eq!(statuses, [200; AT_ONCE]);
        let end = end(&graph).await;
        assert_eq!(end, State::Completed);
        check(&graph, &graph.events().await, end).await;
        graph.assert_rebuilds().await;
    })
    .await;
}
