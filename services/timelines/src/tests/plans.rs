//! Every statement finds its rows by an index: what is kept for others does not slow it down.

use pillion_chassis::sql::{Query, query};
use pillion_chassis::testing::{self, BACKENDS};
use pillion_chassis::{Backend, Database};

use super::harness::Harness;
use crate::Config;
use crate::store::{self, follows, mentions, posts, refill, settling};

/// How a back end goes about a statement on tables that are nearly empty.
async fn plan(database: &Database, sql: &str, bind: impl Fn(Query) -> Query) -> String {
    testing::plan(database, &testing::NOT_WHOLE, sql, bind).await
}

#[tokio::test]
async fn a_page_is_a_range_of_an_index() {
    for backend in BACKENDS {
        let h = Harness::start(backend, Config::default()).await;
        let window = |query: Query| query.bind(11_i64).bind(5_i64).bind(i64::MAX);
        let home = |query| window(query).bind(true).bind(true).bind(101_u32);
        for sql in [store::HOME_LATEST, store::HOME_EARLIEST] {
            check_sorted(backend, &plan(&h.test.database, sql, home).await);
        }
        for sql in [store::MENTIONS_LATEST, store::MENTIONS_EARLIEST] {
            let plan = plan(&h.test.database, sql, |query| window(query).bind(101_u32)).await;
            check_sorted(backend, &plan);
        }
        fill(&h.test.database).await;
        for sql in [store::MERGED_LATEST, store::MERGED_EARLIEST] {
            let plan = testing::plan(&h.test.database, &[], sql, home).await;
            assert!(!plan.contains("SCAN") && !plan.contains("Seq Scan"), "{plan}");
            assert!(plan.contains("post_by_author"), "{plan}");
            assert!(plan.contains("follow_merged"), "{plan}");
            let by_author = plan.contains("(author_id=? AND tweet_id>? AND tweet_id<?)")
                || plan.contains("(author_id = f.followee_id) AND (tweet_id >");
            assert!(by_author, "{plan}");
        }
        let first = |query: Query| query.bind(11_i64).bind("[11]").bind(false).bind(-1_i64);
        let plan = testing::plan(&h.test.database, &[], store::FIRST_AT_HOME, first).await;
        let scans = plan.lines().filter(|step| step.contains("SCAN") || step.contains("Seq Scan"));
        let scans: Vec<&str> = scans
            // The list itself, and what the four parts gave.
            .filter(|step| !step.contains("json_each") && !step.contains("at_home"))
            .collect();
        assert!(scans.is_empty(), "{plan}");
        // A server may as well read the one home whole.
        assert!(backend == Backend::Postgres || plan.contains("home_by_retweeted"), "{plan}");
    }
}

/// What fills up a home reads the lists of those whom its user follows, and of each not more than
/// it is told to.
#[tokio::test]
async fn d01_what_fills_up_a_home_is_found_by_ranges_of_indexes() {
    for backend in BACKENDS {
        let h = Harness::start(backend, Config::default()).await;
        fill(&h.test.database).await;
        let latest = match backend {
            Backend::Sqlite => refill::LATEST_SQLITE,
            Backend::Postgres => refill::LATEST_POSTGRES,
        };
        let bound = |query: Query| query.bind(11_i64).bind(i64::MAX).bind(8_u32);
        let plan = testing::plan(&h.test.database, &[], latest, bound).await;
        assert!(!plan.contains("SCAN post") && !plan.contains("Seq Scan on post"), "{plan}");
        assert!(plan.contains("post_by_author"), "{plan}");
        let bound = |query: Query| query.bind(11_i64).bind(5_i64);
        let plan = testing::plan(&h.test.database, &[], refill::KEPT, bound).await;
        assert!(!plan.contains("SCAN h") && !plan.contains("Seq Scan on home"), "{plan}");
    }
}

