//! Pages, filters, read marks, and how much is kept.

use pillion_chassis::event_log;
use pillion_chassis::testing::BACKENDS;
use pillion_chassis::testing::told::{tweet, user};
use pillion_events::EngagementEvent;
use serde_json::json;

use super::harness::{Harness, caller};
use crate::KEPT_MAX;
use crate::notice::{Kind, Notice};
use crate::store::inbox;

const ANN: u64 = 11;
const BOB: u64 = 12;
const CID: u64 = 13;

/// Ann is told of so many likes; the notifications' ids, latest first.
async fn liked(h: &Harness, count: u64) -> Vec<String> {
    for n in 0..count {
        h.like(100 + n, (1, ANN)).await;
    }
    h.get(ANN, "?max_results=100").await.id_texts()
}

fn up_to(id: &str) -> String {
    json!({"up_to": id}).to_string()
}

#[tokio::test]
async fn pages_lead_on_and_back_over_everything_once() {
    for h in Harness::on_both().await {
        let ids = liked(&h, 7).await;
        h.like(ANN, (2, BOB)).await;
        let first = h.get(ANN, "?max_results=3").await;
        assert_eq!(first.id_texts(), ids[..3]);
        let meta = &first.body["meta"];
        assert_eq!(meta["result_count"], 3);
        assert_eq!((&meta["newest_id"], &meta["oldest_id"]), (&json!(ids[0]), &json!(ids[2])));
        assert_eq!(first.token("previous_token"), None);
        let to = async |token: Option<String>| {
            h.get(ANN, &format!("?max_results=3&pagination_token={}", token.unwrap())).await
        };
        let second = to(first.token("next_token")).await;
        assert_eq!(second.id_texts(), ids[3..6]);
        let third = to(second.token("next_token")).await;
        assert_eq!(third.id_texts(), ids[6..]);
        assert_eq!(third.token("next_token"), None);
        let back = to(third.token("previous_token")).await;
        assert_eq!(back.id_texts(), ids[3..6]);
        // What is withdrawn meanwhile is on no page.
        h.unlike(103, (1, ANN)).await;
        let second = to(first.token("next_token")).await;
        assert_eq!(second.id_texts(), [&ids[4..6], &ids[6..]].concat());
        let empty = h.get(CID, "").await;
        assert_eq!(empty.body, json!({"meta": {"result_count": 0}}));
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only() {
    for h in Harness::on_both().await {
        liked(&h, 4).await;
        let next = h.get(ANN, "?max_results=2").await.token("next_token").unwrap();
        let mut forged = next.clone();
        forged.replace_range(..1, if next.starts_with('B') { "A" } else { "B" });
        for (by, query) in [
            (BOB, format!("pagination_token={next}")),
            (ANN, format!("types=like&pagination_token={next}")),
            (ANN, format!("unread_only=true&pagination_token={next}")),
            (ANN, format!("pagination_token={forged}")),
            (ANN, "pagination_token=".to_owned()),
        ] {
            let reply = h.get(by, &format!("?{query}")).await;
            assert_eq!(reply.status, 400, "{query}");
            let parameters = &reply.body["errors"][0]["parameters"];
            assert!(parameters.get("pagination_token").is_some(), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn the_list_is_filtered() {
    for h in Harness::on_both().await {
        h.like(BOB, (1, ANN)).await;
        h.follow(BOB, ANN).await;
        h.retweet(EngagementEvent::Retweeted, 9, BOB, (1, ANN)).await;
        let all = h.get(ANN, "").await.id_texts();
        let get = async |query: &str| h.get(ANN, query).await.id_texts();
        assert_eq!(get("?types=like,retweet").await, [all[0].clone(), all[2].clone()]);
        assert_eq!(get("?types=follow&max_results=1").await, all[1..2]);
        assert!(get("?types=mention").await.is_empty());
        h.mark_read(ANN, &up_to(&all[1])).await;
        assert_eq!(get("?unread_only=true").await, all[..1]);
        assert_eq!(get("?unread_only=false").await, all);
        assert!(get("?unread_only=true&types=like").await.is_empty());
        let read: Vec<bool> =
            h.get(ANN, "").await.items().iter().map(|i| i["read"].as_bool().unwrap()).collect();
        assert_eq!(read, [false, true, true]);
    }
}

#[tokio::test]
async fn the_mark_moves_on_only() {
    for h in Harness::on_both().await {
        let ids = liked(&h, 3).await;
        assert_eq!((h.unread(ANN).await, h.unread(BOB).await), (3, 0));
        let marked = h.mark_read(ANN, &up_to(&ids[1])).await;
        assert_eq!(marked.body, json!({"data": {"read_up_to": ids[1], "unread_count": 1}}));
        let again = h.mark_read(ANN, &up_to(&ids[2])).await;
        assert_eq!(again.body, marked.body);
        let marked = h.mark_read(ANN, &up_to(&ids[0])).await;
        assert_eq!(marked.body["data"]["unread_count"], 0);
        // One event for each time that it moved.
        let events = event_log::read_after(&h.test.database, crate::NAME, 0, 10).await.unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!((events[1].stream_id.as_str(), events[1].version), ("user/11", 2));
        // What comes in afterwards is unread, also when its event is older than the mark.
        h.clock.set("2020-01-01T00:00:00Z".parse().unwrap());
        h.like(BOB, (1, ANN)).await;
        assert_eq!(h.unread(ANN).await, 1);
        let late = h.get(ANN, "").await.id_texts()[0].parse::<i64>().unwrap();
        assert_eq!(late, ids[0].parse::<i64>().unwrap() + 1);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn a_mark_beyond_the_newest_is_refused() {
    for h in Harness::on_both().await {
        let ids = liked(&h, 1).await;
        let beyond = (ids[0].parse::<i64>().unwrap() + 1).to_string();
        for (by, body) in [
            (ANN, up_to(&beyond)),
            (BOB, up_to(&ids[0])),
            (ANN, "{}".to_owned()),
            (ANN, r#"{"up_to":7}"#.to_owned()),
            (ANN, r#"{"up_to":"x"}"#.to_owned()),
            (ANN, r#"{"up_to":"1","all":true}"#.to_owned()),
            (ANN, String::new()),
        ] {
            let reply = h.mark_read(by, &body).await;
            assert_eq!(reply.status, 400, "{body}: {}", reply.body);
        }
        assert_eq!(h.unread(ANN).await, 1);
        let events = event_log::read_after(&h.test.database, crate::NAME, 0, 10).await.unwrap();
        assert!(events.is_empty());
    }
}

#[tokio::test]
async fn only_users_are_notified_and_only_of_what_the_routes_have() {
    let h = Harness::start(BACKENDS[0]).await;
    for path in ["", "/unread_count", "/stream"] {
        let path = format!("/pillion/v1/notifications{path}");
        assert_eq!(h.send("GET", &path, None, "").await.status, 401);
        assert_eq!(h.send("GET", &path, Some(caller(None)), "").await.status, 403);
    }
    for (query, parameter) in [
        ("?max_results=0", "max_results"),
        ("?max_results=101", "max_results"),
        ("?types=likes", "types"),
        ("?unread_only=yes", "unread_only"),
        ("?page=2", "page"),
        ("/unread_count?types=like", "types"),
        ("/stream?types=like", "types"),
    ] {
        let reply = h.get(ANN, query).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.body["errors"][0]["parameters"].get(parameter).is_some(), "{}", reply.body);
    }
}

#[tokio::test]
async fn the_newest_thousand_are_kept() {
    for h in Harness::on_both().await {
        let mut transaction = h.journal.database().write().await.unwrap();
        for n in 1..=i64::from(KEPT_MAX) + 5 {
            let notice = Notice {
                recipients: vec![user(ANN), user(BOB)],
                kind: Kind::Mention,
                actor_id: user(CID),
                tweet_id: Some(tweet(n.unsigned_abs())),
                request_position: None,
                created_at: pillion_chassis::Timestamp::from_micros(n),
            };
            inbox::add(&mut transaction, &notice, n).await.unwrap();
        }
        transaction.commit().await.unwrap();
        for by in [ANN, BOB] {
            assert_eq!(h.unread(by).await, i64::from(KEPT_MAX));
            let mut oldest = String::new();
            let mut count = 0;
            let mut token = String::new();
            loop {
                let page = h.get(by, &format!("?max_results=100{token}")).await;
                count += page.id_texts().len();
                oldest = page.id_texts().last().cloned().unwrap_or(oldest);
                let Some(next) = page.token("next_token") else { break };
                token = format!("&pagination_token={next}");
            }
            assert_eq!((count, oldest.as_str()), (1_000, "6"));
        }
    }
}
