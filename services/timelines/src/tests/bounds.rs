//! How much is kept.

use pillion_chassis::sql::query;

use super::harness::Harness;
use crate::{AUTHOR_TWEETS_MAX, Config, HOME_TWEETS_MAX, MENTIONS_MAX};

const ANN: u64 = 11;
const BOB: u64 = 12;
const CID: u64 = 13;
/// A few more than any list holds.
const POSTED: u64 = 805;

async fn count(h: &Harness, sql: &'static str) -> i64 {
    let (count,) = query(sql).fetch_one::<(i64,)>(&h.test.database).await.unwrap();
    count
}

/// The counters are what they count.
async fn check_counters(h: &Harness) {
    let wrong = count(
        h,
        "SELECT count(*) FROM account AS a
         WHERE followers <> (SELECT count(*) FROM follow
                             WHERE followee_id = a.user_id AND follower_id <> a.user_id)",
    )
    .await;
    assert_eq!(wrong, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_keep_the_newest() {
    let mut both = tokio::task::JoinSet::new();
    for h in Harness::on_both().await {
        both.spawn(keep_the_newest(h));
    }
    while let Some(done) = both.join_next().await {
        done.unwrap();
    }
}

async fn keep_the_newest(h: Harness) {
    h.follow(ANN, BOB).await;
    h.follow(ANN, CID).await;
    h.post(1, CID).await;
    for id in 0..POSTED {
        h.mention(1_000 + id, BOB, &[ANN]).await;
    }
    let newest: Vec<u64> = (1_005..1_000 + POSTED).rev().collect();
    assert_eq!(newest.len(), 800);
    assert_eq!(h.home(ANN).await, newest);
    assert_eq!(h.home(BOB).await, newest);
    assert_eq!(h.mentions(ANN).await, newest[..100]);
    for (sql, bound) in [
        ("SELECT count(*) FROM home WHERE user_id = 11", HOME_TWEETS_MAX),
        ("SELECT count(*) FROM mention WHERE user_id = 11", MENTIONS_MAX),
        ("SELECT count(*) FROM post WHERE author_id = 12", AUTHOR_TWEETS_MAX),
    ] {
        assert_eq!(count(&h, sql).await, i64::from(bound), "{sql}");
    }
    check_counters(&h).await;

    // One that comes in late and is older than all has no room.
    h.post(2, CID).await;
    assert_eq!(h.home(ANN).await, newest);
    // What a full home lost makes room for what was cut off.
    h.delete(1_000 + POSTED - 1, BOB).await;
    let home = h.home(ANN).await;
    assert_eq!((home.len(), home[0], home[799]), (800, 1_000 + POSTED - 2, 2));
    h.post(2_000, CID).await;
    let home = h.home(ANN).await;
    assert_eq!((home.len(), home[0], home[799]), (800, 2_000, 1_005));
    check_counters(&h).await;

    // A new follower's home is filled up to its bound, its own and newer tweets among it.
    h.post(3_000, 20).await;
    h.follow(20, BOB).await;
    h.follow(20, CID).await;
    let home = h.home(20).await;
    assert_eq!((home.len(), home[0], home[1]), (800, 3_000, 2_000));
    check_counters(&h).await;
    h.unfollow(20, BOB).await;
    assert_eq!(h.home(20).await[0], 3_000);
    h.delete_user(BOB).await;
    assert_eq!(h.home(ANN).await, [2_000, 2, 1]);
    check_counters(&h).await;
    h.check_rebuild().await;
}

/// The ids of real tweets, whose times decide when a home is cut.
#[tokio::test(flavor = "multi_thread")]
async fn homes_are_cut_now_and_then() {
    for h in Harness::on_both().await {
        let at = |ms: u64| ms << 22;
        let (reader, authors) = (at(5), [at(6), at(7)]);
        for author in authors {
            h.follow(reader, author).await;
        }
        let mut largest = 0;
        for id in 0..1_000 {
            h.post(at(1_000 + id), authors[usize::from(id % 2 == 0)]).await;
            let kept = count(&h, "SELECT count(*) FROM home WHERE user_id = 5 * 4194304").await;
            assert!(kept >= (id + 1).min(HOME_TWEETS_MAX.into()).cast_signed(), "{kept} at {id}");
            largest = largest.max(kept);
        }
        assert_eq!(h.page(reader, "max_results=5").await.ids()[0], at(1_999));
        assert_eq!(largest, i64::from(HOME_TWEETS_MAX) + 31);
        h.check_rebuild().await;
    }
}

/// Follows a quiet author and a noisy one, whose tweets fill the home, then loses the noisy one's.
async fn d01_home(h: &Harness) -> Vec<u64> {
    const QUIET: u64 = 100;
    h.register(ANN).await;
    h.register(BOB).await;
    h.register(CID).await;
    h.follow(ANN, BOB).await;
    h.follow(ANN, CID).await;
    for id in 1..=QUIET {
        h.post(id, BOB).await;
    }
    for id in 0..900 {
        h.post(1_000 + id, CID).await;
    }
    let home = h.home(ANN).await;
    assert_eq!((home.len(), home[0], home[799]), (800, 1_899, 1_100));
    (1..=QUIET).rev().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn d01_what_was_cut_off_a_home_is_back_after_an_unfollow() {
    for h in Harness::on_both().await {
        let quiet = d01_home(&h).await;
        h.unfollow(ANN, CID).await;
        assert_eq!(h.home(ANN).await, quiet);
        // In pages, to the end and back.
        let first = h.page(ANN, "max_results=60").await;
        let next = first.token("next_token").unwrap();
        let second = h.page(ANN, &format!("max_results=60&pagination_token={next}")).await;
        assert_eq!([first.ids(), second.ids()].concat(), quiet);
        assert_eq!(second.token("next_token"), None);
        let back = second.token("previous_token").unwrap();
        let again = h.page(ANN, &format!("max_results=60&pagination_token={back}")).await;
        assert_eq!(again.ids(), quiet[..60]);
        // New tweets come on top; who is followed again has all in its place.
        h.post(5_000, BOB).await;
        assert_eq!(h.home(ANN).await[..2], [5_000, 100]);
        h.follow(ANN, CID).await;
        let home = h.home(ANN).await;
        assert_eq!((home.len(), home[1], home[799]), (800, 1_899, 1_101));
        h.check_rebuild().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d01_what_was_cut_off_a_home_is_back_after_a_block_a_deactivation_and_a_deletion() {
    for backend in pillion_chassis::testing::BACKENDS {
        let h = Harness::start(backend, Config::default()).await;
        let quiet = d01_home(&h).await;
        let about = serde_json::json!({"user_id": CID.to_string()});
        h.step(1, "purge", &about).await.data();
        assert_eq!(h.home(ANN).await, quiet, "{backend:?}");
        h.undo(1, "purge", &about).await.data();
        let home = h.home(ANN).await;
        assert_eq!((home.len(), home[0], home[799]), (800, 1_899, 1_100));
        h.block(ANN, CID).await;
        assert_eq!(h.home(ANN).await, quiet);
        h.follow(ANN, CID).await;
        assert_eq!(h.home(ANN).await[..800], home[..]);
        h.delete_user(CID).await;
        assert_eq!(h.home(ANN).await, quiet);
        h.check_rebuild().await;
    }
}