/// Twenty thousand tweets of two thousand authors, who follow each other a little, a user who
/// follows three of them, homes for two hundred, and five thousand who are deactivated.
async fn fill(database: &Database) {
    let mut transaction = database.write().await.unwrap();
    for sql in [
        "INSERT INTO follow (follower_id, followee_id, pulled, merged)
         VALUES (11, 700, TRUE, TRUE), (11, 1400, FALSE, TRUE), (11, 1900, FALSE, FALSE)",
        "INSERT INTO follow (follower_id, followee_id)
         WITH RECURSIVE n (id) AS
             (SELECT CAST(20 AS BIGINT) UNION ALL SELECT id + 1 FROM n WHERE id < 20000)
         SELECT id, id % 2000 FROM n",
        "INSERT INTO home (user_id, tweet_id, author_id, retweeted_id)
         WITH RECURSIVE n (id) AS
             (SELECT CAST(1 AS BIGINT) UNION ALL SELECT id + 1 FROM n WHERE id < 20000)
         SELECT id % 200, id, id % 2000, CASE WHEN id % 3 = 0 THEN id + 100000 END FROM n",
        "INSERT INTO account (user_id)
         WITH RECURSIVE n (id) AS
             (SELECT CAST(1 AS BIGINT) UNION ALL SELECT id + 1 FROM n WHERE id < 5000)
         SELECT id FROM n",
        "INSERT INTO hidden_user (user_id)
         WITH RECURSIVE n (id) AS
             (SELECT CAST(1 AS BIGINT) UNION ALL SELECT id + 1 FROM n WHERE id < 5000)
         SELECT id + 100000 FROM n",
        "INSERT INTO post (tweet_id, author_id, fanned_out)
         WITH RECURSIVE n (id) AS
             (SELECT CAST(1 AS BIGINT) UNION ALL SELECT id + 1 FROM n WHERE id < 20000)
         SELECT id, id % 2000, TRUE FROM n",
    ] {
        query(sql).execute(&mut transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
    if database.backend() == Backend::Postgres {
        // As the server does by itself now and then.
        let mut transaction = database.write().await.unwrap();
        query("ANALYZE").execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

/// One range, read in its order.
fn check_sorted(backend: Backend, plan: &str) {
    match backend {
        Backend::Sqlite => {
            let range = "USING PRIMARY KEY (user_id=? AND tweet_id>? AND tweet_id<?)";
            assert!(plan.lines().next().is_some_and(|step| step.contains(range)), "{plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
            // Who is deactivated is found by a key for each row.
            assert!(plan.contains("SEARCH u USING PRIMARY KEY (user_id=?)"), "{plan}");
        }
        Backend::Postgres => {
            assert!(plan.contains("_pkey"), "{plan}");
            assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
        }
    }
}

#[tokio::test]
async fn writes_touch_the_followers_only() {
    for backend in BACKENDS {
        let h = Harness::start(backend, Config::default()).await;
        let two = |query: Query| query.bind(11_i64).bind(12_i64);
        let listed = |query: Query| query.bind("[11]").bind(12_i64);
        let plans = [
            (posts::FAN_OUT, plan(&h.test.database, posts::FAN_OUT, |q| q.bind(1_i64)).await),
            (
                posts::FULL_HOMES,
                plan(&h.test.database, posts::FULL_HOMES, |q| two(q).bind(32_i64)).await,
            ),
            (posts::TRIM_HOME, plan(&h.test.database, posts::TRIM_HOME, two).await),
            (posts::DOOM_OLDEST, plan(&h.test.database, posts::DOOM_OLDEST, two).await),
            (posts::SWEEP_HOMES, plan(&h.test.database, posts::SWEEP_HOMES, |q| q).await),
            (mentions::TRIM, plan(&h.test.database, mentions::TRIM, listed).await),
            (follows::BACKFILL, plan(&h.test.database, follows::BACKFILL, two).await),
        ];
        for (sql, plan) in plans {
            // The doomed have an index of their own, and all of it is wanted. What was selected
            // is read whole, too.
            let scans: Vec<&str> = plan
                .lines()
                .map(str::trim)
                .filter(|step| step.starts_with("SCAN") || step.contains("Seq Scan"))
                .filter(|step| !step.contains("post_doomed"))
                .filter(|step| !step.starts_with("SCAN r VIRTUAL TABLE"))
                .collect();
            assert!(scans.is_empty(), "{sql}\n{plan}");
            // However many followers are served at read, they are not looked through.
            if sql.contains("NOT f.pulled") && sql != follows::BACKFILL {
                assert!(plan.contains("follow_pushed"), "{sql}\n{plan}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_left_of_an_account_goes_by_ranges_of_indexes() {
    for backend in BACKENDS {
        let h = Harness::start(backend, Config::default()).await;
        let two = |query: Query| query.bind(11_i64).bind(100_i64);
        let three = |query: Query| two(query).bind(100_i64);
        for (sql, index) in [
            (settling::NTH_FOLLOWER, "follow_by_followee"),
            (settling::LEAVE_HOMES, "follow_by_followee"),
            (settling::LEAVE_FOLLOWERS, "follow_by_followee"),
            (settling::RETWEETS, "post_by_retweeted_author"),
            (posts::DOOM_RETWEETS, "post_by_retweeted_author"),
            (settling::NTH_MENTION, "mention_by_author"),
        ] {
            check_found(&plan(&h.test.database, sql, two).await, index);
        }
        let ended = plan(&h.test.database, settling::END_MENTIONS, three).await;
        check_found(&ended, "mention_by_author");
        let own = if backend == Backend::Sqlite { "PRIMARY KEY" } else { "follow_pkey" };
        for sql in [settling::NTH_FOLLOWEE, settling::UNCOUNT, settling::LEAVE_FOLLOWEES] {
            check_found(&plan(&h.test.database, sql, two).await, own);
        }
    }
}

/// The rows are found by this index, and nothing is read whole.
fn check_found(plan: &str, index: &str) {
    let is_whole = plan.contains("SCAN") || plan.contains("Seq Scan");
    assert!(plan.contains(index) && !is_whole, "{plan}");
}
