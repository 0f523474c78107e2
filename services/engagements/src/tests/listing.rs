//! Lists in pages.

use pillion_chassis::testing::caller;
use serde_json::json;

use super::harness::{AGAIN, ANN, BOB, CID, GONE, HELLO, Harness, MINE, NO_TWEET, on_each};

/// Ann likes and keeps so many tweets, one after the other; the last one first.
async fn engaged(engagements: &Harness, count: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    // Their ids say nothing about the order.
    for n in 0..count {
        let id = 1_000 + (n * 7) % 100;
        engagements.add_tweet(id, BOB);
        engagements.like(ANN, id).await;
        engagements.bookmark(ANN, id).await;
        ids.insert(0, id);
    }
    ids
}

#[tokio::test]
async fn a_users_tweets_come_in_pages_on_and_back() {
    on_each(async |engagements: Harness| {
        let ids = engaged(&engagements, 12).await;
        for path in
            ["/2/users/11/liked_tweets?max_results=5", "/2/users/11/bookmarks?max_results=5"]
        {
            let get = async |token: Option<String>| {
                engagements.get(ANN, &format!("{path}&pagination_token={}", token.unwrap())).await
            };
            let first = engagements.get(ANN, path).await;
            assert_eq!(first.ids(), ids[..5]);
            assert_eq!(first.body["meta"]["result_count"], 5);
            assert_eq!(first.token("previous_token"), None);
            let second = get(first.token("next_token")).await;
            assert_eq!(second.ids(), ids[5..10]);
            let third = get(second.token("next_token")).await;
            assert_eq!(third.ids(), ids[10..]);
            assert_eq!(third.token("next_token"), None);
            let back = get(third.token("previous_token")).await;
            assert_eq!(back.ids(), ids[5..10]);
            let back = get(back.token("previous_token")).await;
            assert_eq!(back.ids(), ids[..5]);
            assert_eq!(back.token("previous_token"), None);
        }
    })
    .await;
}

#[tokio::test]
async fn a_tweets_users_come_in_pages_on_and_back() {
    on_each(async |engagements: Harness| {
        let mut ids = Vec::new();
        for id in [35, 31, 34, 32, 33] {
            engagements.like(id, HELLO).await;
            engagements.retweet(id, HELLO).await;
            ids.insert(0, id);
        }
        for what in ["liking_users", "retweeted_by"] {
            let path = format!("/2/tweets/{HELLO}/{what}?max_results=2");
            let get = async |token: Option<String>| {
                engagements.get(CID, &format!("{path}&pagination_token={}", token.unwrap())).await
            };
            let first = engagements.get(CID, &path).await;
            assert_eq!(first.ids(), ids[..2]);
            let second = get(first.token("next_token")).await;
            assert_eq!(second.ids(), ids[2..4]);
            let third = get(second.token("next_token")).await;
            assert_eq!(third.ids(), ids[4..]);
            assert_eq!(third.token("next_token"), None);
            let back = get(second.token("previous_token")).await;
            assert_eq!(back.ids(), ids[..2]);
            assert_eq!(back.token("previous_token"), None);
        }
    })
    .await;
}

