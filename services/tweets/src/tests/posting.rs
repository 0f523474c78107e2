//! Posting and deleting.

use axum::Router;
use http::StatusCode;
use pillion_chassis::{Caller, Scopes};
use pillion_events::TweetEvent;
use serde_json::{Value, json};

use super::harness::{ANN, BOB, CID, GONE, Harness};

fn keys(body: &Value) -> Vec<String> {
    let errors = body["errors"].as_array().unwrap();
    errors
        .iter()
        .flat_map(|error| error["parameters"].as_object().unwrap().keys().cloned())
        .collect()
}

#[tokio::test]
async fn a_tweet_is_posted_and_its_event_with_it() {
    let tweets = Harness::start().await;
    let reply = tweets.post(ANN, &json!({"text": "hello"})).await;
    let id = reply.id();
    assert_eq!(
        reply.body,
        json!({"data": {"id": id, "text": "hello", "edit_history_tweet_ids": [id]}})
    );
    let events = tweets.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].stream_id.clone(), events[0].version), (format!("tweet/{id}"), 1));
    let TweetEvent::Posted(posted) = events[0].decode().unwrap() else { panic!("{events:?}") };
    assert_eq!((posted.author_id.get(), posted.text.as_str()), (ANN, "hello"));
    assert_eq!((posted.tweet_id, posted.client_id.as_str()), (posted.conversation_id, "web"));
    assert_eq!(posted.created_at.to_string(), "2026-07-01T10:00:01.000Z");
}

