//! Posting and deleting.

use std::time::Duration;

use axum::Router;
use http::StatusCode;
use pillion_chassis::{Caller, Scopes};
use pillion_events::TweetEvent;
use serde_json::{Value, json};

use super::harness::{ANN, BOB, CID, GONE, Harness, on_each};

fn keys(body: &Value) -> Vec<String> {
    let errors = body["errors"].as_array().unwrap();
    errors
        .iter()
        .flat_map(|error| error["parameters"].as_object().unwrap().keys().cloned())
        .collect()
}

#[tokio::test]
async fn a_tweet_is_posted_and_its_event_with_it() {
    on_each(async |tweets: Harness| {
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
    })
    .await;
}

#[tokio::test]
async fn text_is_weighed() {
    on_each(async |tweets: Harness| {
        assert_eq!(tweets.post(ANN, &json!({"text": "x".repeat(280)})).await.status, 201);
        assert_eq!(tweets.post(ANN, &json!({"text": "字".repeat(140)})).await.status, 201);
        let link = format!("https://example.com/{}", "x".repeat(300));
        assert_eq!(tweets.post(ANN, &json!({"text": link})).await.status, 201);
        for (text, says) in [
            ("x".repeat(281), "it weighs 281 units and may weigh 280"),
            ("字".repeat(141), "it weighs 282 units"),
            (String::new(), "it is empty"),
            (" \n\t".to_owned(), "it is empty"),
            ("\u{200b}".to_owned(), "it is empty"),
            (" \u{200f}\u{3164}".to_owned(), "it is empty"),
            ("a\u{fffe}b".to_owned(), "not allowed"),
        ] {
            let reply = tweets.post(ANN, &json!({"text": text})).await;
            assert_eq!(reply.status, 400);
            assert_eq!(keys(&reply.body), ["text"]);
            let message = reply.body["errors"][0]["message"].as_str().unwrap();
            assert!(message.contains(says), "{message}");
        }
        assert_eq!(tweets.events().await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_malformed_body_is_400_naming_the_key() {
    on_each(async |tweets: Harness| {
        for (body, key) in [
            (r#"{"text": 1}"#, "text"),
            (r#"{"text": "a", "#, "body"),
            ("[]", "body"),
            ("{}", "body"),
            (
                r#"{"text": "a", "reply": {"in_reply_to_tweet_id": 20}}"#,
                "reply.in_reply_to_tweet_id",
            ),
            (
                r#"{"text": "a", "reply": {"in_reply_to_tweet_id": "x"}}"#,
                "reply.in_reply_to_tweet_id",
            ),
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
    })
    .await;
}

#[tokio::test]
async fn only_a_user_who_exists_may_post() {
    on_each(async |tweets: Harness| {
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
    })
    .await;
}

#[tokio::test]
async fn nothing_is_posted_while_the_users_service_cannot_say_who_it_is() {
    on_each(async |tweets: Harness| {
        for (status, ours) in [(503, 503), (429, 503), (500, 500), (403, 403), (401, 401)] {
            let status = StatusCode::from_u16(status).unwrap();
            tweets.peers.register("users", Router::new().fallback(async move || status));
            let reply = tweets.post(ANN, &json!({"text": "a"})).await;
            assert_eq!(reply.status, ours, "{}", reply.body);
        }
        tweets.peers.register("users", Router::new().fallback(async || "not JSON"));
        assert_eq!(tweets.post(ANN, &json!({"text": "a"})).await.status, 500);
        assert!(tweets.events().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn replies_and_quotes_point_at_tweets_that_exist() {
    on_each(async |tweets: Harness| {
    let root = tweets.post_text(ANN, "root").await;
    let reply = tweets.reply_to(BOB, &root, "reply").await.id();
    let deeper = tweets.reply_to(CID, &reply, "deeper").await.id();
    let quote = tweets.quote(BOB, &root, "quote").await.id();

    let query = "tweet.fields=referenced_tweets,conversation_id,in_reply_to_user_id,public_metrics";
    let got = tweets.get(&format!("/internal/tweets?ids={deeper},{quote},{root}&{query}")).await;
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
    assert_eq!(
        missing.body,
        json!({
            "title": "Forbidden", "type": "about:blank", "status": 403,
            "detail": "You attempted to reply to a Tweet that is deleted or not visible to you.",
            "parameter": "reply.in_reply_to_tweet_id", "value": "1",
        })
    );
    let missing = tweets.quote(BOB, "1", "nothing").await;
    assert_eq!((missing.status.as_u16(), &missing.body["parameter"]), (403, &json!("quote_tweet_id")));
    assert_eq!(tweets.events().await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn an_author_decides_who_may_reply() {
    on_each(async |tweets: Harness| {
        for settings in ["mentionedUsers", "following"] {
            let body = json!({"text": format!("{settings}: @bob"), "reply_settings": settings});
            let id = tweets.post(ANN, &body).await.id();
            assert_eq!(tweets.reply_to(BOB, &id, "thanks").await.status, 201);
            assert_eq!(tweets.reply_to(ANN, &id, "more").await.status, 201);
            let refused = tweets.reply_to(CID, &id, "me too").await;
            assert_eq!(refused.status, 403);
            assert!(refused.body["detail"].as_str().unwrap().contains("limited who may reply"));
            assert_eq!(tweets.quote(CID, &id, "look").await.status, 201);
        }
    })
    .await;
}

#[tokio::test]
async fn an_author_takes_a_tweet_back_and_nobody_else_does() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let reply = tweets.reply_to(BOB, &root, "reply").await.id();

        let refused = tweets.delete(ANN, &reply).await;
        assert_eq!(refused.status, 403);
        let deleted = tweets.delete(BOB, &reply).await;
        assert_eq!(
            (deleted.status, deleted.body),
            (StatusCode::OK, json!({"data": {"deleted": true}}))
        );
        // As often as a client likes, and whatever never was; see a07_.
        assert_eq!(tweets.delete(BOB, &reply).await.status, 200);
        assert_eq!(tweets.delete(BOB, "x").await.status, 400);

        let got = tweets.read(&root, "public_metrics").await;
        assert_eq!(got["public_metrics"]["reply_count"], 0);
        assert_eq!(tweets.read(&reply, "").await, Value::Null);
        assert_eq!(tweets.reply_to(CID, &reply, "late").await.status, 403);

        let events = tweets.events().await;
        let told: Vec<_> = events.iter().map(|e| (e.name.as_str(), e.version)).collect();
        assert_eq!(told, [("tweet.posted", 1), ("tweet.posted", 1), ("tweet.deleted", 2)]);
    })
    .await;
}

#[tokio::test]
async fn a_reply_outlives_what_it_answers() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let reply = tweets.reply_to(BOB, &root, "reply").await.id();
        tweets.delete(ANN, &root).await;
        let got = tweets.read(&reply, "referenced_tweets").await;
        assert_eq!(got["referenced_tweets"][0]["id"], root.as_str());
        assert_eq!(tweets.delete(BOB, &reply).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn who_is_named_is_found_out_once_and_told() {
    on_each(async |tweets: Harness| {
        let text = "@BOB, @nobody and @cid: @bob! @a_handle_of_17_chr";
        let id = tweets.post_text(ANN, text).await;
        let usernames = "/2/users/by?usernames=bob,nobody,cid";
        assert_eq!(tweets.others.calls(), ["/2/users/11", usernames]);
        let events = tweets.events().await;
        let TweetEvent::Posted(posted) = events[0].decode().unwrap() else { panic!("{events:?}") };
        let named = posted.mentions.iter().map(|to| (to.user_id.get(), to.username.as_str()));
        assert_eq!(named.collect::<Vec<_>>(), [(BOB, "Bob"), (CID, "cid")]);
        let entities = tweets.read(&id, "entities").await["entities"]["mentions"].take();
        assert_eq!(
            entities.as_array().unwrap()[..3],
            [
                json!({"start": 0, "end": 4, "username": "BOB", "id": "12"}),
                json!({"start": 6, "end": 13, "username": "nobody"}),
                json!({"start": 18, "end": 22, "username": "cid", "id": "13"}),
            ]
        );
        tweets.post_text(ANN, "nobody is named, not even by mail@example.com").await;
        assert_eq!(tweets.others.calls(), ["/2/users/11"]);
    })
    .await;
}

#[tokio::test]
async fn nobody_says_the_same_twice_in_a_row() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "same").await;
        let again = tweets.post(ANN, &json!({"text": "same"})).await;
        assert_eq!(
            (again.status.as_u16(), again.body),
            (
                403,
                json!({
                    "title": "Forbidden", "type": "about:blank", "status": 403,
                    "detail": "You are not allowed to create a Tweet with duplicate content.",
                })
            )
        );
        // Elsewhere, by somebody else, or once the first is gone, it is not the same.
        let other = tweets.reply_to(ANN, &root, "same").await.id();
        assert_eq!(tweets.reply_to(ANN, &root, "same").await.status, 403);
        assert_eq!(tweets.reply_to(ANN, &other, "same").await.status, 201);
        assert_eq!(tweets.quote(ANN, &root, "same").await.status, 201);
        tweets.post_text(BOB, "same").await;
        tweets.delete(ANN, &root).await;
        tweets.post_text(ANN, "same").await;
        // Nor after half a day, or twenty tweets later.
        tweets.clock.advance(Duration::from_secs(12 * 60 * 60 - 1));
        assert_eq!(tweets.post(ANN, &json!({"text": "same"})).await.status, 403);
        tweets.clock.advance(Duration::from_secs(2));
        tweets.post_text(ANN, "same").await;
        for n in 0..20 {
            assert_eq!(tweets.post(ANN, &json!({"text": "same"})).await.status, 403, "{n}");
            tweets.post_text(ANN, &n.to_string()).await;
        }
        tweets.post_text(ANN, "same").await;
    })
    .await;
}

#[tokio::test]
async fn who_may_not_see_a_tweet_neither_answers_nor_quotes_it() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        for (reason, allowed) in
            [("blocked_by", false), ("protected", false), ("blocking", true), ("muting", true)]
        {
            *tweets.others.hidden.lock().unwrap() = vec![(BOB, ANN, reason)];
            let reply = tweets.reply_to(BOB, &root, reason).await;
            let quote = tweets.quote(BOB, &root, reason).await;
            for (reply, verb) in [(reply, "reply to"), (quote, "quote")] {
                assert_eq!(reply.status, if allowed { 201 } else { 403 }, "{reason}");
                let says = format!(
                    "You attempted to {verb} a Tweet that is deleted or not visible to you."
                );
                assert!(allowed || reply.body["detail"] == says, "{}", reply.body);
            }
        }
        assert_eq!(tweets.events().await.len(), 5);
        assert_eq!(tweets.reply_to(CID, &root, "not me").await.status, 201);
    })
    .await;
}

#[tokio::test]
async fn the_graph_is_asked_only_when_it_matters() {
    on_each(async |tweets: Harness| {
        let text = json!({"text": "@cid?", "reply_settings": "following"});
        let root = tweets.post(ANN, &text).await.id();
        tweets.others.calls();
        let visibility = "/internal/visibility?users=11";
        let refused = tweets.reply_to(BOB, &root, "b").await;
        assert_eq!(refused.status, 403);
        assert!(refused.body["detail"].as_str().unwrap().contains("limited who may reply"));
        let relation = "/internal/relation?user=11";
        assert_eq!(tweets.others.calls(), ["/2/users/12", visibility, relation]);

        *tweets.others.follows.lock().unwrap() = vec![(BOB, ANN)];
        assert_eq!(tweets.reply_to(BOB, &root, "b").await.status, 403);
        *tweets.others.follows.lock().unwrap() = vec![(ANN, BOB)];
        let reply = tweets.reply_to(BOB, &root, "b").await.id();
        tweets.others.calls();
        tweets.reply_to(CID, &root, "c").await.id();
        assert_eq!(tweets.others.calls(), ["/2/users/13", visibility]);
        tweets.reply_to(ANN, &root, "a").await.id();
        assert_eq!(tweets.others.calls(), ["/2/users/11"]);
        // Who began the conversation decides for all of it.
        tweets.others.follows.lock().unwrap().clear();
        assert_eq!(tweets.reply_to(BOB, &reply, "more").await.status, 403);
        tweets.quote(BOB, &root, "a quote is not an answer").await.id();

        let unreachable = Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE);
        tweets.peers.register("graph", unreachable);
        assert_eq!(tweets.reply_to(BOB, &root, "x").await.status, 503);
        tweets.post_text(BOB, "x").await;
    })
    .await;
}

#[tokio::test]
async fn a07_deleting_what_is_not_there_is_200_and_changes_nothing() {
    on_each(async |tweets: Harness| {
        let id = tweets.post_text(ANN, "once").await;
        for (by, id, status) in
            [(BOB, &*id, 403), (ANN, &id, 200), (ANN, &id, 200), (BOB, &id, 200), (BOB, "1", 200)]
        {
            let reply = tweets.delete(by, id).await;
            assert_eq!(reply.status, status, "{by} {id} {}", reply.body);
            if status == 200 {
                assert_eq!(reply.body, json!({"data": {"deleted": true}}));
            }
        }
        assert_eq!(tweets.events().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a09_what_x_has_by_default_is_taken_and_what_asks_for_more_is_refused() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let defaults = json!({
            "text": "n", "nullcast": false, "for_super_followers_only": false, "made_with_ai": null,
            "paid_partnership": false, "share_with_followers": false, "media": null, "poll": null,
            "card_uri": null, "community_id": null, "direct_message_deep_link": null, "geo": null,
            "edit_options": null, "quote_tweet_id": null, "reply_settings": null,
            "reply": {
                "in_reply_to_tweet_id": root, "exclude_reply_user_ids": ["13"],
                "auto_populate_reply_metadata": false,
            },
        });
        let reply = tweets.post(ANN, &defaults).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        for (key, value) in [
            ("nullcast", json!(true)),
            ("for_super_followers_only", json!(true)),
            ("media", json!({"media_ids": ["1"]})),
            ("geo", json!({})),
            ("edit_options", json!({"previous_post_id": "1"})),
            ("nullcast", json!("false")),
        ] {
            let refused = tweets.post(ANN, &json!({"text": "n", key: value})).await;
            assert_eq!(refused.status, 400, "{key}");
            assert_eq!(keys(&refused.body), [key], "{}", refused.body);
        }
    })
    .await;
}

#[tokio::test]
async fn a05_text_is_delivered_as_x_escapes_it_and_kept_as_typed() {
    on_each(async |tweets: Harness| {
        let typed = "a & b <c> #tag";
        let posted = tweets.post(ANN, &json!({"text": typed})).await;
        let escaped = "a &amp; b &lt;c&gt; #tag";
        assert_eq!(posted.body["data"]["text"], escaped);
        let id = posted.id();
        let read = tweets.read(&id, "entities,display_text_range").await;
        assert_eq!(
            (&read["text"], &read["display_text_range"]),
            (&json!(escaped), &json!([0, 24]))
        );
        let tag = json!([{"start": 20, "end": 24, "tag": "tag"}]);
        assert_eq!(read["entities"]["hashtags"], tag);
        // Weights and duplicates are of what was typed.
        assert_eq!(tweets.post(ANN, &json!({"text": typed})).await.status, 403);
        assert_eq!(tweets.post(ANN, &json!({"text": "&".repeat(280)})).await.status, 201);
        // What a client reads and posts back is another text.
        assert_eq!(tweets.post(ANN, &json!({"text": escaped})).await.status, 201);
    })
    .await;
}
