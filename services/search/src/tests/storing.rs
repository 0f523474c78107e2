//! The index as a fold: whatever comes first, the same is found, and a rebuild changes nothing.

use std::time::Duration;

use pillion_chassis::testing::{BACKENDS, assert_rebuilds, do_step};
use pillion_chassis::{Backend, Database};

use super::harness::{ANN, BOB, CID, Draft, Harness};

#[tokio::test]
async fn a_retweet_that_comes_first_waits_for_its_tweet() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let tweet = service.next_id();
        let retweet = service.retweet(BOB, tweet, ANN).await;
        assert!(service.found("from:bob").await.is_empty());
        assert!(service.found("from:bob -coffee").await.is_empty());
        service.post_as(tweet, Draft { by: ANN, text: "tea", ..Draft::default() }).await;
        assert_eq!(service.found("tea").await, [retweet, tweet], "{backend:?}");
        assert_eq!(service.found("retweets_of:ann").await, [retweet]);
        service.delete(ANN, tweet).await;
        assert!(service.found("tea OR from:bob").await.is_empty());
    }
}

#[tokio::test]
async fn what_comes_after_its_account_has_gone_is_not_found() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let tweet = service.post(ANN, "tea").await;
        service.delete_user(BOB).await;
        service.post(BOB, "tea").await;
        service.retweet(BOB, tweet, ANN).await;
        let of_bob = service.next_id();
        service.retweet(CID, of_bob, BOB).await;
        assert_eq!(service.found("tea OR from:cid OR from:12").await, [tweet], "{backend:?}");
        service.delete_user(ANN).await;
        assert!(service.found("tea").await.is_empty());
    }
}

#[tokio::test]
async fn the_index_forgets_what_is_deleted() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let tweet = service.post(ANN, "tea").await;
        service.retweet(BOB, tweet, ANN).await;
        service.delete(ANN, tweet).await;
        let rows: (i64,) = pillion_chassis::sql::query("SELECT COUNT(*) FROM document")
            .fetch_one(service.database())
            .await
            .unwrap();
        assert_eq!(rows.0, 0);
        if backend == pillion_chassis::Backend::Sqlite {
            let mut transaction = service.database().write().await.unwrap();
            // It fails when the index and the table differ.
            let check =
                "INSERT INTO document_terms (document_terms, rank) VALUES ('integrity-check', 1)";
            pillion_chassis::sql::query(check).execute(&mut transaction).await.unwrap();
        }
    }
}

/// Every place of these bytes in the file and its write-ahead log.
fn count_in_files(database: &Database, bytes: &[u8]) -> usize {
    let count = |suffix: &str| {
        let file = std::fs::read(format!("{}{suffix}", database.place())).unwrap_or_default();
        file.windows(bytes.len()).filter(|window| *window == bytes).count()
    };
    count("") + count("-wal")
}

#[tokio::test]
async fn what_an_erased_account_wrote_is_nowhere_in_the_file() {
    let service = Harness::start(Backend::Sqlite).await;
    // Among others, in one part of the index.
    for n in 0..20 {
        service.post(ANN, &format!("tea number{n}")).await;
        service.post(BOB, &format!("tea xylophone{n}")).await;
    }
    assert!(count_in_files(service.database(), b"xylophone") > 0);
    service.delete_user(BOB).await;
    let data = serde_json::json!({"user_id": "12"});
    do_step(&service.router, 1, "purge", &data).await.data();
    let began = std::time::Instant::now();
    while count_in_files(service.database(), b"xylophone") > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "it is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(count_in_files(service.database(), b"number7") > 0);
    assert_eq!(service.found("tea").await.len(), 10, "the index is whole");
}

#[tokio::test]
async fn a_rebuild_makes_the_same_index() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let early = service.next_id();
        let waiting = service.retweet(BOB, early, ANN).await;
        service.post_as(early, Draft { by: ANN, text: "tea #hot", ..Draft::default() }).await;
        let tweet = service.post(BOB, "tea example.com").await;
        let repeated = service.retweet(CID, tweet, BOB).await;
        let deleted = service.post(ANN, "tea").await;
        service.retweet(BOB, deleted, ANN).await;
        service.delete(ANN, deleted).await;
        service.protect(CID, true).await;
        service.protect(CID, false).await;
        service.register(99, "dan").await;
        service.post(99, "tea").await;
        service.delete_user(99).await;

        let delivered = service.delivered.lock().unwrap().clone();
        let rebuilt = assert_rebuilds(&service.journal, &delivered).await;
        assert!(rebuilt.tables.iter().all(|table| table.rows > 0));
        // The full-text index was made again with its table.
        assert_eq!(service.found("tea").await, [repeated, tweet, waiting, early]);
    }
}

#[tokio::test]
async fn what_is_too_old_leaves_with_what_comes() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let mut old = Vec::new();
        for _ in 0..12 {
            old.push(service.post(ANN, "tea").await);
        }
        let retweet = service.retweet(BOB, old[0], ANN).await;
        let rows = async || {
            let rows = pillion_chassis::sql::query("SELECT count(*) FROM document");
            rows.fetch_one::<(i64,)>(service.database()).await.unwrap().0
        };
        // A recent search still finds them in the last hour of the week.
        service.clock.advance(Duration::from_hours(7 * 24) - Duration::from_mins(1));
        let newer = service.post(ANN, "tea").await;
        assert_eq!(service.found("tea").await[..2], [newer, retweet], "{backend:?}");
        assert_eq!(rows().await, 14);
        service.clock.advance(Duration::from_hours(2));
        let newest = service.post(BOB, "tea").await;
        assert_eq!(rows().await, 15 - 8, "so many at once");
        let late = service.retweet(BOB, newest, BOB).await;
        assert_eq!(rows().await, 3);
        assert_eq!(service.found("tea").await, [late, newest, newer]);
        // What it repeats has left.
        let unknown = service.retweet(BOB, old[11], ANN).await;
        assert_eq!(service.found("from:bob").await, [late, newest]);
        service.unretweet(unknown, BOB, old[11], ANN).await;
        let delivered = service.delivered.lock().unwrap().clone();
        assert_rebuilds(&service.journal, &delivered).await;
    }
}
