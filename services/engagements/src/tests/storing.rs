//! Many at once, deletions, and that the tables are a fold of the events.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::harness::{AGAIN, ANN, BOB, CID, HELLO, Harness, MINE, on_each};

const AT_ONCE: u64 = 32;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_likes_of_one_tweet_by_one_user_one_counts() {
    on_each(async |engagements: Harness| {
        let engagements = Arc::new(engagements);
        let mut liking = JoinSet::new();
        for _ in 0..AT_ONCE {
            let engagements = engagements.clone();
            liking.spawn(async move { engagements.like(ANN, HELLO).await });
        }
        liking.join_all().await;
        assert_eq!(engagements.counts(HELLO).await, [1, 0, 0]);
        assert_eq!(engagements.likes(ANN).await, 1);
        assert_eq!(engagements.event_names().await, ["engagement.liked"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_retweets_of_one_tweet_by_one_user_there_is_one() {
    on_each(async |engagements: Harness| {
        let engagements = Arc::new(engagements);
        let mut retweeting = JoinSet::new();
        for _ in 0..AT_ONCE {
            let engagements = engagements.clone();
            retweeting.spawn(async move { engagements.retweet(ANN, HELLO).await });
        }
        let mut ids = retweeting.join_all().await;
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(engagements.counts(HELLO).await, [0, 1, 0]);
        assert_eq!(engagements.event_names().await, ["engagement.retweeted"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn likes_of_many_at_once_all_count() {
    on_each(async |engagements: Harness| {
        let engagements = Arc::new(engagements);
        let mut liking = JoinSet::new();
        for user in 100..100 + AT_ONCE {
            let engagements = engagements.clone();
            liking.spawn(async move {
                engagements.like(user, HELLO).await;
                engagements.like(user, AGAIN).await;
                engagements.end(user, "likes", AGAIN).await.data();
            });
        }
        liking.join_all().await;
        let count = i64::try_from(AT_ONCE).unwrap();
        assert_eq!(engagements.counts(HELLO).await, [count, 0, 0]);
        assert_eq!(engagements.counts(AGAIN).await, [0, 0, 0]);
        engagements.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn a_tweet_that_is_deleted_leaves_nothing_behind() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        engagements.like(ANN, AGAIN).await;
        engagements.like(CID, HELLO).await;
        engagements.bookmark(CID, HELLO).await;
        let retweet = engagements.retweet(ANN, HELLO).await;
        engagements.delete_tweet(HELLO, BOB).await;
        assert_eq!(engagements.counts(HELLO).await, [0, 0, 0]);
        assert_eq!((engagements.likes(ANN).await, engagements.likes(CID).await), (1, 0));
        assert_eq!(engagements.get(ANN, "/2/users/11/liked_tweets").await.ids(), [AGAIN]);
        assert!(engagements.get(CID, "/2/users/13/bookmarks").await.ids().is_empty());
        engagements.begin(CID, "likes", retweet).await.invalid("tweet_id");
        engagements.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn a_retweet_that_is_deleted_as_a_tweet_counts_no_more() {
    on_each(async |engagements: Harness| {
        let retweet = engagements.retweet(ANN, HELLO).await;
        engagements.retweet(CID, HELLO).await;
        engagements.like(CID, HELLO).await;
        engagements.delete_tweet(retweet, ANN).await;
        assert_eq!(engagements.counts(HELLO).await, [1, 1, 0]);
        let path = format!("/2/tweets/{HELLO}/retweeted_by");
        assert_eq!(engagements.get(ANN, &path).await.ids(), [CID]);
        assert_ne!(engagements.retweet(ANN, HELLO).await, retweet);
        engagements.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn an_account_that_is_deleted_leaves_nothing_behind() {
    on_each(async |engagements: Harness| {
        for user in [ANN, BOB, CID] {
            engagements.register(user).await;
        }
        for tweet in [HELLO, AGAIN, MINE] {
            for user in [ANN, BOB, CID] {
                engagements.like(user, tweet).await;
            }
            engagements.retweet(CID, tweet).await;
            engagements.bookmark(BOB, tweet).await;
        }
        engagements.tell_of_deleted_account(BOB).await;
        while engagements.settle_some().await {}
        // Bob's tweets are gone with all that was done with them, and what Bob did.
        assert_eq!(engagements.counts(HELLO).await, [0, 0, 0]);
        assert_eq!(engagements.counts(AGAIN).await, [0, 0, 0]);
        assert_eq!(engagements.counts(MINE).await, [2, 1, 0]);
        assert_eq!((engagements.likes(ANN).await, engagements.likes(BOB).await), (1, 0));
        assert_eq!(engagements.get(ANN, "/2/users/13/liked_tweets").await.ids(), [MINE]);
        let path = format!("/2/tweets/{MINE}/liking_users");
        assert_eq!(engagements.get(ANN, &path).await.ids(), [CID, ANN]);
        engagements.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_half_way_is_done_or_not_done() {
    on_each(async |engagements: Harness| {
        let engagements = Arc::new(engagements);
        for n in 0..60 {
            let engagements = engagements.clone();
            let liking = tokio::spawn(async move {
                engagements.begin(ANN, "likes", HELLO).await;
                engagements.begin(ANN, "retweets", HELLO).await;
                engagements.end(ANN, "likes", HELLO).await;
            });
            tokio::time::sleep(std::time::Duration::from_micros(n * 100)).await;
            liking.abort();
            let _ = liking.await;
        }
        let listed = engagements.get(ANN, "/2/users/11/liked_tweets").await.ids().len();
        let likes = i64::try_from(listed).unwrap();
        assert_eq!(engagements.likes(ANN).await, likes);
        assert_eq!(engagements.counts(HELLO).await[0], likes);
        engagements.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn the_tables_are_a_fold_of_the_events() {
    on_each(async |engagements: Harness| {
        engagements.register(ANN).await;
        engagements.like(ANN, HELLO).await;
        engagements.retweet(CID, HELLO).await;
        engagements.protect(BOB, true).await;
        engagements.bookmark(CID, AGAIN).await;
        engagements.end(CID, "retweets", HELLO).await.data();
        engagements.protect(BOB, false).await;
        engagements.retweet(CID, HELLO).await;
        engagements.like(CID, MINE).await;
        engagements.tell_of_deleted_tweet(AGAIN, BOB).await;
        engagements.tell_of_deleted_account(ANN).await;
        engagements.assert_rebuilds().await;
    })
    .await;
}
