//! The filtered stream: an app's rules, and what they let through, as it is posted.

use std::time::Duration;

use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};

use super::lines::Lines;
use super::{World, text};

const RULES: &str = "/2/tweets/search/stream/rules";
const STREAM: &str = "/2/tweets/search/stream";

async fn change(world: &World, app: &str, body: Value) -> Value {
    let answer = world.ask(app, Method::POST, RULES, body).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn what_a_rule_matches_comes_whole_as_it_is_posted() {
    let world = World::start();
    let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
    let app = world.app(&ann).await;
    let rules = json!({ "add": [
        { "value": "apple -is:retweet", "tag": "fruit" },
        { "value": format!("from:{bob}"), "tag": "Bob" },
    ]});
    let made = change(&world, &app, rules).await;
    assert_eq!(made["meta"]["summary"]["created"], json!(2), "{made}");
    let id_of = |tag: &str| {
        let rules = made["data"].as_array().expect("rules");
        let rule = rules.iter().find(|rule| rule["tag"] == json!(tag)).expect("the rule");
        text(&rule["id"])
    };
    let (fruit, bobs) = (id_of("fruit"), id_of("Bob"));
    world.tweet(&bob, "an apple before anybody listens").await;
    world.settle().await;
    let path = format!(
        "{STREAM}?tweet.fields=created_at,public_metrics,referenced_tweets&expansions=author_id,referenced_tweets.id&user.fields=created_at"
    );
    let mut lines = Lines::open(&world, &app, &path, "").await;
    assert!(lines.content_type.starts_with("application/json"), "{}", lines.content_type);
    let began = std::time::Instant::now();
    let both = world.tweet(&bob, "an apple by Bob").await;
    let line = lines.json().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(line["data"]["id"], json!(both), "{line}");
    assert_eq!(line["data"]["text"], json!("an apple by Bob"));
    assert_eq!(line["data"]["edit_history_tweet_ids"], json!([both]));
    assert_eq!(line["data"]["public_metrics"]["like_count"], json!(0));
    assert!(line["data"]["created_at"].is_string(), "{line}");
    assert_eq!(line["includes"]["users"][0]["username"], json!(bob.username));
    assert!(line["includes"]["users"][0]["created_at"].is_string(), "{line}");
    let mut matching = line["matching_rules"].as_array().expect("rules").clone();
    matching.sort_by_key(|rule| text(&rule["tag"]));
    let expected = [json!({ "id": bobs, "tag": "Bob" }), json!({ "id": fruit, "tag": "fruit" })];
    assert_eq!(matching, expected);

    // Nothing else comes in between: no other tweet, nothing from before.
    world.tweet(&cid, "a pear").await;
    let fruits = world.tweet(&cid, "two APPLE pies").await;
    let line = lines.json().await;
    assert_eq!(line["data"]["id"], json!(fruits), "{line}");
    assert_eq!(line["matching_rules"], json!([{ "id": fruit, "tag": "fruit" }]));
    // A retweet is Bob's, whatever it repeats.
    let retweet = world.retweet(&bob, &fruits).await;
    let line = lines.json().await;
    assert_eq!(line["data"]["id"], json!(retweet), "{line}");
    assert_eq!(line["matching_rules"], json!([{ "id": bobs, "tag": "Bob" }]));
    assert_eq!(line["includes"]["tweets"][0]["text"], json!("two APPLE pies"));
    // What is protected is on no stream.
    world.protect(&bob, true).await;
    world.settle().await;
    world.tweet(&bob, "a secret apple").await;
    let shown = world.tweet(&cid, "an open apple").await;
    assert_eq!(lines.json().await["data"]["id"], json!(shown));

    // A rule that is added or deleted counts from then on.
    let pears = json!({ "add": [{ "value": "pear", "tag": "pears" }] });
    change(&world, &app, pears).await;
    let gone = change(&world, &app, json!({ "delete": { "ids": [fruit] } })).await;
    assert_eq!(gone["meta"]["summary"]["deleted"], json!(1), "{gone}");
    world.tweet(&cid, "no more apple").await;
    let pear = world.tweet(&cid, "but a pear").await;
    let line = lines.json().await;
    assert_eq!(line["data"]["id"], json!(pear), "{line}");
    assert_eq!(line["matching_rules"][0]["tag"], json!("pears"));
}

#[tokio::test]
async fn a_stream_is_an_apps_with_rules_and_one_at_a_time() {
    let world = World::start();
    let [ann] = world.people(["ann"]).await;
    let app = world.app(&ann).await;
    let open = |token: &str| {
        let (token, world) = (token.to_owned(), &world);
        async move { world.ask(&token, Method::GET, STREAM, Value::Null).await }
    };
    let refused = open(&app).await.expect(409).json();
    assert_eq!(refused["connection_issue"], json!("RuleConfigurationIssue"), "{refused}");
    let refused = open(&ann.token).await.expect(403).json();
    assert!(text(&refused["type"]).ends_with("/unsupported-authentication"), "{refused}");
    change(&world, &app, json!({ "add": [{ "value": "apple" }] })).await;
    let lines = Lines::open(&world, &app, STREAM, "").await;
    let refused = open(&app).await.expect(429).json();
    assert_eq!(refused["title"], json!("ConnectionException"), "{refused}");
    assert_eq!(refused["connection_issue"], json!("TooManyConnections"), "{refused}");
    // Another app has its own rules and its own place.
    let other = world.app(&ann).await;
    let rules = world.ask(&other, Method::GET, RULES, Value::Null).await.expect(200).json();
    assert_eq!(rules["meta"]["result_count"], json!(0), "{rules}");
    // Who goes away makes room.
    drop(lines);
    let began = std::time::Instant::now();
    // A stream that is open does not end: only its refusal does.
    while let Ok(answer) = tokio::time::timeout(Duration::from_secs(1), open(&app)).await {
        assert_eq!(answer.status, 429, "{}", answer.text());
        assert!(began.elapsed() < Duration::from_secs(20), "the place stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn rules_are_checked_listed_and_kept() {
    let mut world = World::start();
    let [ann] = world.people(["ann"]).await;
    let app = world.app(&ann).await;
    let rules = json!({ "add": [
        { "value": "(apple" }, { "value": "pear", "tag": "one" }, { "value": "pear" },
        { "value": "-plum" },
    ]});
    let checked = format!("{RULES}?dry_run=true");
    let dry = world.ask(&app, Method::POST, &checked, rules.clone()).await;
    assert!(dry.status.is_success(), "{}", dry.text());
    let listed = |world: &World, app: &str| {
        let (app, client) = (app.to_owned(), world.system.client.clone());
        async move { client.get(RULES).bearer(&app).send().await.expect(200).json() }
    };
    assert_eq!(listed(&world, &app).await["meta"]["result_count"], json!(0));
    let made = change(&world, &app, rules).await;
    let summary = &made["meta"]["summary"];
    assert_eq!((&summary["created"], &summary["not_created"]), (&json!(1), &json!(3)), "{made}");
    let errors = made["errors"].to_string();
    for says in ["never closed", "at position 1", "only what is excluded is given"] {
        assert!(errors.contains(says), "{says}: {errors}");
    }
    let kept = listed(&world, &app).await;
    assert_eq!(kept["data"][0]["value"], json!("pear"), "{kept}");
    assert_eq!(kept["data"][0]["tag"], json!("one"), "{kept}");
    // They outlive a restart, and a rebuild of what events made.
    world.system.stop();
    world.system.launch();
    world.settle().await;
    world.rebuilds_the_same().await;
    let [bob] = world.people(["bob"]).await;
    assert_eq!(listed(&world, &app).await["data"], kept["data"]);
    let mut lines = Lines::open(&world, &app, STREAM, "").await;
    let pear = world.tweet(&bob, "a pear").await;
    assert_eq!(lines.json().await["data"]["id"], json!(pear));
}

#[tokio::test]
async fn a_sample_of_everything_comes_without_rules() {
    /// One of a hundred is in the sample: that none of so many is would happen once in 10^13.
    const TWEETS_MAX: usize = 3_000;
    let world = World::start();
    let [ann] = world.people(["ann"]).await;
    let app = world.app(&ann).await;
    let path = "/2/tweets/sample/stream?expansions=author_id";
    let mut lines = Lines::open(&world, &app, path, "").await;
    let line = {
        let line = lines.json();
        tokio::pin!(line);
        let mut posted = 0;
        loop {
            let says = format!("number {posted}");
            tokio::select! {
                line = &mut line => break line,
                _ = world.tweet(&ann, &says) => posted += 1,
            }
            assert!(posted < TWEETS_MAX, "nothing in the sample");
        }
    };
    assert!(text(&line["data"]["text"]).starts_with("number "), "{line}");
    assert_eq!(line["includes"]["users"][0]["username"], json!(ann.username), "{line}");
    assert_eq!(line.get("matching_rules"), None, "{line}");
}

/// What a token says.
fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a token");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims);
    serde_json::from_slice(&claims.expect("base64url")).expect("JSON")
}

#[tokio::test]
async fn i13_streams_end_within_seconds_when_their_token_is_revoked() {
    let world = World::start();
    let [ann] = world.people(["ann"]).await;
    let app = world.app(&ann).await;
    change(&world, &app, json!({ "add": [{ "value": "plum" }] })).await;
    let mut filtered = Lines::open(&world, &app, STREAM, "").await;
    let mut inbox = Lines::open(&world, &ann.token, "/pillion/v1/notifications/stream", "").await;
    let client_id = text(&claims_of(&app)["client_id"]);
    let began = std::time::Instant::now();
    let path = format!("/pillion/v1/apps/{client_id}");
    let removed = world.ask(&ann.token, Method::DELETE, &path, Value::Null).await;
    assert_eq!(removed.json(), json!({ "data": { "deleted": true } }), "{}", removed.text());
    let mut last = String::new();
    while let Some(line) = filtered.next().await {
        last = line;
    }
    assert!(last.contains("operational-disconnect") && last.contains("was revoked"), "{last}");
    world.ask(&ann.token, Method::DELETE, "/pillion/v1/sessions", Value::Null).await.expect(200);
    while inbox.next().await.is_some() {}
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
}
