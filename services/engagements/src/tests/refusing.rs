//! What is refused, and how.

use axum::Router;
use http::StatusCode;
use pillion_chassis::testing::caller;
use serde_json::json;

use super::harness::{AGAIN, ANN, BOB, CID, HELLO, Harness, MINE, NO_TWEET, on_each};

const ALL: [&str; 3] = ["likes", "retweets", "bookmarks"];

#[tokio::test]
async fn a_tweet_that_is_not_there_is_refused_as_x_does() {
    on_each(async |engagements: Harness| {
        engagements.delete_tweet(AGAIN, BOB).await;
        for tweet in [NO_TWEET, AGAIN] {
            let like = engagements.begin(ANN, "likes", tweet).await;
            assert_eq!(like.invalid("tweet_id"), "This tweet cannot be found.");
            let retweet = engagements.begin(ANN, "retweets", tweet).await;
            assert_eq!(retweet.invalid("tweet_id"), "This Tweet cannot be found.");
            let bookmark = engagements.begin(ANN, "bookmarks", tweet).await;
            assert_eq!(bookmark.forbidden(), "You are not permitted to bookmark this Tweet.");
            for what in ALL {
                assert_eq!(engagements.end(ANN, what, tweet).await.status, 200);
            }
        }
        assert!(engagements.events().await.is_empty());
    })
    .await;
}