#[tokio::test]
async fn what_begins_or_ends_meanwhile_does_not_shift_the_pages() {
    on_each(async |engagements: Harness| {
        let ids = engaged(&engagements, 8).await;
        let path = "/2/users/11/bookmarks?max_results=4";
        let next = engagements.get(ANN, path).await.token("next_token").unwrap();
        engagements.bookmark(ANN, HELLO).await;
        engagements.end(ANN, "bookmarks", ids[3]).await.data();
        engagements.delete_tweet(ids[5], BOB).await;
        let second = engagements.get(ANN, &format!("{path}&pagination_token={next}")).await;
        assert_eq!(second.ids(), [ids[4], ids[6], ids[7]]);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only() {
    on_each(async |engagements: Harness| {
        for tweet in [HELLO, AGAIN, MINE] {
            for by in [ANN, BOB] {
                engagements.bookmark(by, tweet).await;
                engagements.like(by, tweet).await;
            }
        }
        engagements.like(CID, HELLO).await;
        let get = async |by: u64, path: &str, token: &str| {
            engagements.get(by, &format!("{path}?pagination_token={token}")).await
        };
        let path = "/2/users/11/bookmarks";
        let first = engagements.get(ANN, &format!("{path}?max_results=1")).await;
        let next = first.token("next_token").unwrap();
        assert_eq!(get(ANN, path, &next).await.ids(), [AGAIN, HELLO]);
        let mut forged = next.clone();
        forged.replace_range(..1, if next.starts_with('B') { "A" } else { "B" });
        for (by, path, token) in [
            // Another user's token.
            (BOB, "/2/users/12/bookmarks", next.as_str()),
            // Another list's.
            (ANN, "/2/users/11/liked_tweets", &next),
            (ANN, "/2/tweets/201/liking_users", &next),
            (ANN, "/2/tweets/201/retweeted_by", &next),
            // A tampered one, and none at all.
            (ANN, path, &forged),
            (ANN, path, "nonsense"),
            (ANN, path, ""),
        ] {
            get(by, path, token).await.invalid("pagination_token");
        }
        let likers = engagements.get(ANN, "/2/tweets/201/liking_users?max_results=1").await;
        let next = likers.token("next_token").unwrap();
        get(ANN, "/2/tweets/202/liking_users", &next).await.invalid("pagination_token");
        get(ANN, "/2/tweets/201/retweeted_by", &next).await.invalid("pagination_token");
    })
    .await;
}

#[tokio::test]
async fn nothing_there_is_an_error_and_nothing_on_the_list_an_empty_page() {
    on_each(async |engagements: Harness| {
        let empty = json!({"meta": {"result_count": 0}});
        for path in [
            "/2/users/12/liked_tweets",
            "/2/users/11/bookmarks",
            "/2/tweets/201/liking_users",
            "/2/tweets/201/retweeted_by",
        ] {
            let reply = engagements.get(ANN, path).await;
            assert_eq!((reply.status.as_u16(), &reply.body), (200, &empty), "{path}");
        }
        engagements.delete_tweet(AGAIN, BOB).await;
        for tweet in [NO_TWEET, AGAIN] {
            for what in ["liking_users", "retweeted_by"] {
                let reply = engagements.get(ANN, &format!("/2/tweets/{tweet}/{what}")).await;
                assert_eq!(reply.error()["title"], "Not Found Error");
                assert_eq!(reply.error()["resource_type"], "tweet");
                assert_eq!(reply.error()["resource_id"], tweet.to_string());
            }
        }
        engagements.tell_of_deleted_account(CID).await;
        for user in [GONE, CID] {
            let reply = engagements.get(ANN, &format!("/2/users/{user}/liked_tweets")).await;
            assert_eq!(reply.error()["title"], "Not Found Error");
            assert_eq!(reply.error()["resource_type"], "user");
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_takes_a_bounded_number_of_calls() {
    on_each(async |engagements: Harness| {
        engaged(&engagements, 10).await;
        engagements.calls();
        engagements.get(CID, "/2/users/11/liked_tweets").await.data();
        assert_eq!(engagements.calls(), ["graph 11"]);
        engagements.get(ANN, "/2/users/11/bookmarks").await.data();
        assert!(engagements.calls().is_empty());
        engagements.get(CID, "/2/tweets/1007/liking_users").await.data();
        assert_eq!(engagements.calls(), ["tweets 1007", "graph 12"]);
        engagements.get(CID, "/2/users/12/liked_tweets").await.data();
        assert_eq!(engagements.calls(), ["graph 12", "users 12"]);
        engagements.register(BOB).await;
        engagements.get(CID, "/2/users/12/liked_tweets").await.data();
        assert_eq!(engagements.calls(), ["graph 12"]);
    })
    .await;
}

#[tokio::test]
async fn lists_of_those_who_hide_are_not_shown() {
    on_each(async |engagements: Harness| {
        engagements.like(ANN, HELLO).await;
        engagements.like(BOB, MINE).await;
        for reason in ["protected", "blocked_by"] {
            engagements.hide(BOB, CID, Some(reason));
            let likes = engagements.get(CID, "/2/users/12/liked_tweets").await;
            assert_eq!(likes.error()["title"], "Authorization Error");
            assert_eq!(
                likes.error()["detail"],
                "Sorry, you are not authorized to see the user with id: [12]."
            );
            for what in ["liking_users", "retweeted_by"] {
                let users = engagements.get(CID, &format!("/2/tweets/{HELLO}/{what}")).await;
                assert_eq!(users.error()["resource_type"], "tweet");
                assert_eq!(
                    users.error()["detail"],
                    "Sorry, you are not authorized to see the Tweet with id: [201]."
                );
            }
        }
        engagements.hide(BOB, CID, Some("muting"));
        assert_eq!(engagements.get(CID, "/2/users/12/liked_tweets").await.ids(), [MINE]);
        // To an app alone too.
        engagements.hide(BOB, 0, Some("protected"));
        let reply =
            engagements.send_as("GET", "/2/tweets/201/liking_users", Some(caller(None, "")), "");
        assert_eq!(reply.await.error()["title"], "Authorization Error");
    })
    .await;
}

#[tokio::test]
async fn malformed_bounds_are_400_naming_the_parameter() {
    on_each(async |engagements: Harness| {
        for (path, least) in [
            ("/2/users/11/liked_tweets", 5),
            ("/2/users/11/bookmarks", 1),
            ("/2/tweets/201/liking_users", 1),
            ("/2/tweets/201/retweeted_by", 1),
        ] {
            for count in [least, 100] {
                let reply = engagements.get(ANN, &format!("{path}?max_results={count}")).await;
                assert_eq!(reply.status, 200);
            }
            for count in [least - 1, 101] {
                let reply = engagements.get(ANN, &format!("{path}?max_results={count}")).await;
                reply.invalid("max_results");
            }
            engagements.get(ANN, &format!("{path}?since_id=1")).await.invalid("since_id");
        }
    })
    .await;
}

#[tokio::test]
async fn a13_retweets_are_listed_as_tweets_of_a_tweet_and_of_a_users_tweets() {
    on_each(async |engagements: Harness| {
        let mut retweets = Vec::new();
        for id in [31, 32, 33] {
            retweets.insert(0, engagements.retweet(id, HELLO).await);
        }
        let other = engagements.retweet(31, AGAIN).await;
        let path = format!("/2/tweets/{HELLO}/retweets?max_results=2");
        let first = engagements.get(CID, &path).await;
        assert_eq!(first.ids(), retweets[..2]);
        let next = first.token("next_token").unwrap();
        let second = engagements.get(CID, &format!("{path}&pagination_token={next}")).await;
        assert_eq!((second.ids(), second.token("next_token")), (retweets[2..].to_vec(), None));
        let back = second.token("previous_token").unwrap();
        let again = engagements.get(CID, &format!("{path}&pagination_token={back}")).await;
        assert_eq!(again.ids(), retweets[..2]);
        // A retweet's id stands for what it repeats, and a token is its caller's own.
        let of_retweet = format!("/2/tweets/{}/retweets", retweets[0]);
        assert_eq!(engagements.get(CID, &of_retweet).await.ids(), retweets);
        let stolen = engagements.get(ANN, &format!("{path}&pagination_token={next}")).await;
        assert_eq!(stolen.status, 400);
        let missing = engagements.get(ANN, &format!("/2/tweets/{NO_TWEET}/retweets")).await;
        assert_eq!(missing.error()["title"], "Not Found Error");

        let of_bob = engagements.get(BOB, "/2/users/reposts_of_me").await;
        assert_eq!(of_bob.ids(), [vec![other], retweets.clone()].concat());
        assert!(engagements.get(31, "/2/users/reposts_of_me").await.ids().is_empty());
        let app = Some(caller(None, "tweet.read"));
        let of_app = engagements.send_as("GET", "/2/users/reposts_of_me", app, "").await;
        assert_eq!(of_app.status, 403);
    })
    .await;
}
