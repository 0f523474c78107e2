//! What a search reads: the plans of the statements, and what grows with the number of tweets.

use std::time::{Duration, Instant};

use pillion_chassis::sql::query;
use pillion_chassis::testing::{BACKENDS, migrated};
use pillion_chassis::{Backend, Database, Timestamp};

use crate::query::{Accounts, SEARCH_CHARS_MAX, parse};
use crate::store::{FIND_POSTGRES, FIND_SQLITE, MIGRATIONS, Store};
use crate::window::Window;

const DOCUMENTS: i64 = 30_000;

/// Documents with the word `common`, half of them with `odd`, the others with `even`, one of a
/// thousand with `rare`.
async fn fill(database: &Database, documents: i64) {
    let numbers = match database.backend() {
        Backend::Sqlite => {
            "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < $1)
             SELECT id FROM n"
        }
        Backend::Postgres => "SELECT id FROM generate_series(1, $1) AS n (id)",
    };
    let mut transaction = database.write().await.unwrap();
    if database.backend() == Backend::Postgres {
        query("SET LOCAL statement_timeout = 0").execute(&mut transaction).await.unwrap();
    }
    query(format!(
        "INSERT INTO document (id, author_id, terms)
         SELECT id, id % 100,
                'common ' || CASE WHEN id % 2 = 0 THEN 'even' ELSE 'odd' END
                || CASE WHEN id % 1000 = 0 THEN ' rare' ELSE '' END || ' is:tweet'
         FROM ({numbers}) AS numbers"
    ))
    .bind(documents)
    .execute(&mut transaction)
    .await
    .unwrap();
    query(
        "INSERT INTO account (user_id, username, protected, deleted) VALUES (7, 'p', TRUE, FALSE)",
    )
    .execute(&mut transaction)
    .await
    .unwrap();
    if database.backend() == Backend::Postgres {
        query("ANALYZE").execute(&mut transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn sqlite_walks_the_lists_of_terms_backwards_and_sorts_nothing() {
    let test = migrated(Backend::Sqlite, &MIGRATIONS).await;
    fill(&test.database, DOCUMENTS).await;
    let plan: Vec<(i64, i64, i64, String)> = query(format!("EXPLAIN QUERY PLAN {FIND_SQLITE}"))
        .bind("\"common\"")
        .bind(-1_i64)
        .bind(i64::MAX)
        .bind(11_i64)
        .fetch_all(&test.database)
        .await
        .unwrap();
    let plan: Vec<String> = plan.into_iter().map(|(.., step)| step).collect();
    let plan = plan.join("\n");
    // The list of the term between two ids, backwards (FTS5 calls that 192); then each document
    // and its account by key.
    assert!(plan.contains("SCAN document_terms VIRTUAL TABLE INDEX 192:M1><"), "{plan}");
    assert!(plan.contains("SEARCH document USING INTEGER PRIMARY KEY (rowid=?)"), "{plan}");
    assert_eq!(plan.matches("SEARCH account USING INDEX").count(), 2, "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn postgres_takes_the_index_for_rare_words_and_the_order_for_common_ones() {
    let test = migrated(Backend::Postgres, &MIGRATIONS).await;
    fill(&test.database, DOCUMENTS).await;
    let explain = async |word: &str| {
        let plan: Vec<(String,)> =
            query(format!("EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) {FIND_POSTGRES}"))
                .bind(format!("'{word}'"))
                .bind(-1_i64)
                .bind(i64::MAX)
                .bind(11_i64)
                .fetch_all(&test.database)
                .await
                .unwrap();
        plan.into_iter().map(|(line,)| line).collect::<Vec<_>>().join("\n")
    };
    let rare = explain("rare").await;
    assert!(rare.contains("Bitmap Index Scan on document_vector"), "{rare}");
    let common = explain("common").await;
    assert!(common.contains("Index Scan Backward using document_pkey"), "{common}");
    assert!(!common.contains("Sort"), "{common}");
}

/// The times of a page of ten, for the eye: `cargo test -p pillion-search --release -- --ignored
/// --nocapture growth`.
#[tokio::test]
#[ignore = "takes minutes and checks nothing"]
async fn growth() {
    const ROUNDS: u32 = 20;
    for backend in BACKENDS {
        for documents in [10_000, 100_000, 1_000_000] {
            let test = migrated(backend, &MIGRATIONS).await;
            let began = Instant::now();
            fill(&test.database, documents).await;
            eprintln!("{backend:?} {documents}: filled in {:?}", began.elapsed());
            let store = Store::new(test.database.clone());
            for (words, above_id, below_id) in [
                ("common", -1, i64::MAX),
                ("common", -1, documents / 2),
                ("rare", -1, i64::MAX),
                ("common rare", -1, i64::MAX),
                ("common -even", -1, i64::MAX),
                ("nowhere", -1, i64::MAX),
                ("odd even", -1, i64::MAX),
                ("odd even", documents - documents / 100, i64::MAX),
                ("count: common", -1, i64::MAX),
            ] {
                let (is_count, words) = match words.strip_prefix("count: ") {
                    Some(words) => (true, words),
                    None => (false, words),
                };
                let pattern = parse(words, SEARCH_CHARS_MAX).unwrap().pattern(&Accounts::new());
                let moment = Timestamp::from_micros(0);
                let window = Window { above_id, below_id, start: moment, end: moment };
                let mut slowest = Duration::ZERO;
                let began = Instant::now();
                for _ in 0..ROUNDS {
                    let began = Instant::now();
                    if is_count {
                        store.count(&pattern, window, 3_600_000).await.unwrap();
                    } else {
                        store.find(&pattern, window, 11).await.unwrap();
                    }
                    slowest = slowest.max(began.elapsed());
                }
                let mean = began.elapsed() / ROUNDS;
                eprintln!(
                    "{words:14} count {is_count:5} {above_id}..{below_id}: {mean:?}, slowest {slowest:?}"
                );
            }
        }
    }
}
