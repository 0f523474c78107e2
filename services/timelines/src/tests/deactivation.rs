//! Users who are registered, deactivated, back and gone: what sagas ask of the service.

use pillion_chassis::sql::query;
use pillion_chassis::testing::{BACKENDS, told};
use serde_json::{Value, json};

use super::harness::{AT, Harness};
use crate::Config;

const ANN: u64 = 11;
const BOB: u64 = 12;
const CID: u64 = 13;

fn about(user: u64) -> Value {
    json!({"user_id": user.to_string()})
}

async fn rows(h: &Harness) -> i64 {
    let (rows,): (i64,) = query(
        "SELECT (SELECT count(*) FROM account) + (SELECT count(*) FROM follow)
              + (SELECT count(*) FROM home) + (SELECT count(*) FROM hidden_user)",
    )
    .fetch_one(&h.test.database)
    .await
    .unwrap();
    rows
}

#[tokio::test]
async fn a_registration_that_comes_to_nothing_leaves_nothing() {
    for h in Harness::on_both().await {
        for _ in 0..2 {
            h.step(1, "provision", &about(ANN)).await.data();
        }
        assert_eq!(rows(&h).await, 2, "an account, and a follow of itself");
        assert!(h.home(ANN).await.is_empty());
        h.undo(1, "provision", &about(ANN)).await.data();
        assert_eq!(rows(&h).await, 0);
        // Who is registered after all has what was provided.
        h.step(2, "provision", &about(BOB)).await.data();
        h.register(BOB).await;
        h.post(1, BOB).await;
        assert_eq!(h.home(BOB).await, [1]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn a_hidden_users_tweets_are_in_no_timeline_and_come_back_as_they_were() {
    for h in Harness::on_both().await {
        for id in [ANN, BOB, CID] {
            h.register(id).await;
        }
        h.follow(ANN, BOB).await;
        h.follow(ANN, CID).await;
        h.follow(BOB, CID).await;
        h.post(1, BOB).await;
        h.reply(2, CID, (1, BOB)).await;
        h.retweet(3, CID, (1, BOB)).await;
        h.post(4, CID).await;
        h.retweet(5, BOB, (4, CID)).await;
        h.mention(6, BOB, &[ANN]).await;
        let (ann, bob) = (h.home(ANN).await, h.home(BOB).await);
        assert_eq!(
            (ann.as_slice(), bob.as_slice()),
            ([6, 4, 2, 1].as_slice(), [6, 4, 2, 1].as_slice())
        );
        let before = h.journal.digests().await.unwrap();

        h.step(1, "purge", &about(BOB)).await.data();
        assert_eq!(h.home(ANN).await, [4]);
        assert_eq!(h.home(CID).await, [4, 2], "a reply stays with its author");
        assert!(h.mentions(ANN).await.is_empty());
        assert_eq!(h.page(BOB, "").await.status, 401);
        let gone = h.get(ANN, "/2/users/12/mentions").await;
        assert_eq!(gone.body["errors"][0]["resource_type"], "user");
        h.check_rebuild().await;

        h.undo(1, "purge", &about(BOB)).await.data();
        assert_eq!((h.home(ANN).await, h.home(BOB).await), (ann, bob));
        assert_eq!(h.mentions(ANN).await, [6]);
        assert_eq!(h.journal.digests().await.unwrap(), before);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn what_happens_meanwhile_is_there_when_the_user_is_back() {
    for h in Harness::on_both().await {
        h.register(BOB).await;
        h.follow(ANN, BOB).await;
        h.follow(BOB, CID).await;
        h.step(1, "purge", &about(BOB)).await.data();
        h.post(1, CID).await;
        // Recorded before, heard after.
        h.post(2, BOB).await;
        h.follow(CID, BOB).await;
        assert!(h.home(ANN).await.is_empty());
        assert_eq!(h.home(CID).await, [1]);
        h.undo(1, "purge", &about(BOB)).await.data();
        assert_eq!(h.home(BOB).await, [2, 1]);
        assert_eq!((h.home(ANN).await, h.home(CID).await), (vec![2], vec![2, 1]));
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn purges_and_backfills_wait_for_the_news() {
    for h in Harness::on_both().await {
        let early = h.step(1, "purge", &about(BOB)).await;
        assert_eq!(early.status, 503, "{}", early.body);
        h.register(BOB).await;
        h.step(1, "purge", &about(BOB)).await.data();
        assert_eq!(h.step(1, "purge_all", &about(BOB)).await.status, 503);
        h.delete_user(BOB).await;
        h.step(1, "purge_all", &about(BOB)).await.data();
        // Nobody brings back what is gone.
        h.undo(1, "purge", &about(BOB)).await.data();
        assert_eq!(rows(&h).await, 1, "the account stays known as deleted");

        let mut follow = json!({"user_id": "11", "target_user_id": "13"});
        assert_eq!(h.step(2, "backfill", &follow).await.status, 503);
        follow["followed_position"] = json!(1);
        assert_eq!(h.step(2, "backfill", &follow).await.status, 503);
        h.follow(ANN, CID).await;
        h.unfollow(ANN, CID).await;
        h.step(2, "backfill", &follow).await.data();
        follow["followed_position"] = json!(3);
        assert_eq!(h.step(3, "backfill", &follow).await.status, 503);
        h.follow(ANN, CID).await;
        h.step(4, "backfill", &json!({"user_id": "11", "target_user_id": "13"})).await.data();
        assert_eq!(h.step(5, "fly", &about(ANN)).await.status, 503);
        h.check_rebuild().await;
    }
}

/// The tables of a build before this one.
#[tokio::test]
async fn homes_of_an_earlier_version_know_what_their_retweets_share() {
    use pillion_chassis::{Migrations, testing};
    use sqlx::migrate::Migrator;

    let earlier =
        |migrator: &Migrator| Migrator::with_migrations(migrator.iter().take(2).cloned().collect());
    let now = &crate::store::MIGRATIONS;
    let earlier = Migrations { sqlite: earlier(&now.sqlite), postgres: earlier(&now.postgres) };
    for backend in BACKENDS {
        let test = testing::migrated(backend, &earlier).await;
        let mut transaction = test.database.write().await.unwrap();
        for sql in [
            "INSERT INTO post (tweet_id, author_id, retweeted_id, retweeted_author_id, fanned_out)
             VALUES (1, 12, NULL, NULL, TRUE), (2, 12, 9, 13, TRUE)",
            "INSERT INTO home (user_id, tweet_id, author_id, retweet)
             VALUES (11, 1, 12, FALSE), (11, 2, 12, TRUE)",
        ] {
            query(sql).execute(&mut transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        test.database.migrate(now).await.unwrap();
        let homes: Vec<(i64, Option<i64>, Option<i64>)> =
            query("SELECT tweet_id, retweeted_id, retweeted_author_id FROM home ORDER BY tweet_id")
                .fetch_all(&test.database)
                .await
                .unwrap();
        assert_eq!(homes, [(1, None, None), (2, Some(9), Some(13))]);
    }
}

#[tokio::test]
async fn an_account_that_many_follow_goes_at_once_and_is_gone_by_and_by() {
    for backend in BACKENDS {
        let h = Harness::start(backend, Config::default()).await;
        h.register(BOB).await;
        h.follow(BOB, ANN).await;
        for follower in 100..120 {
            h.follow(follower, BOB).await;
            h.follow(follower, CID).await;
            h.follow(BOB, follower).await;
        }
        h.post(1, BOB).await;
        h.post(2, CID).await;
        h.reply(3, CID, (1, BOB)).await;
        for follower in 100..105 {
            h.retweet(follower, follower, (1, BOB)).await;
            h.mention(follower + 100, BOB, &[follower]).await;
        }
        assert_eq!(h.home(110).await, [204, 203, 202, 201, 200, 3, 2, 1]);
        h.step(1, "purge", &about(BOB)).await.data();
        h.deliver("users", &told::user_deleted(BOB, AT)).await;
        let mut settled = 0;
        loop {
            for follower in [100, 104, 110, 119] {
                assert_eq!(h.home(follower).await, [2], "{follower}");
                assert!(h.mentions(follower).await.is_empty());
            }
            let purged = h.step(2, "purge_all", &about(BOB)).await;
            if purged.status == 200 {
                break;
            }
            assert_eq!(purged.status, 503, "{}", purged.body);
            assert!(h.settle_some().await, "a purge waits for what nobody does");
            settled += 1;
            if settled % 5 == 0 {
                h.check_rebuild().await;
            }
        }
        assert!(settled > 15, "{settled}");
        let left = "SELECT (SELECT count(*) FROM home) + (SELECT count(*) FROM mention)
                         + (SELECT count(*) FROM hidden_user)";
        let (left,): (i64,) = query(left).fetch_one(&h.test.database).await.unwrap();
        // Cid's two tweets in her own home, and the one of them that is no reply in 20 others.
        assert_eq!(left, 22);
        h.check_rebuild().await;
    }
}
