//! Likes, retweets and bookmarks that begin and end.

use std::time::Duration;

use pillion_chassis::ids::time_of;
use pillion_events::EngagementEvent;
use serde_json::json;

use super::harness::{ANN, BOB, CID, HELLO, Harness, MINE, on_each};

#[tokio::test]
async fn once_more_changes_nothing() {
    on_each(async |engagements: Harness| {
        for _ in 0..2 {
            engagements.like(ANN, HELLO).await;
            engagements.bookmark(ANN, HELLO).await;
        }
        let retweet = engagements.retweet(ANN, HELLO).await;
        assert_eq!(engagements.retweet(ANN, HELLO).await, retweet);
        assert_eq!(engagements.counts(HELLO).await, [1, 1, 1]);
        assert_eq!(engagements.likes(ANN).await, 1);
        for _ in 0..2 {
            let reply = engagements.end(ANN, "likes", HELLO).await;
            assert_eq!(*reply.data(), json!({"liked": false}));
            let reply = engagements.end(ANN, "bookmarks", HELLO).await;
            assert_eq!(*reply.data(), json!({"bookmarked": false}));
            let reply = engagements.end(ANN, "retweets", HELLO).await;
            assert_eq!(*reply.data(), json!({"retweeted": false}));
        }
        assert_eq!(engagements.counts(HELLO).await, [0, 0, 0]);
        assert_eq!(engagements.likes(ANN).await, 0);
        assert_eq!(
            engagements.event_names().await,
            [
                "engagement.liked",
                "engagement.bookmarked",
                "engagement.retweeted",
                "engagement.unliked",
                "engagement.unbookmarked",
                "engagement.unretweeted",
            ]
        );
        assert_ne!(engagements.retweet(ANN, HELLO).await, retweet);
    })
    .await;
}

#[tokio::test]
async fn events_tell_who_what_whose_and_when() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        let retweet = engagements.retweet(CID, HELLO).await;
        engagements.clock.advance(Duration::from_secs(1));
        engagements.end(CID, "retweets", HELLO).await.data();
        let events = engagements.events().await;
        let EngagementEvent::Liked(liked) = &events[0] else { panic!("{events:?}") };
        assert_eq!(
            (liked.user_id.get(), liked.tweet_id.get(), liked.author_id.get()),
            (ANN, HELLO, BOB)
        );
        assert_eq!(liked.at.to_string(), "2026-07-01T10:00:01.000Z");
        let EngagementEvent::Retweeted(retweeted) = &events[1] else { panic!("{events:?}") };
        assert_eq!(
            (retweeted.user_id.get(), retweeted.tweet_id.get(), retweeted.author_id.get()),
            (CID, HELLO, BOB)
        );
        assert_eq!((retweeted.retweet_id.get(), retweeted.at), (retweet, time_of(retweet)));
        let EngagementEvent::Unretweeted(unretweeted) = &events[2] else { panic!("{events:?}") };
        assert_eq!(unretweeted.retweet_id, retweeted.retweet_id);
        assert_eq!(unretweeted.at.to_string(), "2026-07-01T10:00:02.000Z");
    })
    .await;
}

#[tokio::test]
async fn what_is_done_with_a_retweet_is_done_with_its_source() {
    on_each(async |engagements: Harness| {
        let retweet = engagements.retweet(ANN, HELLO).await;
        engagements.like(CID, retweet).await;
        engagements.bookmark(CID, retweet).await;
        engagements.retweet(CID, retweet).await;
        assert_eq!(engagements.counts(HELLO).await, [1, 2, 1]);
        assert_eq!(engagements.counts(retweet).await, [0, 0, 0]);
        assert_eq!(engagements.get(CID, "/2/users/13/liked_tweets").await.ids(), [HELLO]);
        let path = format!("/2/tweets/{retweet}/retweeted_by");
        assert_eq!(engagements.get(CID, &path).await.ids(), [CID, ANN]);
        // The source's author counts, not who retweeted it.
        let EngagementEvent::Liked(liked) = &engagements.events().await[1] else { panic!() };
        assert_eq!((liked.tweet_id.get(), liked.author_id.get()), (HELLO, BOB));

        engagements.end(CID, "likes", retweet).await.data();
        engagements.end(CID, "bookmarks", retweet).await.data();
        engagements.end(CID, "retweets", retweet).await.data();
        assert_eq!(engagements.counts(HELLO).await, [0, 1, 0]);
        engagements.end(ANN, "retweets", retweet).await.data();
        assert_eq!(engagements.counts(HELLO).await, [0, 0, 0]);
    })
    .await;
}

/// The tweets service may know a retweet that is not here any more.
#[tokio::test]
async fn the_tweets_service_may_name_the_source_too() {
    on_each(async |engagements: Harness| {
        engagements.show_retweet(250, HELLO, ANN);
        engagements.like(CID, 250).await;
        assert_eq!(engagements.counts(HELLO).await, [1, 0, 0]);
        assert_eq!(engagements.get(CID, "/2/tweets/250/liking_users").await.ids(), [CID]);
        let EngagementEvent::Liked(liked) = &engagements.events().await[0] else { panic!() };
        assert_eq!((liked.tweet_id.get(), liked.author_id.get()), (HELLO, BOB));
    })
    .await;
}

#[tokio::test]
async fn one_may_do_it_all_with_ones_own_tweet() {
    on_each(async |engagements: Harness| {
        engagements.protect(ANN, true).await;
        engagements.like(ANN, MINE).await;
        engagements.bookmark(ANN, MINE).await;
        engagements.retweet(ANN, MINE).await;
        assert_eq!(engagements.counts(MINE).await, [1, 1, 1]);
        engagements.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn each_takes_one_call_of_tweets_and_one_of_graph() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        assert_eq!(engagements.calls(), ["tweets 201", "graph 12"]);
        engagements.retweet(ANN, HELLO).await;
        assert_eq!(engagements.calls(), ["tweets 201", "graph 12"]);
        // Nobody is hidden from themself.
        engagements.bookmark(ANN, MINE).await;
        assert_eq!(engagements.calls(), ["tweets 203"]);
        engagements.end(ANN, "likes", HELLO).await.data();
        assert!(engagements.calls().is_empty());
    })
    .await;
}

#[tokio::test]
async fn retweet_ids_go_on_growing_when_the_clock_goes_back_over_a_restart() {
    on_each(async |engagements: Harness| {
        let first = engagements.retweet(ANN, HELLO).await;
        engagements.clock.set("2026-06-01T10:00:01.000Z".parse().unwrap());
        let engagements = engagements.restart().await;
        assert!(engagements.retweet(CID, HELLO).await > first);
    })
    .await;
}