#[tokio::test]
async fn text_is_weighed() {
    let tweets = Harness::start().await;
    assert_eq!(tweets.post(ANN, &json!({"text": "x".repeat(280)})).await.status, 201);
    assert_eq!(tweets.post(ANN, &json!({"text": "字".repeat(140)})).await.status, 201);
    let link = format!("https://example.com/{}", "x".repeat(300));
    assert_eq!(tweets.post(ANN, &json!({"text": link})).await.status, 201);
    for (text, says) in [
        ("x".repeat(281), "it weighs 281 units and may weigh 280"),
        ("字".repeat(141), "it weighs 282 units"),
        (String::new(), "it is empty"),
        (" \n\t".to_owned(), "it is empty"),
        ("a\u{fffe}b".to_owned(), "not allowed"),
    ] {
        let reply = tweets.post(ANN, &json!({"text": text})).await;
        assert_eq!(reply.status, 400);
        assert_eq!(keys(&reply.body), ["text"]);
        let message = reply.body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(tweets.events().await.len(), 3);
}

#[tokio::test]
async fn a_malformed_body_is_400_naming_the_key() {
    let tweets = Harness::start().await;
    for (body, key) in [
        (r#"{"text": 1}"#, "text"),
        (r#"{"text": "a", "#, "body"),
        ("[]", "body"),
        ("{}", "body"),
        (r#"{"text": "a", "reply": {"in_reply_to_tweet_id": 20}}"#, "reply.in_reply_to_tweet_id"),
        (r#"{"text": "a", "reply": {"in_reply_to_tweet_id": "x"}}"#, "reply.in_reply_to_tweet_id"),
        (r#"{"text": "a", "quote_tweet_id": true}"#, "quote_tweet_id"),
        (r#"{"text": "a", "reply_settings": "nobody"}"#, "reply_settings"),
        (r#"{"text": "a", "poll": {"options": []}}"#, "poll"),
    ] {
        let reply = tweets.send("POST", "/2/tweets", ANN, body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert_eq!(keys(&reply.body), [key], "{}", reply.body);
    }
    let both = json!({"text": "", "reply_settings": "nobody"});
    assert_eq!(keys(&tweets.post(ANN, &both).await.body), ["text", "reply_settings"]);
    let long = json!({"text": "x".repeat(70_000)});
    assert_eq!(tweets.post(ANN, &long).await.status, 413);
    assert!(tweets.events().await.is_empty());
}

#[tokio::test]
async fn only_a_user_who_exists_may_post() {
    let tweets = Harness::start().await;
    let body = r#"{"text": "a"}"#;
    assert_eq!(tweets.send_as("POST", "/2/tweets", None, body).await.status, 401);
    let app = Caller { user_id: None, client_id: "app".into(), scopes: Scopes::default() };
    let reply = tweets.send_as("POST", "/2/tweets", Some(app), body).await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.body["title"], "Unsupported Authentication");
    let gone = tweets.send("POST", "/2/tweets", GONE, body).await;
    assert_eq!(gone.status, 401);
    let detail = gone.body["detail"].as_str().unwrap();
    assert!(detail.contains("account 99 of this token does not exist any more"), "{detail}");
    assert!(tweets.events().await.is_empty());
}

#[tokio::test]
async fn nothing_is_posted_while_the_users_service_cannot_say_who_it_is() {
    let tweets = Harness::start().await;
    for (status, ours) in [(503, 503), (429, 503), (500, 500), (403, 403), (401, 401)] {
        let status = StatusCode::from_u16(status).unwrap();
        tweets.peers.register("users", Router::new().fallback(async move || status));
        let reply = tweets.post(ANN, &json!({"text": "a"})).await;
        assert_eq!(reply.status, ours, "{}", reply.body);
    }
    tweets.peers.register("users", Router::new().fallback(async || "not JSON"));
    assert_eq!(tweets.post(ANN, &json!({"text": "a"})).await.status, 500);
    assert!(tweets.events().await.is_empty());
}

#[tokio::test]
async fn replies_and_quotes_point_at_tweets_that_exist() {
    let tweets = Harness::start().await;
    let root = tweets.post_text(ANN, "root").await;
    let reply = tweets.reply_to(BOB, &root, "reply").await.id();
    let deeper = tweets.reply_to(CID, &reply, "deeper").await.id();
    let quote = tweets.quote(BOB, &root, "quote").await.id();

    let query = "tweet.fields=referenced_tweets,conversation_id,in_reply_to_user_id,public_metrics";
    let got = tweets.get(&format!("/2/tweets?ids={deeper},{quote},{root}&{query}")).await;
    let data = &got.body["data"];
    assert_eq!(data[0]["referenced_tweets"], json!([{"type": "replied_to", "id": reply}]));
    assert_eq!(data[0]["conversation_id"], root.as_str());
    assert_eq!(data[0]["in_reply_to_user_id"], BOB.to_string());
    assert_eq!(data[1]["referenced_tweets"], json!([{"type": "quoted", "id": root}]));
    assert_eq!(data[1]["conversation_id"], quote.as_str());
    assert_eq!(
        data[2]["public_metrics"],
        json!({
            "retweet_count": 0, "reply_count": 1, "like_count": 0, "quote_count": 1,
            "bookmark_count": 0, "impression_count": 0,
        })
    );

    let missing = tweets.reply_to(BOB, "1", "to nothing").await;
    assert_eq!(missing.status, 400);
    assert_eq!(keys(&missing.body), ["reply.in_reply_to_tweet_id"]);
    let missing = tweets.quote(BOB, "1", "nothing").await;
    assert_eq!(keys(&missing.body), ["quote_tweet_id"]);
    assert_eq!(tweets.events().await.len(), 4);
}

#[tokio::test]
async fn an_author_decides_who_may_reply() {
    let tweets = Harness::start().await;
    for settings in ["mentionedUsers", "following"] {
        let body = json!({"text": "only for @bob", "reply_settings": settings});
        let id = tweets.post(ANN, &body).await.id();
        assert_eq!(tweets.reply_to(BOB, &id, "thanks").await.status, 201);
        assert_eq!(tweets.reply_to(ANN, &id, "more").await.status, 201);
        let refused = tweets.reply_to(CID, &id, "me too").await;
        assert_eq!(refused.status, 403);
        assert!(refused.body["detail"].as_str().unwrap().contains("limited who may reply"));
        assert_eq!(tweets.quote(CID, &id, "look").await.status, 201);
    }
}

#[tokio::test]
async fn an_author_takes_a_tweet_back_and_nobody_else_does() {
    let tweets = Harness::start().await;
    let root = tweets.post_text(ANN, "root").await;
    let reply = tweets.reply_to(BOB, &root, "reply").await.id();

    let refused = tweets.delete(ANN, &reply).await;
    assert_eq!(refused.status, 403);
    let deleted = tweets.delete(BOB, &reply).await;
    assert_eq!(
        (deleted.status, deleted.body),
        (StatusCode::OK, json!({"data": {"deleted": true}}))
    );
    let again = tweets.delete(BOB, &reply).await;
    assert_eq!(again.status, 404);
    assert_eq!(again.body["resource_id"], reply.as_str());
    assert_eq!(tweets.delete(BOB, "x").await.status, 400);

    let got = tweets.get(&format!("/2/tweets/{root}?tweet.fields=public_metrics")).await;
    assert_eq!(got.body["data"]["public_metrics"]["reply_count"], 0);
    assert_eq!(tweets.get(&format!("/2/tweets/{reply}")).await.body["errors"][0]["value"], reply);
    assert_eq!(tweets.reply_to(CID, &reply, "late").await.status, 400);

    let events = tweets.events().await;
    let told: Vec<_> = events.iter().map(|e| (e.name.as_str(), e.version)).collect();
    assert_eq!(told, [("tweet.posted", 1), ("tweet.posted", 1), ("tweet.deleted", 2)]);
}

#[tokio::test]
async fn a_reply_outlives_what_it_answers() {
    let tweets = Harness::start().await;
    let root = tweets.post_text(ANN, "root").await;
    let reply = tweets.reply_to(BOB, &root, "reply").await.id();
    tweets.delete(ANN, &root).await;
    let got = tweets.get(&format!("/2/tweets/{reply}?tweet.fields=referenced_tweets")).await;
    assert_eq!(got.body["data"]["referenced_tweets"][0]["id"], root.as_str());
    assert_eq!(tweets.delete(BOB, &reply).await.status, 200);
}
