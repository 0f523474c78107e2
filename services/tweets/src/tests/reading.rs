//! Tweets by id.

use pillion_chassis::testing::Reply;
use serde_json::json;

use super::harness::{ANN, BOB, Harness, on_each};

#[tokio::test]
async fn a_tweet_has_three_fields_and_more_on_demand() {
    on_each(async |tweets: Harness| {
        let id = tweets.post_text(ANN, "see #rust, @bob: example.com").await;
        assert_eq!(
            tweets.read(&id, "").await,
            json!({
                "id": id, "text": "see #rust, @bob: example.com", "edit_history_tweet_ids": [id],
                "_authors": ["11"],
            })
        );
        let fields = "author_id,created_at,entities,reply_settings,lang,geo,in_reply_to_user_id,\
                      edit_controls,possibly_sensitive,display_text_range";
        let data = tweets.read(&id, fields).await;
        assert_eq!(data["author_id"], "11");
        assert_eq!(data["created_at"], "2026-07-01T10:00:01.000Z");
        assert_eq!(data["reply_settings"], "everyone");
        assert_eq!(data["display_text_range"], json!([0, 28]));
        assert_eq!((&data["possibly_sensitive"], &data["lang"]), (&json!(false), &json!("und")));
        assert_eq!(
            data["edit_controls"],
            json!({
                "edits_remaining": 0, "is_edit_eligible": false,
                "editable_until": "2026-07-01T10:00:01.000Z",
            })
        );
        assert_eq!(data["entities"]["hashtags"], json!([{"start": 4, "end": 9, "tag": "rust"}]));
        assert_eq!(
            data["entities"]["mentions"],
            json!([{"start": 11, "end": 15, "username": "bob", "id": "12"}])
        );
        assert_eq!(data["entities"]["urls"][0]["url"], "example.com");
        assert!(data.get("in_reply_to_user_id").is_none() && data.get("geo").is_none());
    })
    .await;
}

#[tokio::test]
async fn several_tweets_come_in_the_order_of_the_request() {
    on_each(async |tweets: Harness| {
        let first = tweets.post_text(ANN, "1").await;
        let second = tweets.post_text(ANN, "2").await;
        let reply = tweets.get(&format!("/internal/tweets?ids={second},20,{first},{second}")).await;
        assert_eq!(reply.id_texts(), [second, first]);
        assert!(reply.body.get("errors").is_none(), "what is not there is left out");
        assert_eq!(tweets.get("/internal/tweets?ids=20").await.body, json!({}));
    })
    .await;
}

#[tokio::test]
async fn a_malformed_look_up_is_400_naming_the_parameter() {
    on_each(async |tweets: Harness| {
        let hundred_and_one: Vec<_> = (1..=101).map(|id: u32| id.to_string()).collect();
        let hundred_and_one = hundred_and_one.join(",");
        for (path, parameter) in [
            ("/internal/tweets".to_owned(), "ids"),
            ("/internal/tweets?ids=1,,b".to_owned(), "ids"),
            ("/internal/tweets?ids=9999999999999999999".to_owned(), "ids"),
            (format!("/internal/tweets?ids={hundred_and_one}"), "ids"),
            ("/internal/tweets?ids=1&tweet.fields=nope".to_owned(), "tweet.fields"),
            ("/internal/tweets?ids=1&expansions=author_id".to_owned(), "expansions"),
            ("/internal/tweet_counts".to_owned(), "users"),
            (format!("/internal/tweet_counts?users={hundred_and_one}"), "users"),
            ("/2/tweets/abc/quote_tweets".to_owned(), "id"),
            ("/2/tweets/1/quote_tweets?max_results=9".to_owned(), "max_results"),
            ("/2/tweets/1/quote_tweets?tweet.fields=id".to_owned(), "tweet.fields"),
        ] {
            let reply = tweets.get(&path).await;
            assert_eq!(reply.status, 400, "{path}");
            assert!(
                reply.body["errors"][0]["parameters"].get(parameter).is_some(),
                "{}",
                reply.body
            );
        }
        for path in ["/internal/tweets?ids=1", "/internal/tweet_counts?users=1"] {
            assert_eq!(tweets.send_as("GET", path, None, "").await.status, 401);
        }
    })
    .await;
}

#[tokio::test]
async fn the_quotes_of_a_tweet_come_in_pages() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let mut quotes = Vec::new();
        for n in 0..25 {
            quotes.insert(0, tweets.quote(BOB, &root, &format!("quote {n}")).await.id());
        }
        let body = json!({
            "text": "both", "quote_tweet_id": root, "reply": {"in_reply_to_tweet_id": root},
        });
        quotes.insert(0, tweets.post(BOB, &body).await.id());
        let path = format!("/2/tweets/{root}/quote_tweets");
        let first = tweets.get(&path).await;
        assert_eq!(first.id_texts(), quotes[..10]);
        assert_eq!(first.body["data"][0], json!({"id": quotes[0]}));
        assert_eq!(first.body["meta"]["result_count"], 10);
        assert_eq!(first.body["meta"]["newest_id"], quotes[0].as_str());
        let to = |reply: &Reply, name: &str| {
            format!("{path}?pagination_token={}", reply.token(name).unwrap())
        };
        let second = tweets.get(&to(&first, "next_token")).await;
        assert_eq!(second.id_texts(), quotes[10..20]);
        let third = tweets.get(&to(&second, "next_token")).await;
        assert_eq!(third.id_texts(), quotes[20..]);
        assert!(third.body["meta"].get("next_token").is_none());
        assert_eq!(tweets.get(&to(&second, "previous_token")).await.id_texts(), quotes[..10]);
        let foreign = to(&first, "next_token").replace(&root, &quotes[0]);
        assert_eq!(tweets.get(&foreign).await.status, 400);

        let without = tweets.get(&format!("{path}?exclude=replies&max_results=100")).await;
        assert_eq!(without.id_texts(), quotes[1..]);
        let none = tweets.get(&format!("/2/tweets/{}/quote_tweets", quotes[0])).await;
        assert_eq!(none.body, json!({"meta": {"result_count": 0}}));
        let gone = tweets.get("/2/tweets/20/quote_tweets").await;
        assert_eq!((gone.status.as_u16(), &gone.body["errors"][0]["value"]), (200, &json!("20")));
    })
    .await;
}
