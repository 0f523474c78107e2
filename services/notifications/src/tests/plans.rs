//! Every read finds its rows by an index: what is kept for others does not slow it down.

use pillion_chassis::Backend;
use pillion_chassis::sql::Query;
use pillion_chassis::testing::{BACKENDS, NOT_WHOLE, plan};

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
            let plan = plan(&h.test.database, &NOT_WHOLE, sql, bind).await;
            match backend {
                Backend::Sqlite => {
                    let first = plan.lines().next().unwrap();
                    assert!(first.contains("USING PRIMARY KEY (user_id=? AND id>?"), "{plan}");
                    assert!(!plan.contains("B-TREE FOR ORDER"), "{plan}");
                }
                Backend::Postgres => {
                    assert!(plan.contains("notification_pkey"), "{plan}");
                    assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
                }
            }
        }
    }
}
