//! What a search reads: the plans of the statements, and what grows with the number of tweets.

use pillion_chassis::sql::query;
use pillion_chassis::testing::{BACKENDS, migrated, plan};
use pillion_chassis::{Backend, Database, Timestamp, TweetId};

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
    let plan = plan(&test.database, &[], FIND_SQLITE, |query| {
        query.bind("\"common\"").bind(-1_i64).bind(i64::MAX).bind(11_i64)
    });
    let plan = plan.await;
    // The list of the term between two ids, backwards (FTS5 calls that 192); then each document
    // and its account by key.
    assert!(plan.contains("SCAN document_terms VIRTUAL TABLE INDEX 192:M1><"), "{plan}");
    assert!(plan.contains("SEARCH document USING INTEGER PRIMARY KEY (rowid=?)"), "{plan}");
    assert_eq!(plan.matches("SEARCH account USING INDEX").count(), 2, "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn postgres_asks_its_index_also_for_words_that_nobody_wrote() {
    let test = migrated(Backend::Postgres, &MIGRATIONS).await;
    fill(&test.database, DOCUMENTS).await;
    for word in ["rare", "nowhere"] {
        let plan = plan(&test.database, &[], FIND_POSTGRES, |query| {
            query.bind(format!("'{word}'")).bind(-1_i64).bind(i64::MAX).bind(11_i64)
        });
        let plan = plan.await;
        assert!(plan.contains("Bitmap Index Scan on document_vector"), "{plan}");
        assert!(!plan.contains("Seq Scan on document"), "{plan}");
    }
}

/// On `PostgreSQL` a page is put together from two parts.
#[tokio::test]
async fn a_page_reaches_from_the_latest_documents_into_the_others() {
    for backend in BACKENDS {
        let test = migrated(backend, &MIGRATIONS).await;
        fill(&test.database, DOCUMENTS).await;
        let store = Store::new(test.database.clone());
        let find = async |text: &str, above_id, below_id, count_max| {
            let pattern = parse(text, SEARCH_CHARS_MAX).unwrap().pattern(&Accounts::new());
            let moment = Timestamp::from_micros(0);
            let window = Window { above_id, below_id, start: moment, end: moment };
            let found = store.find(&pattern, window, count_max).await.unwrap();
            found.into_iter().map(TweetId::as_i64).collect::<Vec<_>>()
        };
        let thousands = |range: std::ops::RangeInclusive<i64>| {
            range.rev().map(|thousand| thousand * 1_000).collect::<Vec<_>>()
        };
        assert_eq!(find("rare", -1, i64::MAX, 100).await, thousands(1..=30), "{backend:?}");
        assert_eq!(find("rare", -1, i64::MAX, 5).await, thousands(26..=30));
        assert_eq!(find("rare", 3_000, 9_000, 100).await, thousands(4..=8));
        assert_eq!(find("rare", 8_500, 9_500, 100).await, thousands(9..=9));
        // The border is the 2,000th document, which is in one part and not in both.
        let expected: Vec<i64> = (27_901..=30_000).rev().filter(|id| id % 100 != 7).collect();
        assert_eq!(find("common", 27_900, i64::MAX, 5_000).await, expected);
    }
}
