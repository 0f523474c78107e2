//! Streams.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use pillion_chassis::Backend;
use pillion_chassis::testing::BACKENDS;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::harness::{ANN, BOB, CID, Draft, Harness};
use crate::Settings;
use crate::document::Document;
use crate::live::News;

const FILTERED: &str = "/2/tweets/search/stream";
const SAMPLED: &str = "/2/tweets/sample/stream";

/// A client on a stream.
struct Client {
    body: Body,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(service: &Harness, path: &str) -> Self {
        let request = Harness::request("GET", path, None, "");
        let response = service.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next line without its end; `None` when the stream has ended.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let frame = self.body.frame();
            let frame = tokio::time::timeout(Duration::from_secs(10), frame).await.unwrap()?;
            self.buffer.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// The next line that is not a heartbeat.
    async fn json(&mut self) -> Value {
        loop {
            let line = self.line().await.unwrap();
            if !line.is_empty() {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }
}

async fn add_rules(service: &Harness, rules: Value) -> Vec<String> {
    let reply = service.send_rules("", &json!({"add": rules})).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let rules = reply.body["data"].as_array().unwrap();
    rules.iter().map(|rule| rule["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a01_matching_tweets_come_with_the_rules_that_they_match() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let rules = json!([{"value": "tea -from:bob", "tag": "hot"}, {"value": "from:ann"}]);
        let [tea, ann] = &add_rules(&service, rules).await[..] else { panic!() };
        let mut client = Client::connect(&service, FILTERED).await;

        service.post(BOB, "tea").await;
        let both = service.post(ANN, "tea").await;
        assert_eq!(
            client.json().await,
            json!({
                "data": {"id": both},
                "matching_rules": [{"id": tea, "tag": "hot"}, {"id": ann, "tag": ""}],
            })
        );
        // Rules change under way; what is protected or deleted does not come, retweets do.
        let [more] = &add_rules(&service, json!([{"value": "retweets_of:bob"}])).await[..] else {
            panic!()
        };
        service.protect(BOB, true).await;
        let hidden = service.post(BOB, "hidden").await;
        service.retweet(ANN, hidden, BOB).await;
        let marker = service.post(CID, "tea").await;
        assert_eq!(client.json().await["data"]["id"], json!(marker));
        service.protect(BOB, false).await;
        let shown = service.post(BOB, "shown").await;
        let retweet = service.retweet(ANN, shown, BOB).await;
        assert_eq!(
            client.json().await,
            json!({"data": {"id": retweet}, "matching_rules": [{"id": ann, "tag": ""}, {"id": more, "tag": ""}]}),
            "{backend:?}"
        );
    }
}

#[tokio::test]
async fn a_silent_stream_beats_and_ends_with_the_service() {
    for backend in BACKENDS {
        let settings = Settings { sample_per_10_000: 10_000, heartbeat: Duration::from_millis(50) };
        let service = Harness::start_with(backend, settings).await;
        add_rules(&service, json!([{"value": "tea"}])).await;
        let mut filtered = Client::connect(&service, FILTERED).await;
        let mut sampled = Client::connect(&service, SAMPLED).await;
        assert_eq!(filtered.line().await.as_deref(), Some(""));
        assert_eq!(sampled.line().await.as_deref(), Some(""));
        // Tweets that do not match are no reason to be silent.
        let tweet = service.post(ANN, "coffee").await;
        assert_eq!(filtered.line().await.as_deref(), Some(""));
        assert_eq!(sampled.json().await, json!({"data": {"id": tweet}}));

        service.shut_down();
        for client in [&mut filtered, &mut sampled] {
            let last = client.json().await;
            assert_eq!(last["errors"][0]["title"], "operational-disconnect");
            assert_eq!(last["errors"][0]["disconnect_type"], "OperationalDisconnect");
            assert_eq!(client.line().await, None);
        }
        let late = service.get(SAMPLED).await;
        assert_eq!(late.status, 503);
    }
}

#[tokio::test]
async fn a_client_that_falls_behind_is_told_and_disconnected() {
    for backend in BACKENDS {
        let settings = Settings { sample_per_10_000: 10_000, ..Settings::default() };
        let service = Harness::start_with(backend, settings).await;
        let mut client = Client::connect(&service, SAMPLED).await;
        let document = Document::new(service.next_id(), "tea is:tweet");
        let news = News::Tweet(Arc::new(document));
        for _ in 0..1_025 {
            service.live.tell(news.clone());
        }
        let last = client.json().await;
        assert_eq!(last["errors"][0]["disconnect_type"], "SlowReader", "{backend:?}");
        assert_eq!(client.line().await, None);
        // Its place is free again.
        drop(client);
        Client::connect(&service, SAMPLED).await;
    }
}

#[tokio::test]
async fn an_app_has_one_connection_and_needs_rules() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let refused = service.get(FILTERED).await;
        assert_eq!(refused.status, 409);
        assert_eq!(refused.body["connection_issue"], "RuleConfigurationIssue");
        add_rules(&service, json!([{"value": "tea"}])).await;
        let first = Client::connect(&service, FILTERED).await;
        let refused = service.get(FILTERED).await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.body["connection_issue"], "TooManyConnections");
        assert_eq!(refused.body["title"], "ConnectionException");
        drop(first);
        Client::connect(&service, FILTERED).await;
        for path in [FILTERED, SAMPLED] {
            let refused = service.ask(Harness::request("GET", path, Some(ANN), "")).await;
            assert_eq!(refused.status, 403);
            let refused = service.get(&format!("{path}?backfill_minutes=5")).await;
            assert_eq!(refused.status, 400);
        }
    }
}

#[tokio::test]
async fn an_app_has_one_connection_among_all_processes() {
    let one = Harness::start(Backend::Postgres).await;
    add_rules(&one, json!([{"value": "tea"}])).await;
    let other = one.another_process().await;
    let connect = async || {
        let request = Harness::request("GET", FILTERED, None, "");
        let response = other.clone().oneshot(request).await.unwrap();
        (response.status().as_u16(), Client { body: response.into_body(), buffer: Vec::new() })
    };
    let first = Client::connect(&one, FILTERED).await;
    assert_eq!(connect().await.0, 429);
    assert_eq!(Client::connect(&one, SAMPLED).await.buffer.len(), 0);
    // Its place is given back.
    drop(first);
    let began = std::time::Instant::now();
    let second = loop {
        match connect().await {
            (200, client) => break client,
            (status, _) => assert!(status == 429 && began.elapsed() < Duration::from_secs(10)),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(one.get(FILTERED).await.status, 429);
    // One that is killed gives nothing back: its time ends. What is not dropped is as good.
    one.clock.advance(Duration::from_secs(29));
    assert_eq!(one.get(FILTERED).await.status, 429);
    one.clock.advance(Duration::from_secs(1));
    let mut third = Client::connect(&one, FILTERED).await;
    assert_eq!(connect().await.0, 429);
    // It was only slow, and sees it with its next look: here, since there is another rule.
    let rule = json!({"add": [{"value": "coffee"}]}).to_string();
    let more = Harness::request("POST", &format!("{FILTERED}/rules"), None, &rule);
    assert_eq!(other.clone().oneshot(more).await.unwrap().status(), 201);
    let mut second = second;
    assert_eq!(second.json().await["errors"][0]["disconnect_type"], "OperationalDisconnect");
    drop(second);
    assert_eq!(connect().await.0, 429);
    one.shut_down();
    assert_eq!(third.json().await["errors"][0]["disconnect_type"], "OperationalDisconnect");
    assert_eq!(connect().await.0, 200);
}

#[tokio::test]
async fn nothing_is_read_for_nobody() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        service.post(ANN, "tea").await;
        add_rules(&service, json!([{"value": "tea"}])).await;
        let mut client = Client::connect(&service, FILTERED).await;
        let id = service.next_id();
        service.post_as(id, Draft { by: ANN, text: "more tea", ..Draft::default() }).await;
        // The tweet from before is not on the stream.
        assert_eq!(client.json().await["data"]["id"], json!(id));
    }
}
