//! Accounts that did very much go, come back and are deleted at once; the counts, and what is left
//! of deleted accounts, follow some at a time.

use pillion_chassis::sql::{Query, query};
use pillion_chassis::testing::{BACKENDS, NOT_WHOLE, do_step, migrated, plan, statements, told};
use pillion_chassis::{Backend, Clock as _};
use serde_json::json;

use super::harness::{ANN, BOB, CID, HELLO, Harness, on_each};
use crate::projection::accounts::{COUNT, DISCOUNT, FORGET, NTH};
use crate::store::MIGRATIONS;

/// Bob's tweets, and Ann's, in these tests.
const BY_BOB: std::ops::Range<u64> = 300..306;
const BY_ANN: std::ops::Range<u64> = 306..310;

async fn number(engagements: &Harness, sql: &'static str) -> i64 {
    query(sql).fetch_one::<(i64,)>(engagements.journal.database()).await.unwrap().0
}

async fn deactivate(engagements: &Harness, user: u64) {
    engagements.hear(told::deactivated(user, engagements.clock.now())).await;
}

async fn reactivate(engagements: &Harness, user: u64) {
    engagements.hear(told::reactivated(user, engagements.clock.now())).await;
}

#[tokio::test]
async fn who_did_very_much_goes_and_comes_back_at_once_and_is_counted_by_and_by() {
    on_each(async |engagements: Harness| {
        engagements.register(BOB).await;
        engagements.like(ANN, HELLO).await;
        let ((), few) = statements(deactivate(&engagements, BOB)).await;
        reactivate(&engagements, BOB).await;
        for user in 100..120 {
            engagements.like(user, HELLO).await;
            engagements.retweet(user, HELLO).await;
        }
        for tweet in BY_ANN {
            engagements.add_tweet(tweet, ANN);
            engagements.like(BOB, tweet).await;
            engagements.bookmark(BOB, tweet).await;
        }
        let before = engagements.journal.digests().await.unwrap();
        let shown = "SELECT count(*) FROM engagement WHERE shown";
        assert_eq!(number(&engagements, shown).await, 49);

        let ((), many) = statements(deactivate(&engagements, BOB)).await;
        assert!(many.len() <= few.len(), "{} {}: {many:?}", many.len(), few.len());
        assert_eq!(number(&engagements, shown).await, 41);
        let liking = async |tweet: u64| {
            engagements.get(CID, &format!("/2/tweets/{tweet}/liking_users")).await.ids()
        };
        assert!(liking(HELLO).await.is_empty());
        assert!(liking(BY_ANN.start).await.is_empty());
        assert!(engagements.settle_some().await);
        assert_eq!(number(&engagements, shown).await, 33);
        engagements.assert_rebuilds().await;

        // Back before all is settled.
        reactivate(&engagements, BOB).await;
        assert_eq!(liking(HELLO).await.len(), 21);
        assert_eq!(liking(BY_ANN.start).await, [BOB]);
        while engagements.settle_some().await {}
        assert_eq!(engagements.journal.digests().await.unwrap(), before);

        // And away for good.
        deactivate(&engagements, BOB).await;
        engagements.tell_of_deleted_account(BOB).await;
        let bob = json!({"user_id": "12"});
        let mut settled = 0;
        loop {
            let early = do_step(&engagements.router, 1, "purge", &bob).await;
            if early.status == 200 {
                break;
            }
            let detail = early.body["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("the end of what the account did"), "{}", early.body);
            assert!(engagements.settle_some().await, "a purge waits for what nobody does");
            engagements.assert_rebuilds().await;
            settled += 1;
        }
        assert!(settled > 4, "{settled}");
        assert_eq!(number(&engagements, "SELECT count(*) FROM engagement").await, 0);
        assert_eq!(number(&engagements, WRONG).await, 0);
        let counted = "SELECT CAST(coalesce(sum(total), 0) AS BIGINT) FROM tweet_count";
        assert_eq!(number(&engagements, counted).await, 0);
    })
    .await;
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What the counters and marks must say, whatever has happened.
const WRONG: &str = "
    SELECT (SELECT count(*) FROM tweet_count AS t WHERE total <>
                (SELECT count(*) FROM engagement AS e
                 WHERE e.tweet_id = t.tweet_id AND e.kind = t.kind AND e.shown))
         + (SELECT count(*) FROM engagement AS e WHERE e.shown AND NOT EXISTS
                (SELECT 1 FROM tweet_count AS t
                 WHERE t.tweet_id = e.tweet_id AND t.kind = e.kind))
         + (SELECT count(*) FROM user_count AS u WHERE like_count <>
                (SELECT count(*) FROM engagement AS e
                 WHERE e.user_id = u.user_id AND e.kind = 'like' AND e.shown))
         + (SELECT count(*) FROM engagement AS e
            WHERE e.shown = EXISTS (SELECT 1 FROM account AS a
                                    WHERE a.user_id IN (e.user_id, e.author_id)
                                      AND (a.hidden OR a.deleted))
              AND NOT EXISTS (SELECT 1 FROM settling AS s
                              WHERE s.user_id IN (e.user_id, e.author_id)))";

#[tokio::test]
async fn counts_are_of_what_is_shown_whatever_happens() {
    on_each(async |engagements: Harness| {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut half_way = 0;
        for tweet in BY_BOB {
            engagements.add_tweet(tweet, BOB);
        }
        for tweet in BY_ANN {
            engagements.add_tweet(tweet, ANN);
        }
        for n in 0..400 {
            let tweet = BY_BOB.start + dice.roll(BY_ANN.end - BY_BOB.start);
            let by = 11 + dice.roll(8);
            let what = ["likes", "retweets", "bookmarks"][n % 3];
            match dice.roll(20) {
                0..=11 => drop(engagements.begin(by, what, tweet).await),
                12..=13 => drop(engagements.end(by, what, tweet).await),
                14..=15 => deactivate(&engagements, 11 + dice.roll(3)).await,
                16..=18 => reactivate(&engagements, 11 + dice.roll(3)).await,
                _ if dice.roll(8) == 0 => {
                    let author = if BY_BOB.contains(&tweet) { BOB } else { ANN };
                    engagements.tell_of_deleted_tweet(tweet, author).await;
                }
                _ => {}
            }
            if dice.roll(4) == 0 {
                engagements.settle_some().await;
            }
            assert_eq!(number(&engagements, WRONG).await, 0, "after {n}");
            if n % 80 == 40 {
                half_way += number(&engagements, "SELECT count(*) FROM settling").await;
                engagements.assert_rebuilds().await;
            }
        }
        assert!(half_way > 0, "some rebuild was in the middle of a settling");
        for user in [ANN, BOB, CID] {
            engagements.tell_of_deleted_account(user).await;
            assert_eq!(number(&engagements, WRONG).await, 0, "{user} goes");
            while engagements.settle_some().await {
                assert_eq!(number(&engagements, WRONG).await, 0, "{user} goes");
            }
        }
        let left = "SELECT (SELECT count(*) FROM engagement) + (SELECT count(*) FROM settling)";
        assert_eq!(number(&engagements, left).await, 0);
        engagements.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn settling_some_of_an_account_takes_ranges_of_indexes() {
    for backend in BACKENDS {
        let test = migrated(backend, &MIGRATIONS).await;
        let bind = |query: Query| query.bind(11_i64).bind(0_i64).bind(1_000_i64);
        for sql in std::iter::once(&NTH).chain(&DISCOUNT).chain(&COUNT).chain(&FORGET) {
            // A server needs bitmaps for two indexes at once.
            let plan = plan(&test.database, &NOT_WHOLE[..1], sql, bind).await;
            let whole = match backend {
                Backend::Sqlite => "SCAN engagement",
                Backend::Postgres => "Seq Scan on engagement",
            };
            assert!(plan.contains("engagement_by_author") && !plan.contains(whole), "{plan}");
        }
    }
}
