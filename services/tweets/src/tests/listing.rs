//! A user's tweets in pages.

use std::time::Duration;

use pillion_chassis::Clock;

use super::harness::{ANN, BOB, GONE, Harness, on_each};

/// Ann posts so many tweets, a second apart; their ids, latest first.
async fn posted(tweets: &Harness, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        tweets.clock.advance(Duration::from_secs(1));
        ids.insert(0, tweets.post_text(ANN, &format!("tweet {n} of {}", tweets.clock.now())).await);
    }
    ids
}

#[tokio::test]
async fn pages_lead_on_and_back_over_every_tweet_once() {
    on_each(async |tweets: Harness| {
        let ids = posted(&tweets, 12).await;
        tweets.post_text(BOB, "somebody else's").await;
        let path = "/2/users/11/tweets?max_results=5";

        let first = tweets.get(path).await;
        assert_eq!(first.id_texts(), ids[..5]);
        let meta = &first.body["meta"];
        assert_eq!(meta["result_count"], 5);
        assert_eq!(
            (&meta["newest_id"], &meta["oldest_id"]),
            (&ids[0].as_str().into(), &ids[4].as_str().into())
        );
        assert_eq!(first.token("previous_token"), None);

        let to = |token: Option<String>| format!("{path}&pagination_token={}", token.unwrap());
        let second = tweets.get(&to(first.token("next_token"))).await;
        assert_eq!(second.id_texts(), ids[5..10]);
        let third = tweets.get(&to(second.token("next_token"))).await;
        assert_eq!(third.id_texts(), ids[10..]);
        assert_eq!(third.token("next_token"), None);

        let back = tweets.get(&to(third.token("previous_token"))).await;
        assert_eq!(back.id_texts(), ids[5..10]);
        let back = tweets.get(&to(back.token("previous_token"))).await;
        assert_eq!(back.id_texts(), ids[..5]);
        assert_eq!(back.token("previous_token"), None);
        assert!(back.token("next_token").is_some());
    })
    .await;
}

#[tokio::test]
async fn new_tweets_do_not_shift_the_pages() {
    on_each(async |tweets: Harness| {
        let ids = posted(&tweets, 10).await;
        let path = "/2/users/11/tweets?max_results=5";
        let first = tweets.get(path).await;
        posted(&tweets, 3).await;
        let next = first.token("next_token").unwrap();
        let second = tweets.get(&format!("{path}&pagination_token={next}")).await;
        assert_eq!(second.id_texts(), ids[5..]);
    })
    .await;
}

