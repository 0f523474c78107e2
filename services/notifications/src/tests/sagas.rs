//! What sagas have this service do, and take back.

use pillion_chassis::sql::query;
use pillion_events::GraphEvent;
use serde_json::{Value, json};

use super::harness::{Harness, caller};

const ANN: u64 = 11;
const BOB: u64 = 12;

fn account(id: u64) -> Value {
    json!({"user_id": id.to_string()})
}

/// Who asks, as the inbox tells it.
async fn asked_by(h: &Harness, of: u64) -> Vec<u64> {
    let inbox = h.inbox(of).await;
    inbox.into_iter().filter(|(kind, ..)| kind == "follow_request").map(|(_, by, _)| by).collect()
}

async fn mailboxes(h: &Harness) -> i64 {
    let count = query("SELECT count(*) FROM mailbox").fetch_one::<(i64,)>(h.journal.database());
    count.await.unwrap().0
}

#[tokio::test]
async fn an_inbox_is_made_once_and_dropped_without_a_trace() {
    for h in Harness::on_both().await {
        for _ in 0..2 {
            assert_eq!(h.step("PUT", 1, "create_inbox", account(ANN)).await.status, 200);
            assert_eq!(mailboxes(&h).await, 1);
        }
        assert!(h.inbox(ANN).await.is_empty() && h.unread(ANN).await == 0);
        h.like(BOB, (1, ANN)).await;
        assert_eq!(h.unread(ANN).await, 1);
        assert_eq!(h.step("PUT", 2, "create_inbox", account(BOB)).await.status, 200);
        for _ in 0..2 {
            assert_eq!(h.step("DELETE", 2, "create_inbox", account(BOB)).await.status, 200);
            assert_eq!(mailboxes(&h).await, 1);
        }
        // What was taken back before it came does not come any more.
        assert_eq!(h.step("DELETE", 3, "create_inbox", account(BOB)).await.status, 200);
        assert_eq!(h.step("PUT", 3, "create_inbox", account(BOB)).await.status, 409);
        assert_eq!(mailboxes(&h).await, 1);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn a_request_is_told_once_and_withdrawn() {
    for h in Harness::on_both().await {
        let position = h.ask(BOB, ANN).await;
        assert_eq!(h.tell(position, BOB, ANN).await.status, 200);
        assert_eq!(asked_by(&h, ANN).await, [BOB]);
        let inbox = h.get(ANN, "").await;
        assert_eq!(inbox.items()[0]["created_at"], "2026-07-01T10:00:02.000Z");
        for _ in 0..2 {
            h.withdraw(position, BOB, ANN).await;
            assert!(asked_by(&h, ANN).await.is_empty());
        }
        assert_eq!(h.tell(position, BOB, ANN).await.status, 409);
        // Each request is news of its own.
        h.ask(BOB, ANN).await;
        assert_eq!(h.unread(ANN).await, 1);
        h.check_rebuild().await;
    }
}

/// The graph's events and the saga's calls come each at its own pace.
#[tokio::test]
async fn what_ends_a_request_does_not_end_the_next_one() {
    for h in Harness::on_both().await {
        let first = h.ask(BOB, ANN).await;
        let next = first + 2;
        // The second one is told of before the end of the first comes in.
        assert_eq!(h.tell(next, BOB, ANN).await.status, 200);
        assert_eq!(asked_by(&h, ANN).await, [BOB], "one of the two");
        let removed = h.graph(GraphEvent::FollowRequestRemoved, BOB, ANN).await;
        assert_eq!(removed, first + 1);
        assert_eq!(asked_by(&h, ANN).await, [BOB]);
        h.withdraw(first, BOB, ANN).await;
        assert_eq!(asked_by(&h, ANN).await, [BOB]);
        assert_eq!(h.graph(GraphEvent::FollowRequested, BOB, ANN).await, next);
        h.graph(GraphEvent::FollowRequestRemoved, BOB, ANN).await;
        assert!(asked_by(&h, ANN).await.is_empty());
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn who_does_not_want_to_hear_is_not_asked_and_who_is_gone_cannot_be() {
    for h in Harness::on_both().await {
        h.graph(GraphEvent::Muted, ANN, BOB).await;
        let position = h.ask(BOB, ANN).await;
        assert!(h.inbox(ANN).await.is_empty());
        h.withdraw(position, BOB, ANN).await;
        h.graph(GraphEvent::Unmuted, ANN, BOB).await;
        h.delete_user(BOB).await;
        for (one, two) in [(BOB, ANN), (ANN, BOB)] {
            let position = h.graph(GraphEvent::FollowRequested, one, two).await;
            let reply = h.tell(position, one, two).await;
            assert_eq!(
                (reply.status.as_u16(), &reply.headers["saga-step"]),
                (409, &"refused".parse().unwrap())
            );
        }
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn an_account_is_purged_when_its_end_was_heard_of() {
    for h in Harness::on_both().await {
        h.like(BOB, (1, ANN)).await;
        let early = h.step("PUT", 1, "purge", account(ANN)).await;
        assert_eq!(
            (early.status.as_u16(), &early.headers["saga-step"]),
            (503, &"failed".parse().unwrap())
        );
        h.delete_user(ANN).await;
        assert_eq!(h.step("PUT", 1, "purge", account(ANN)).await.status, 200);
        assert_eq!(mailboxes(&h).await, 0);
        // An inbox that is made late is none.
        assert_eq!(h.step("PUT", 2, "create_inbox", account(ANN)).await.status, 200);
        assert_eq!(mailboxes(&h).await, 0);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn only_services_order_steps() {
    for h in Harness::on_both().await {
        let body = json!({"saga": "s", "kind": "compensated", "data": account(ANN)}).to_string();
        let path = "/internal/sagas/1/steps/create_inbox";
        for (caller, status) in [(None, 401), (Some(caller(Some(ANN))), 403)] {
            for method in ["PUT", "DELETE"] {
                assert_eq!(h.send(method, path, caller.clone(), &body).await.status, status);
            }
        }
        assert_eq!(h.step("PUT", 1, "poke", account(ANN)).await.status, 503);
        assert_eq!(h.step("PUT", 2, "request", account(ANN)).await.status, 400);
        assert_eq!(mailboxes(&h).await, 0);
    }
}
