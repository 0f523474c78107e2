//! What is on disk: nothing lost, nothing half-written, and the table a fold of the log.

use std::collections::HashMap;
use std::sync::Arc;

use pillion_chassis::Backend;
use pillion_chassis::sql::query;
use pillion_events::{Event, TweetEvent, TweetId};
use serde_json::json;

use super::harness::{ANN, BOB, CID, Harness, on_each};

/// Every row of the table: id, text, replies, quotes.
async fn rows(tweets: &Harness) -> Vec<(i64, String, i64, i64)> {
    query("SELECT tweet_id, text, reply_count, quote_count FROM tweet ORDER BY tweet_id")
        .fetch_all(tweets.database())
        .await
        .unwrap()
}

/// What the rows must be, from the events alone.
async fn folded(tweets: &Harness) -> Vec<(i64, String, i64, i64)> {
    let mut state = HashMap::new();
    for event in tweets.events().await {
        match TweetEvent::decode(&event.name, event.wire_version, &event.data).unwrap() {
            TweetEvent::Posted(posted) => {
                state.insert(posted.tweet_id, posted);
            }
            TweetEvent::Deleted(deleted) => {
                state.remove(&deleted.tweet_id).unwrap();
            }
            _ => {}
        }
    }
    let count = |id: TweetId, of: fn(&pillion_events::TweetPosted) -> Option<TweetId>| {
        i64::try_from(state.values().filter(|posted| of(posted) == Some(id)).count()).unwrap()
    };
    let mut rows: Vec<_> = state
        .values()
        .map(|posted| {
            let id = posted.tweet_id;
            let replies = count(id, |posted| posted.replied_to.map(|to| to.tweet_id));
            let quotes = count(id, |posted| posted.quoted.map(|to| to.tweet_id));
            (id.as_i64(), posted.text.clone(), replies, quotes)
        })
        .collect();
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        tweets.reply_to(BOB, &root, "reply").await.id();
        let gone = tweets.quote(CID, &root, "quote").await.id();
        tweets.delete(CID, &gone).await;
        let before = (rows(&tweets).await, tweets.events().await);
        let tweets = tweets.restart().await;
        assert_eq!((rows(&tweets).await, tweets.events().await), before);
        assert_eq!(rows(&tweets).await, folded(&tweets).await);
    })
    .await;
}

#[tokio::test]
async fn ids_go_on_growing_when_the_clock_went_back_over_a_restart() {
    on_each(async |tweets: Harness| {
        let before: u64 = tweets.post_text(ANN, "before").await.parse().unwrap();
        tweets.clock.set("2026-06-01T00:00:00Z".parse().unwrap());
        let tweets = tweets.restart().await;
        let after: u64 = tweets.post_text(ANN, "after").await.parse().unwrap();
        assert!(after > before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_lose_nothing_and_count_right() {
    on_each(async |tweets: Harness| {
        const WRITERS: usize = 32;
        const POSTS: usize = 6;
        let tweets = Arc::new(tweets);
        let root = tweets.post_text(ANN, "root").await;
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let (tweets, root) = (tweets.clone(), root.clone());
            writers.spawn(async move {
                for n in 0..POSTS {
                    let text = format!("{writer} {n}");
                    let id = match n % 3 {
                        0 => tweets.post_text(BOB, &text).await,
                        1 => tweets.reply_to(BOB, &root, &text).await.id(),
                        _ => tweets.quote(BOB, &root, &text).await.id(),
                    };
                    if n >= 3 {
                        assert_eq!(tweets.delete(BOB, &id).await.status, 200);
                    }
                    tweets.read(&id, "").await;
                }
            });
        }
        writers.join_all().await;
        let rows = rows(&tweets).await;
        assert_eq!(rows.len(), 1 + WRITERS * POSTS / 2);
        let writers = i64::try_from(WRITERS).unwrap();
        assert_eq!((rows[0].2, rows[0].3), (writers, writers));
        assert_eq!(rows, folded(&tweets).await);

        let events = tweets.events().await;
        assert_eq!(events.len(), 1 + WRITERS * POSTS + WRITERS * POSTS / 2);
        assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position));
        let mut versions: HashMap<&str, i64> = HashMap::new();
        for event in &events {
            let version = versions.entry(&event.stream_id).or_default();
            *version += 1;
            assert_eq!(event.version, *version);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_delete_one_tweet_exactly_one_changes_anything() {
    on_each(async |tweets: Harness| {
        let tweets = Arc::new(tweets);
        let id = tweets.post_text(ANN, "once").await;
        let mut deleting = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let (tweets, id) = (tweets.clone(), id.clone());
            deleting.spawn(async move { tweets.delete(ANN, &id).await.status.as_u16() });
        }
        let statuses = deleting.join_all().await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(tweets.events().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_leaves_no_tweet() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let mut transaction = tweets.database().write().await.unwrap();
        let statements: &[&str] = match tweets.database().backend() {
            Backend::Sqlite => &["CREATE TRIGGER refuse BEFORE INSERT ON event_log
                              BEGIN SELECT raise(ABORT, 'no raise'); END"],
            Backend::Postgres => &[
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN RAISE EXCEPTION ''no raise''; END'",
                "CREATE TRIGGER refuse BEFORE INSERT ON event_log
             FOR EACH ROW EXECUTE FUNCTION refuse()",
            ],
        };
        for statement in statements {
            query(*statement).execute(&mut transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let before = rows(&tweets).await;
        let reply = tweets.reply_to(BOB, &root, "reply").await;
        assert_eq!(reply.status, 500);
        assert!(!reply.body.to_string().contains("raise"), "{}", reply.body);
        assert_eq!(tweets.delete(ANN, &root).await.status, 500);
        assert_eq!(rows(&tweets).await, before);
        assert_eq!(tweets.post(ANN, &json!({"text": "x"})).await.status, 500);
        assert_eq!(tweets.events().await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_half_way_is_done_or_not_done() {
    on_each(async |tweets: Harness| {
        let tweets = Arc::new(tweets);
        let root = tweets.post_text(ANN, "root").await;
        for n in 0..200 {
            let (tweets, root) = (tweets.clone(), root.clone());
            let posting =
                tokio::spawn(async move { tweets.reply_to(BOB, &root, &n.to_string()).await });
            tokio::time::sleep(std::time::Duration::from_micros(n * 20)).await;
            posting.abort();
            let _ = posting.await;
        }
        let rows = rows(&tweets).await;
        assert_eq!(rows, folded(&tweets).await);
        assert_eq!(rows[0].2, i64::try_from(rows.len()).unwrap() - 1);
        assert_eq!(tweets.reply_to(BOB, &root, "after all").await.status, 201);
    })
    .await;
}