#[tokio::test]
async fn a_page_whose_tweets_are_gone_still_leads_back() {
    on_each(async |tweets: Harness| {
        let ids = posted(&tweets, 7).await;
        let path = "/2/users/11/tweets?max_results=5";
        let next = tweets.get(path).await.token("next_token").unwrap();
        for id in &ids[5..] {
            tweets.delete(ANN, id).await;
        }
        let empty = tweets.get(&format!("{path}&pagination_token={next}")).await;
        assert!(empty.id_texts().is_empty());
        assert!(empty.body.get("data").is_none() && empty.body.get("errors").is_none());
        assert_eq!(empty.body["meta"]["result_count"], 0);
        let previous = empty.token("previous_token").unwrap();
        let back = tweets.get(&format!("{path}&pagination_token={previous}")).await;
        assert_eq!(back.id_texts(), ids[..5]);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only() {
    on_each(async |tweets: Harness| {
        posted(&tweets, 7).await;
        let next =
            tweets.get("/2/users/11/tweets?max_results=5").await.token("next_token").unwrap();
        let mut forged = next.clone();
        forged.replace_range(..1, if next.starts_with('B') { "A" } else { "B" });
        for path in [
            format!("/2/users/12/tweets?pagination_token={next}"),
            format!("/2/users/11/tweets?exclude=replies&pagination_token={next}"),
            format!("/2/users/11/tweets?pagination_token={forged}"),
            "/2/users/11/tweets?pagination_token=nonsense".to_owned(),
            "/2/users/11/tweets?pagination_token=".to_owned(),
        ] {
            let reply = tweets.get(&path).await;
            assert_eq!(reply.status, 400, "{path}");
            let parameters = &reply.body["errors"][0]["parameters"];
            assert!(parameters.get("pagination_token").is_some(), "{}", reply.body);
        }
        let other_size = format!("/2/users/11/tweets?max_results=50&pagination_token={next}");
        assert_eq!(tweets.get(&other_size).await.id_texts().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_token_outlives_a_restart() {
    on_each(async |tweets: Harness| {
        let ids = posted(&tweets, 7).await;
        let next =
            tweets.get("/2/users/11/tweets?max_results=5").await.token("next_token").unwrap();
        let tweets = tweets.restart().await;
        let path = format!("/2/users/11/tweets?max_results=5&pagination_token={next}");
        assert_eq!(tweets.get(&path).await.id_texts(), ids[5..]);
    })
    .await;
}

#[tokio::test]
async fn ids_times_and_kinds_bound_the_list() {
    on_each(async |tweets: Harness| {
        let ids = posted(&tweets, 6).await;
        let reply = tweets.reply_to(ANN, &ids[0], "a reply").await.id();
        let get = async |query: String| {
            tweets.get(&format!("/2/users/11/tweets?{query}")).await.id_texts()
        };

        assert_eq!(get("exclude=replies".to_owned()).await, ids);
        assert_eq!(get("exclude=retweets".to_owned()).await[0], reply);
        assert_eq!(get(format!("since_id={}&exclude=replies", ids[2])).await, ids[..2]);
        assert_eq!(get(format!("until_id={}", ids[2])).await, ids[3..]);
        assert_eq!(get(format!("since_id={}&until_id={}", ids[5], ids[3])).await, ids[4..5]);
        // The first of the six was posted at 10:00:02.
        let window = "start_time=2026-07-01T10:00:03Z&end_time=2026-07-01T10:00:05Z";
        assert_eq!(get(window.to_owned()).await, ids[3..5]);
        let first = format!("since_id={}&start_time=2027-01-01T00:00:00Z&exclude=replies", ids[1]);
        assert_eq!(get(first).await, ids[..1]);
    })
    .await;
}

#[tokio::test]
async fn who_has_not_posted_has_an_empty_page_and_who_is_not_there_an_error() {
    on_each(async |tweets: Harness| {
        let empty = tweets.get("/2/users/12/tweets").await;
        assert_eq!(empty.status, 200);
        assert_eq!(empty.body, serde_json::json!({"meta": {"result_count": 0}}));
        let gone = tweets.get(&format!("/2/users/{GONE}/tweets")).await;
        assert_eq!(gone.status, 200);
        assert_eq!(gone.body["errors"][0]["resource_type"], "user");
        assert!(gone.body.get("meta").is_none());
    })
    .await;
}

#[tokio::test]
async fn malformed_bounds_are_400_naming_the_parameter() {
    on_each(async |tweets: Harness| {
        for (query, parameter) in [
            ("max_results=4", "max_results"),
            ("max_results=101", "max_results"),
            ("max_results=ten", "max_results"),
            ("since_id=x", "since_id"),
            ("until_id=-1", "until_id"),
            ("start_time=yesterday", "start_time"),
            ("start_time=2026-07-02T00:00:00Z&end_time=2026-07-01T00:00:00Z", "start_time"),
            ("exclude=quotes", "exclude"),
            ("page=2", "page"),
        ] {
            let reply = tweets.get(&format!("/2/users/11/tweets?{query}")).await;
            assert_eq!(reply.status, 400, "{query}");
            assert!(
                reply.body["errors"][0]["parameters"].get(parameter).is_some(),
                "{}",
                reply.body
            );
        }
    })
    .await;
}
