//! Every page finds its rows by an index: what others have does not slow it down.

use pillion_chassis::Backend;
use pillion_chassis::sql::Query;
use pillion_chassis::testing::{BACKENDS, NOT_WHOLE, migrated, plan};

use crate::projection::accounts::{COUNT, NTH_ABOVE, NTH_BELOW};
use crate::store::settling::REQUESTS;
use crate::store::{
    FROM_NEWEST_FIRST, FROM_OLDEST_FIRST, MIGRATIONS, TO_NEWEST_FIRST, TO_OLDEST_FIRST,
};

#[tokio::test]
async fn a_page_of_a_list_is_a_range_of_an_index() {
    for backend in BACKENDS {
        let test = migrated(backend, &MIGRATIONS).await;
        for (sql, index) in [
            (FROM_NEWEST_FIRST, "relation_by_source"),
            (FROM_OLDEST_FIRST, "relation_by_source"),
            (TO_NEWEST_FIRST, "relation_by_target"),
            (TO_OLDEST_FIRST, "relation_by_target"),
        ] {
            let bind = |query: Query| {
                query.bind(11_i64).bind("follow").bind(0_i64).bind(i64::MAX).bind(101_u32)
            };
            let plan = plan(&test.database, &NOT_WHOLE, sql, bind).await;
            assert!(plan.contains(index), "{plan}");
            match backend {
                Backend::Sqlite => assert!(!plan.contains("B-TREE FOR ORDER"), "{plan}"),
                Backend::Postgres => {
                    assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
                }
            }
        }
    }
}

#[tokio::test]
async fn settling_some_of_an_account_takes_ranges_of_indexes() {
    for backend in BACKENDS {
        let test = migrated(backend, &MIGRATIONS).await;
        let both = &["relation_by_source", "relation_by_target"];
        let part = |query: Query| query.bind(11_i64).bind("follow").bind(0_i64).bind(1_000_u32);
        let range = |query: Query| query.bind(11_i64).bind(1_i64).bind(1_000_i64).bind(-1_i64);
        let few = |query: Query| query.bind(11_i64).bind(25_u32);
        for (sql, bind, indexes) in [
            (NTH_ABOVE, &part as &dyn Fn(Query) -> Query, &both[..]),
            (NTH_BELOW, &part, both),
            (COUNT[0], &range, &both[..1]),
            (COUNT[1], &range, &both[1..]),
            (REQUESTS, &few, both),
        ] {
            let plan = plan(&test.database, &NOT_WHOLE, sql, bind).await;
            for index in indexes {
                assert!(plan.contains(index), "{plan}");
            }
            let whole = match backend {
                Backend::Sqlite => ["SCAN relation", "SCAN follow_count"],
                Backend::Postgres => ["Seq Scan on relation", "Seq Scan on follow_count"],
            };
            assert!(whole.iter().all(|scan| !plan.contains(scan)), "{plan}");
        }
    }
}
