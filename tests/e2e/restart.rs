//! What was acknowledged is there after a restart, however the process ended.

use pillion_tests::system::System;
use serde_json::{Value, json};

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_tokens_still_work() {
    let mut system = System::start();
    let (alice, token) = system.register("alice").await;
    let demo = system.demo("user_id");
    for end in ["SIGTERM", "SIGKILL"] {
        let mut posted = Vec::new();
        for n in 0..10 {
            let body = json!({ "text": format!("{end} {n}") });
            let answer = system
                .client
                .post("/2/tweets")
                .bearer(&token)
                .json(&body)
                .send()
                .await
                .expect(201)
                .json();
            posted.push(answer["data"]["id"].as_str().expect("an id").to_owned());
        }
        if end == "SIGTERM" {
            system.stop();
        } else {
            system.kill();
        }
        system.launch();
        let ids = posted.join(",");
        let found = system
            .client
            .get(&format!("/2/tweets?ids={ids}&tweet.fields=author_id"))
            .bearer(&token)
            .send()
            .await
            .expect(200)
            .json();
        let tweets = found["data"].as_array().expect("tweets");
        assert_eq!(tweets.len(), 10, "{found}");
        assert!(tweets.iter().all(|tweet| tweet["author_id"] == json!(alice)));
        // Not seeded a second time; the demo user is the same.
        assert_eq!(system.demo("user_id"), demo);
        let fresh = system.login("alice", "").await;
        system.client.get("/2/users/me").bearer(&fresh).send().await.expect(200);
    }
}

#[tokio::test]
async fn posts_in_flight_at_a_kill_are_whole_or_not_there() {
    let mut system = System::start_with(|config| {
        config.replace(
            "\"POST /2/tweets\" = { user = 100 }",
            "\"POST /2/tweets\" = { user = 100000 }",
        )
    });
    let (alice, token) = system.register("alice").await;
    let (client, bearer) = (system.client.clone(), token.clone());
    let (began, first) = tokio::sync::oneshot::channel();
    let writer = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let mut began = Some(began);
        for n in 0..10_000 {
            let body = json!({ "text": format!("n{n}") });
            match client.post("/2/tweets").bearer(&bearer).json(&body).try_send().await {
                Ok(answer) if answer.status == 201 => {
                    acknowledged
                        .push(answer.json()["data"]["id"].as_str().expect("an id").to_owned());
                    if let Some(began) = began.take() {
                        began.send(()).expect("the test waits for it");
                    }
                }
                _ => break,
            }
        }
        acknowledged
    });
    first.await.expect("a first post");
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    system.kill();
    let acknowledged = writer.await.expect("no panic");
    assert!(!acknowledged.is_empty());
    system.launch();
    for ids in acknowledged.chunks(100) {
        let found = system
            .client
            .get(&format!("/2/tweets?ids={}", ids.join(",")))
            .bearer(&token)
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(found["data"].as_array().map(Vec::len), Some(ids.len()), "{}", found["errors"]);
    }
    // What was not acknowledged is whole, if it is there: every tweet has its text and author.
    let page: Value = system
        .client
        .get(&format!("/2/users/{alice}/tweets?max_results=100&tweet.fields=author_id"))
        .bearer(&token)
        .send()
        .await
        .expect(200)
        .json();
    for tweet in page["data"].as_array().expect("tweets") {
        assert!(tweet["text"].as_str().is_some_and(|text| text.starts_with('n')));
        assert_eq!(tweet["author_id"], json!(alice));
    }
}
