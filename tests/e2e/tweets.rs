//! The API user's flow: register, log in, post, read, page, delete.

use pillion_tests::system::System;
use serde_json::{Value, json};

fn id_of(answer: &Value) -> String {
    answer.pointer("/data/id").and_then(Value::as_str).expect("an id").to_owned()
}

#[tokio::test]
async fn register_log_in_post_read_delete() {
    let system = System::start();
    let client = &system.client;
    let (alice, token) = system.register("alice").await;

    let me = client.get("/2/users/me").bearer(&token).send().await.expect(200);
    assert_eq!(me.json(), json!({ "data": { "id": alice, "name": "alice", "username": "alice" } }));

    let text = "Hello #pillion from @alice https://example.com/a/long/path?with=query";
    let posted = client
        .post("/2/tweets")
        .bearer(&token)
        .json(&json!({ "text": text }))
        .send()
        .await
        .expect(201);
    let tweet = id_of(&posted.json());
    assert_eq!(
        posted.json()["data"],
        json!({ "id": tweet, "text": text, "edit_history_tweet_ids": [tweet] })
    );

    let path = format!(
        "/2/tweets/{tweet}?tweet.fields=author_id,created_at,entities,conversation_id,public_metrics&expansions=author_id&user.fields=created_at"
    );
    let read = client.get(&path).bearer(&token).send().await.expect(200);
    let (json, data) = (read.json(), read.json()["data"].clone());
    assert_eq!(data["author_id"], json!(alice));
    assert_eq!(data["conversation_id"], json!(tweet));
    let created = data["created_at"].as_str().expect("a time");
    assert_eq!(created.len(), "2006-03-21T20:50:14.000Z".len(), "{created}");
    assert!(created.ends_with('Z'));
    assert_eq!(data["entities"]["hashtags"], json!([{ "start": 6, "end": 14, "tag": "pillion" }]));
    assert_eq!(data["entities"]["mentions"][0]["username"], json!("alice"));
    assert_eq!(data["entities"]["urls"][0]["start"], json!(27));
    assert_eq!(json["includes"]["users"][0]["username"], json!("alice"));
    assert!(json["includes"]["users"][0]["created_at"].is_string());

    // A reply and a quote, with what they refer to.
    let reply = json!({ "text": "a reply", "reply": { "in_reply_to_tweet_id": tweet } });
    let reply = id_of(
        &client.post("/2/tweets").bearer(&token).json(&reply).send().await.expect(201).json(),
    );
    let quote = json!({ "text": "a quote", "quote_tweet_id": tweet });
    let quote = id_of(
        &client.post("/2/tweets").bearer(&token).json(&quote).send().await.expect(201).json(),
    );
    let path = format!(
        "/2/tweets?ids={reply},{quote},1&tweet.fields=referenced_tweets,in_reply_to_user_id&expansions=referenced_tweets.id"
    );
    let both = client.get(&path).bearer(&token).send().await.expect(200).json();
    assert_eq!(
        both["data"][0]["referenced_tweets"],
        json!([{ "type": "replied_to", "id": tweet }])
    );
    assert_eq!(both["data"][0]["in_reply_to_user_id"], json!(alice));
    assert_eq!(both["data"][1]["referenced_tweets"], json!([{ "type": "quoted", "id": tweet }]));
    assert_eq!(both["includes"]["tweets"][0]["id"], json!(tweet));
    assert_eq!(both["errors"][0]["title"], json!("Not Found Error"));
    assert_eq!(both["errors"][0]["value"], json!("1"));

    let counted = client
        .get(&format!("/2/tweets/{tweet}?tweet.fields=public_metrics"))
        .bearer(&token)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(counted["data"]["public_metrics"]["reply_count"], json!(1));
    assert_eq!(counted["data"]["public_metrics"]["quote_count"], json!(1));

    let deleted =
        client.delete(&format!("/2/tweets/{tweet}")).bearer(&token).send().await.expect(200);
    assert_eq!(deleted.json(), json!({ "data": { "deleted": true } }));
    let gone =
        client.get(&format!("/2/tweets/{tweet}")).bearer(&token).send().await.expect(200).json();
    assert_eq!(gone.get("data"), None);
    assert_eq!(gone["errors"][0]["resource_id"], json!(tweet));
}

