//! Tweets by id.

use serde_json::json;

use super::harness::{ANN, Harness};

#[tokio::test]
async fn a_tweet_has_three_fields_and_more_on_demand() {
    let tweets = Harness::start().await;
    let id = tweets.post_text(ANN, "see #rust, @bob: example.com").await;
    let plain = tweets.get(&format!("/2/tweets/{id}")).await;
    assert_eq!(
        plain.body["data"],
        json!({"id": id, "text": "see #rust, @bob: example.com", "edit_history_tweet_ids": [id]})
    );
    let fields = "author_id,created_at,entities,reply_settings,lang,geo,in_reply_to_user_id";
    let full = tweets.get(&format!("/2/tweets/{id}?tweet.fields={fields}")).await;
    let data = &full.body["data"];
    assert_eq!(data["author_id"], "11");
    assert_eq!(data["created_at"], "2026-07-01T10:00:01.000Z");
    assert_eq!(data["reply_settings"], "everyone");
    assert_eq!(data["entities"]["hashtags"], json!([{"start": 4, "end": 9, "tag": "rust"}]));
    assert_eq!(data["entities"]["mentions"], json!([{"start": 11, "end": 15, "username": "bob"}]));
    assert_eq!(data["entities"]["urls"][0]["url"], "example.com");
    assert!(data.get("in_reply_to_user_id").is_none() && data.get("geo").is_none());
}

#[tokio::test]
async fn several_tweets_come_in_the_order_of_the_request() {
    let tweets = Harness::start().await;
    let first = tweets.post_text(ANN, "1").await;
    let second = tweets.post_text(ANN, "2").await;
    let reply = tweets.get(&format!("/2/tweets?ids={second},20,{first},{second}")).await;
    assert_eq!(reply.ids(), [second, first]);
    assert_eq!(
        reply.body["errors"],
        json!([{
            "title": "Not Found Error",
            "type": "https://api.twitter.com/2/problems/resource-not-found",
            "resource_type": "tweet", "resource_id": "20", "parameter": "ids", "value": "20",
            "detail": "Could not find tweet with ids: [20].",
        }])
    );
}

#[tokio::test]
async fn an_unknown_tweet_is_a_200_with_errors_alone() {
    let tweets = Harness::start().await;
    for (path, parameter) in [("/2/tweets/20", "id"), ("/2/tweets?ids=20", "ids")] {
        let reply = tweets.get(path).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.get("data").is_none());
        assert_eq!(reply.body["errors"][0]["parameter"], parameter);
    }
}

#[tokio::test]
async fn a_malformed_look_up_is_400_naming_the_parameter() {
    let tweets = Harness::start().await;
    let hundred_and_one: Vec<_> = (1..=101).map(|id: u32| id.to_string()).collect();
    for (path, parameter) in [
        ("/2/tweets/abc".to_owned(), "id"),
        ("/2/tweets/99999999999999999999".to_owned(), "id"),
        ("/2/tweets/9999999999999999999".to_owned(), "id"),
        ("/2/tweets".to_owned(), "ids"),
        ("/2/tweets?ids=1,,b".to_owned(), "ids"),
        (format!("/2/tweets?ids={}", hundred_and_one.join(",")), "ids"),
        ("/2/tweets/1?tweet.fields=nope".to_owned(), "tweet.fields"),
        ("/2/tweets/1?expansions=author_id".to_owned(), "expansions"),
    ] {
        let reply = tweets.get(&path).await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.body["errors"][0]["parameters"].get(parameter).is_some(), "{}", reply.body);
    }
}
