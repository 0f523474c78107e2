//! Two processes of search and of notifications: a stream brings the same from either, whichever
//! of them took the events up.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::world::{World, text};

/// What happened is on a stream within this.
const DEADLINE: Duration = Duration::from_secs(20);
/// Tweets, and likes of them.
const COUNT: usize = 12;

/// A stream, read by lines.
struct Lines(BufReader<TcpStream>);

impl Lines {
    /// At a process itself. HTTP/1.0, whose bodies have no frames.
    async fn open(url: &str, path: &str, token: &str) -> Self {
        let address = url.strip_prefix("http://").expect("an address");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request =
            format!("GET {path} HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a connection");
        let mut lines = Self(BufReader::new(stream));
        let status = lines.line().await;
        assert!(status.contains(" 200 "), "{status}");
        while !lines.line().await.is_empty() {}
        lines
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(DEADLINE, self.0.read_line(&mut line)).await;
        let bytes = read.expect("a line in time").expect("a connection");
        assert!(bytes > 0, "the stream ended");
        line.trim_end().to_owned()
    }

    /// The next JSON; `prefix` stands before it.
    async fn json(&mut self, prefix: &str) -> Value {
        loop {
            let line = self.line().await;
            if let Some(json) = line.strip_prefix(prefix).filter(|json| json.starts_with('{')) {
                return serde_json::from_str(json).expect("JSON");
            }
        }
    }
}

impl Lines {
    /// The next notification of a retweet. That of the reader's follow may come late.
    async fn retweet(&mut self) -> Value {
        loop {
            let notification = self.json("data: ").await;
            if notification["type"] == json!("retweet") {
                return notification;
            }
        }
    }
}

pub(crate) async fn bring_what_any_process_took_up(world: &mut World) {
    for service in ["search", "notifications"] {
        world.fleet.host(service, 2).launch();
    }
    for service in ["search", "notifications"] {
        world.fleet.host(service, 2).ready().await;
    }
    let app = world.app(world.anna()).await;
    let rule = json!({ "add": [{ "value": "from:anna" }] });
    let rules = "/2/tweets/search/stream/rules";
    let answer = world.gateways.ask(&app, http::Method::POST, rules, &rule).await;
    answer.expect("an answer").expect(201);
    let anna = world.anna().clone();
    let mut tweets = Vec::new();
    let mut news = Vec::new();
    for copy in [1, 2] {
        let url = world.fleet.host("search", copy).url();
        tweets.push(Lines::open(&url, "/2/tweets/search/stream", &app).await);
        let url = world.fleet.host("notifications", copy).url();
        news.push(Lines::open(&url, "/pillion/v1/notifications/stream", &anna.token).await);
    }
    let mut posted = Vec::new();
    for n in 0..COUNT {
        let body = json!({ "text": format!("live {n}") });
        let made = world.post(&anna, "/2/tweets", body).await;
        posted.push(text(&made["data"]["id"]));
    }
    for stream in &mut tweets {
        let mut seen = Vec::new();
        for _ in &posted {
            seen.push(text(&stream.json("").await["data"]["id"]));
        }
        assert_eq!(seen, posted);
    }
    let rita = world.rita().clone();
    let path = format!("/2/users/{}/retweets", rita.id);
    for tweet in &posted {
        world.post(&rita, &path, json!({ "tweet_id": tweet })).await;
    }
    for stream in &mut news {
        for tweet in &posted {
            let notification = stream.retweet().await;
            assert_eq!(notification["tweet_id"], json!(tweet), "{notification}");
        }
    }
    println!("two streams of tweets and two of notifications brought {COUNT} each");
}