#[tokio::test]
async fn a_users_tweets_come_in_pages() {
    let system = System::start();
    let client = &system.client;
    let (bob, token) = system.register("bob").await;
    let mut posted = Vec::new();
    for n in 0..12 {
        let body = json!({ "text": format!("tweet {n}") });
        posted.push(id_of(
            &client.post("/2/tweets").bearer(&token).json(&body).send().await.expect(201).json(),
        ));
    }
    posted.reverse();
    let page = |query: String| async move {
        client
            .get(&format!("/2/users/{bob}/tweets?max_results=5{query}"))
            .bearer(&token)
            .send()
            .await
            .expect(200)
            .json()
    };
    let page = &page;
    let first = page.clone()(String::new()).await;
    let ids = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .expect("tweets")
            .iter()
            .map(|tweet| tweet["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(ids(&first), posted[..5]);
    assert_eq!(first["meta"]["result_count"], json!(5));
    assert_eq!(first["meta"]["newest_id"], json!(posted[0]));
    assert_eq!(first["meta"]["oldest_id"], json!(posted[4]));
    assert_eq!(first["meta"].get("previous_token"), None);
    let next = |page: &Value, key: &str| {
        format!("&pagination_token={}", page["meta"][key].as_str().expect("a token"))
    };
    let second = page.clone()(next(&first, "next_token")).await;
    assert_eq!(ids(&second), posted[5..10]);
    let third = page.clone()(next(&second, "next_token")).await;
    assert_eq!(ids(&third), posted[10..]);
    assert_eq!(third["meta"].get("next_token"), None);
    let back = page.clone()(next(&third, "previous_token")).await;
    assert_eq!(ids(&back), posted[5..10]);
    let since = page.clone()(format!("&since_id={}", posted[2])).await;
    assert_eq!(ids(&since), posted[..2]);
}

#[tokio::test]
async fn users_are_found_by_id_and_by_name() {
    let system = System::start();
    let client = &system.client;
    let (carol, token) = system.register("Carol_1").await;
    let user = json!({ "id": carol, "name": "Carol_1", "username": "Carol_1" });
    for path in [format!("/2/users/{carol}"), "/2/users/by/username/carol_1".to_owned()] {
        let found = client.get(&path).bearer(&token).send().await.expect(200).json();
        assert_eq!(found, json!({ "data": user }), "{path}");
    }
    for path in
        [format!("/2/users?ids={carol},1"), "/2/users/by?usernames=CAROL_1,nobody_here".to_owned()]
    {
        let found = client.get(&path).bearer(&token).send().await.expect(200).json();
        assert_eq!(found["data"], json!([user]), "{path}");
        assert_eq!(found["errors"][0]["title"], json!("Not Found Error"), "{path}");
    }
}

#[tokio::test]
async fn a_first_start_is_seeded_and_its_demo_token_works() {
    let system = System::start();
    let (id, token) = (system.demo("user_id"), system.demo("bearer_token"));
    let me = system.client.get("/2/users/me").bearer(&token).send().await.expect(200).json();
    assert_eq!(me["data"]["id"], json!(id));
    assert_eq!(me["data"]["username"], json!(system.demo("username")));
    let tweets = system
        .client
        .get(&format!("/2/users/{id}/tweets"))
        .bearer(&token)
        .send()
        .await
        .expect(200)
        .json();
    assert!(tweets["meta"]["result_count"].as_u64().expect("a count") > 0);
    for path in ["/docs", "/openapi.json", "/"] {
        system.client.get(path).send().await.expect(200);
    }
}
