//! Accounts that are deactivated, back and gone.

use pillion_chassis::Clock as _;
use pillion_chassis::sql::query;
use pillion_chassis::testing::{do_step, told};
use serde_json::json;

use super::harness::{AGAIN, ANN, BOB, CID, HELLO, Harness, MINE, on_each};

#[tokio::test]
async fn what_a_deactivated_account_did_does_not_count_until_it_is_back() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        engagements.like(CID, HELLO).await;
        engagements.like(BOB, MINE).await;
        engagements.bookmark(CID, HELLO).await;
        engagements.retweet(ANN, HELLO).await;
        engagements.register(ANN).await;
        engagements.register(BOB).await;
        let before = engagements.journal.digests().await.unwrap();

        engagements.deactivate(ANN).await;
        assert_eq!(engagements.counts(HELLO).await, [1, 0, 1]);
        assert_eq!(engagements.get(CID, "/2/tweets/201/liking_users").await.ids(), [CID]);
        assert!(engagements.get(CID, "/2/tweets/201/retweeted_by").await.ids().is_empty());
        let gone = engagements.get(CID, "/2/users/11/liked_tweets").await;
        assert_eq!(gone.error()["resource_type"], "user");
        // A token of the owner is good for a while yet.
        assert_eq!(engagements.begin(ANN, "likes", AGAIN).await.status, 401);
        assert_eq!(engagements.end(ANN, "likes", HELLO).await.status, 401);
        assert_eq!(engagements.end(ANN, "retweets", HELLO).await.status, 401);
        // Its tweets are gone for the others; who undoes something may.
        assert_eq!(engagements.begin(CID, "likes", MINE).await.status, 400);
        engagements.assert_rebuilds().await;

        // Both at once: what is between them comes with the last.
        engagements.deactivate(BOB).await;
        assert_eq!(engagements.counts(HELLO).await, [0, 0, 0]);
        engagements.reactivate(ANN).await;
        assert_eq!(engagements.counts(HELLO).await, [0, 0, 0]);
        assert_eq!(engagements.counts(MINE).await, [0, 0, 0]);
        engagements.reactivate(BOB).await;
        assert_eq!(engagements.counts(HELLO).await, [2, 1, 1]);
        assert_eq!(engagements.likes(ANN).await, 1);
        assert_eq!(engagements.journal.digests().await.unwrap(), before);
        engagements.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn a_purge_waits_for_the_news_and_leaves_nothing() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        engagements.like(CID, HELLO).await;
        engagements.like(BOB, MINE).await;
        engagements.register(BOB).await;
        engagements.deactivate(BOB).await;
        // Others may undo what they did with what is hidden.
        engagements.end(CID, "likes", HELLO).await.data();
        let bob = json!({"user_id": "12"});
        assert_eq!(do_step(&engagements.router, 1, "purge", &bob).await.status, 503);
        assert_eq!(do_step(&engagements.router, 2, "fly", &bob).await.status, 503);
        engagements.tell_of_deleted_account(BOB).await;
        do_step(&engagements.router, 1, "purge", &bob).await.data();
        let (left,): (i64,) = query(
            "SELECT (SELECT count(*) FROM engagement)
                  + (SELECT CAST(coalesce(sum(total), 0) AS BIGINT) FROM tweet_count)
                  + (SELECT CAST(coalesce(sum(like_count), 0) AS BIGINT) FROM user_count)",
        )
        .fetch_one(engagements.journal.database())
        .await
        .unwrap();
        assert_eq!(left, 0);
        engagements.assert_rebuilds().await;
    })
    .await;
}

impl Harness {
    async fn deactivate(&self, user: u64) {
        self.hear(told::deactivated(user, self.clock.now())).await;
    }

    async fn reactivate(&self, user: u64) {
        self.hear(told::reactivated(user, self.clock.now())).await;
    }
}
