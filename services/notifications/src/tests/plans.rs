//! Every read finds its rows by an index: what is kept for others does not slow it down.

use pillion_chassis::Backend;
use pillion_chassis::sql::{Query, query};
use pillion_chassis::testing::BACKENDS;

use super::harness::Harness;
use crate::store::{INBOX_EARLIEST, INBOX_LATEST, UNREAD_COUNT};

#[tokio::test]
async fn a_page_is_a_range_of_the_key() {
    let page = |query: Query| {
        query.bind(11_i64).bind(5_i64).bind(i64::MAX).bind(false).bind("[\"like\"]").bind(101_u32)
    };
    for backend in BACKENDS {
        let h = Harness::start(backend).await;
        for sql in [INBOX_LATEST, INBOX_EARLIEST, UNREAD_COUNT] {
            let bind = |query: Query| match sql {
                UNREAD_COUNT => query.bind(11_i64).bind(5_i64),
                _ => page(query),
            };
            let mut transaction = h.test.database.write().await.unwrap();
            match backend {
                Backend::Sqlite => {
                    let steps: Vec<(i64, i64, i64, String)> =
                        bind(query(format!("EXPLAIN QUERY PLAN {sql}")))
                            .fetch_all(&mut transaction)
                            .await
                            .unwrap();
                    assert!(steps[0].3.contains("USING PRIMARY KEY (user_id=? AND id>?"));
                    assert!(steps.iter().all(|(.., step)| !step.contains("B-TREE FOR ORDER")));
                }
                Backend::Postgres => {
                    for setting in ["enable_seqscan", "enable_bitmapscan"] {
                        let set = format!("SET LOCAL {setting} = off");
                        query(set).execute(&mut transaction).await.unwrap();
                    }
                    let steps: Vec<(String,)> = bind(query(format!("EXPLAIN {sql}")))
                        .fetch_all(&mut transaction)
                        .await
                        .unwrap();
                    let plan: String = steps.into_iter().map(|(step,)| step + "\n").collect();
                    assert!(plan.contains("notification_pkey"), "{plan}");
                    assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
                }
            }
        }
    }
}