/// The tweets service may answer from before a deletion that events have told of.
#[tokio::test]
async fn a_deletion_that_was_told_of_counts_at_once() {
    on_each(async |engagements: Harness| {
        engagements.tell_of_deleted_tweet(HELLO, BOB).await;
        engagements.tell_of_deleted_account(ANN).await;
        for what in ALL {
            assert_ne!(engagements.begin(CID, what, HELLO).await.status, 200, "{what}");
            assert_ne!(engagements.begin(CID, what, MINE).await.status, 200, "{what}");
            assert_eq!(engagements.begin(ANN, what, AGAIN).await.status, 401, "{what}");
        }
        assert!(engagements.events().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn who_is_blocked_or_not_let_in_is_refused() {
    on_each(async |engagements: Harness| {
        for (reason, like, retweet) in [
            (
                "blocked_by",
                "You have been blocked from liking this person's Tweets at their request.",
                "You have been blocked from retweeting this person's Tweets at their request.",
            ),
            (
                "protected",
                "Sorry, you are not authorized to see this Tweet.",
                "Sorry, you are not authorized to see this Tweet.",
            ),
        ] {
            engagements.hide(BOB, ANN, Some(reason));
            assert_eq!(engagements.begin(ANN, "likes", HELLO).await.forbidden(), like);
            assert_eq!(engagements.begin(ANN, "retweets", HELLO).await.forbidden(), retweet);
            assert_eq!(
                engagements.begin(ANN, "bookmarks", HELLO).await.forbidden(),
                "You are not permitted to bookmark this Tweet."
            );
        }
        // Others are let in, and so is Ann again once the reason is gone.
        engagements.like(CID, HELLO).await;
        engagements.hide(BOB, ANN, None);
        engagements.like(ANN, HELLO).await;
        assert_eq!(engagements.counts(HELLO).await, [2, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn what_the_caller_does_not_want_to_see_is_still_there() {
    on_each(async |engagements: Harness| {
        for (reason, tweet) in [("muting", HELLO), ("blocking", AGAIN)] {
            engagements.hide(BOB, ANN, Some(reason));
            engagements.like(ANN, tweet).await;
        }
        assert_eq!(engagements.likes(ANN).await, 2);
    })
    .await;
}

#[tokio::test]
async fn what_began_before_a_block_can_end() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        engagements.retweet(ANN, HELLO).await;
        engagements.hide(BOB, ANN, Some("blocked_by"));
        engagements.end(ANN, "likes", HELLO).await.data();
        engagements.end(ANN, "retweets", HELLO).await.data();
        assert_eq!(engagements.counts(HELLO).await, [0, 0, 0]);
    })
    .await;
}

/// A follower of a protected account sees its tweets, and may not carry them further.
#[tokio::test]
async fn a_protected_accounts_tweets_are_not_retweeted() {
    on_each(async |engagements: Harness| {
        engagements.protect(BOB, true).await;
        let reply = engagements.begin(ANN, "retweets", HELLO).await;
        assert_eq!(reply.forbidden(), "The Tweets of a protected account cannot be retweeted.");
        engagements.like(ANN, HELLO).await;
        engagements.bookmark(ANN, HELLO).await;
        engagements.retweet(BOB, HELLO).await;
        engagements.protect(BOB, false).await;
        engagements.retweet(ANN, HELLO).await;
        assert_eq!(engagements.counts(HELLO).await, [1, 2, 1]);
    })
    .await;
}

#[tokio::test]
async fn the_path_must_be_the_callers_own() {
    on_each(async |engagements: Harness| {
        let says = "The `id` query parameter value [11] must be the same as the authenticating \
                    user [12]";
        let body = json!({"tweet_id": HELLO.to_string()}).to_string();
        for what in ALL {
            let path = format!("/2/users/11/{what}");
            assert_eq!(engagements.send("POST", &path, BOB, &body).await.invalid("id"), says);
            let path = format!("/2/users/11/{what}/{HELLO}");
            assert_eq!(engagements.send("DELETE", &path, BOB, "").await.invalid("id"), says);
        }
        assert_eq!(engagements.get(BOB, "/2/users/11/bookmarks").await.invalid("id"), says);
        assert!(engagements.calls().is_empty());
    })
    .await;
}

#[tokio::test]
async fn no_token_is_401_and_an_apps_is_403_where_a_user_acts() {
    on_each(async |engagements: Harness| {
        let body = json!({"tweet_id": HELLO.to_string()}).to_string();
        for what in ALL {
            let (begin, end) = (format!("/2/users/11/{what}"), format!("/2/users/11/{what}/201"));
            for (method, path) in [("POST", &begin), ("DELETE", &end)] {
                let reply = engagements.send_as(method, path, None, &body).await;
                assert_eq!(reply.status, 401, "{path}");
                let reply = engagements.send_as(method, path, Some(caller(None, "")), &body).await;
                assert_eq!(reply.body["title"], "Unsupported Authentication", "{path}");
            }
        }
        let bookmarks = "/2/users/11/bookmarks";
        assert_eq!(
            engagements.send_as("GET", bookmarks, Some(caller(None, "")), "").await.status,
            403
        );
        for path in [
            "/2/users/11/liked_tweets",
            "/2/tweets/201/liking_users",
            "/2/tweets/201/retweeted_by",
            "/internal/counts?tweets=201",
            "/internal/like_counts?users=11",
        ] {
            assert_eq!(engagements.send_as("GET", path, None, "").await.status, 401, "{path}");
            let reply = engagements.send_as("GET", path, Some(caller(None, "")), "").await;
            assert_eq!(reply.status, 200, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn bad_bodies_and_paths_are_400_naming_what_is_wrong() {
    on_each(async |engagements: Harness| {
        for (body, name) in [
            ("{}", "body"),
            (r#"{"tweet_id": 201}"#, "tweet_id"),
            (r#"{"tweet_id":"x"}"#, "tweet_id"),
        ] {
            engagements.send("POST", "/2/users/11/likes", ANN, body).await.invalid(name);
        }
        engagements.send("DELETE", "/2/users/11/likes/x", ANN, "").await.invalid("tweet_id");
        let reply = engagements.send("DELETE", "/2/users/11/retweets/x", ANN, "").await;
        reply.invalid("source_tweet_id");
        engagements.get(ANN, "/2/tweets/x/liking_users").await.invalid("id");
    })
    .await;
}

#[tokio::test]
async fn when_another_service_is_away_nothing_begins_and_what_is_there_can_end() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        let away = || Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE);
        engagements.peers.register("graph", away());
        assert_eq!(engagements.begin(ANN, "retweets", HELLO).await.status, 503);
        assert_eq!(engagements.get(CID, "/2/users/11/liked_tweets").await.status, 503);
        engagements.peers.register("tweets", away());
        assert_eq!(engagements.begin(ANN, "bookmarks", MINE).await.status, 503);
        engagements.end(ANN, "likes", HELLO).await.data();
        assert_eq!(engagements.event_names().await, ["engagement.liked", "engagement.unliked"]);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_our_fault() {
    on_each(async |engagements: Harness| {
        engagements.peers.register("tweets", Router::new().fallback(async || "what?"));
        assert_eq!(engagements.begin(ANN, "likes", HELLO).await.status, 500);
        let refuses = || Router::new().fallback(async || StatusCode::UNAUTHORIZED);
        engagements.peers.register("tweets", refuses());
        assert_eq!(engagements.begin(ANN, "likes", HELLO).await.status, 401);
        assert!(engagements.events().await.is_empty());
    })
    .await;
}
