//! Streams: lines of ids become lines of tweets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use futures_util::stream::{self, Stream};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use pillion_chassis::PeerError;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::fake::{MadeUp, Reply, gateway, get, look_up, ok};

fn tweet(id: &str) -> Option<Value> {
    let author = id.get(..1)?;
    (id != "404").then(|| {
        json!({
            "id": id, "text": "t", "author_id": author, "_authors": [author],
            "referenced_tweets": [{ "type": "quoted", "id": "90" }],
        })
    })
}

fn reason(user: &str) -> Option<&'static str> {
    (user == "2").then_some("protected")
}

/// A stream of the search service that gives what is sent into a channel.
struct Channel(mpsc::UnboundedReceiver<Result<Bytes, std::io::Error>>);

impl Stream for Channel {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

struct Streaming {
    upstream: mpsc::UnboundedSender<Result<Bytes, std::io::Error>>,
    body: Body,
    peers: Arc<MadeUp>,
}

impl Streaming {
    async fn open(path: &'static str) -> Self {
        Self::open_as(path, "curl").await
    }

    async fn open_as(path: &'static str, agent: &str) -> Self {
        let (upstream, lines) = mpsc::unbounded_channel();
        let lines = std::sync::Mutex::new(Some(lines));
        let (router, peers) = gateway(move |call| {
            if call.service != "search" {
                return look_up(call, tweet, reason).unwrap();
            }
            let lines = Channel(lines.lock().unwrap().take().unwrap());
            let response = Response::builder().header("content-type", "application/json");
            Ok(response.body(Body::from_stream(lines)).unwrap())
        });
        let request = Request::get(path).header("user-agent", agent).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        peers.counts();
        Self { upstream, body: response.into_body(), peers }
    }

    fn send(&self, text: &str) {
        self.upstream.send(Ok(Bytes::copy_from_slice(text.as_bytes()))).unwrap();
    }

    async fn next(&mut self) -> String {
        let frame = self.body.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    }

    async fn has_ended(&mut self) -> bool {
        self.body.frame().await.is_none()
    }
}

fn line(id: &str) -> String {
    format!(
        "{{\"data\":{{\"id\":\"{id}\"}},\"matching_rules\":[{{\"id\":\"1\",\"tag\":\"\"}}]}}\r\n"
    )
}

#[tokio::test]
async fn lines_are_completed_in_order_and_heartbeats_pass() {
    let mut stream = Streaming::open("/2/tweets/search/stream?expansions=author_id").await;
    stream.send("\r\n");
    assert_eq!(stream.next().await, "\r\n");
    // A line in two pieces, a hidden one, one that is gone, and a last one.
    let first = line("10");
    let (head, tail) = first.split_at(9);
    stream.send(head);
    stream.send(&format!("{tail}{}\r\n{}", line("20"), line("30")));
    let sent = stream.next().await;
    let lines: Vec<&str> = sent.split("\r\n").collect();
    assert_eq!((lines.len(), lines[1], lines[3]), (4, "", ""), "{sent}");
    let line: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["data"]["id"], "10");
    assert!(line["data"].get("_authors").is_none());
    assert_eq!(line["matching_rules"], json!([{ "id": "1", "tag": "" }]));
    assert_eq!(super::fake::ids(&line["includes"]["users"]), ["1"]);
    let line: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(
        (&line["data"]["id"], &line["includes"]["users"][0]["id"]),
        (&json!("30"), &json!("3"))
    );
}

#[tokio::test]
async fn lines_that_wait_together_take_one_look_up() {
    let mut stream = Streaming::open("/2/tweets/sample/stream").await;
    for piece in 0..5 {
        let lines = (0..50).map(|number| line(&format!("1{piece}{number:02}")));
        stream.send(&lines.collect::<String>());
    }
    let mut lines = 0;
    for expected in [100, 100, 50] {
        let count = stream.next().await.matches("\r\n").count();
        assert_eq!(count, expected);
        lines += count;
    }
    assert_eq!(lines, 250);
    let counts = stream.peers.counts();
    assert_eq!(counts["tweets /internal/tweets"], 3);
    assert_eq!(counts["graph /internal/visibility"], 3);
    assert_eq!(counts.len(), 2, "{counts:?}");
}

#[tokio::test]
async fn the_newer_names_are_spoken_on_streams() {
    let mut stream = Streaming::open_as("/2/tweets/search/stream", "xdk-python/0.10.6").await;
    stream.send(&line("10"));
    let sent = stream.next().await;
    assert!(sent.contains("referenced_posts") && !sent.contains("referenced_tweets"), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_tweet_that_is_a_little_late_is_not_lost_and_one_that_is_gone_is_left_out() {
    let asked = AtomicUsize::new(0);
    let (router, _) = gateway(move |call| match &*call.service {
        "search" => ok_lines(&[&line("10"), &line("404")]),
        "tweets" if asked.fetch_add(1, Ordering::SeqCst) == 0 => ok(&json!({})),
        _ => look_up(call, tweet, reason).unwrap(),
    });
    let request = Request::get("/2/tweets/sample/stream").body(Body::empty()).unwrap();
    let body = router.oneshot(request).await.unwrap().into_body();
    let bytes = body.collect().await.unwrap().to_bytes();
    let line: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(line["data"]["id"], "10");
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a reply returns")]
fn ok_lines(lines: &[&str]) -> Reply {
    let lines = Some(Bytes::from(lines.concat()));
    // It panics when it is asked again after its end.
    let lines = stream::unfold(lines, async |lines| {
        lines.map(|lines| (Ok::<_, std::io::Error>(lines), None))
    });
    Ok(Response::new(Body::from_stream(lines)))
}

#[tokio::test]
async fn the_owner_of_a_stream_notices_when_the_caller_goes_away() {
    let mut stream = Streaming::open("/2/tweets/sample/stream").await;
    stream.send("\r\n");
    stream.next().await;
    assert!(!stream.upstream.is_closed());
    drop(stream.body);
    assert!(stream.upstream.is_closed());
}

#[tokio::test]
async fn a_stream_ends_with_its_owner_and_passes_their_last_words() {
    let mut stream = Streaming::open("/2/tweets/sample/stream").await;
    let last = "{\"errors\":[{\"title\":\"operational-disconnect\"}]}\r\n";
    stream.send(last);
    assert_eq!(stream.next().await, last);
    let (closed, _) = mpsc::unbounded_channel();
    stream.upstream = closed;
    assert!(stream.has_ended().await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_says_so_in_a_last_line() {
    let is_disconnect = |sent: &str| {
        let line: Value = serde_json::from_str(sent).unwrap();
        let kind = "https://api.twitter.com/2/problems/operational-disconnect";
        assert_eq!(line["errors"][0]["type"], kind);
        assert!(line["errors"][0]["detail"].as_str().unwrap().contains("onnect again"), "{line}");
    };
    // The connection to the owner breaks.
    let mut stream = Streaming::open("/2/tweets/sample/stream").await;
    stream.send("{\"data\":");
    stream.upstream.send(Err(std::io::Error::other("reset"))).unwrap();
    is_disconnect(&stream.next().await);
    assert!(stream.has_ended().await);
    // So it does when a line comes along with that; the line is not lost.
    let mut stream = Streaming::open("/2/tweets/sample/stream").await;
    stream.send(&line("10"));
    stream.upstream.send(Err(std::io::Error::other("reset"))).unwrap();
    assert!(stream.next().await.contains("\"id\":\"10\""));
    is_disconnect(&stream.next().await);
    assert!(stream.has_ended().await);
    // A line never ends.
    let mut stream = Streaming::open("/2/tweets/sample/stream").await;
    for _ in 0..9 {
        stream.send(&"x".repeat(32 * 1024));
    }
    is_disconnect(&stream.next().await);
    // Nothing comes, not even a heartbeat.
    let mut stream = Streaming::open("/2/tweets/sample/stream").await;
    let begun = tokio::time::Instant::now();
    is_disconnect(&stream.next().await);
    assert_eq!(begun.elapsed(), Duration::from_mins(1));
}

#[tokio::test]
async fn a_stream_without_the_services_it_needs_ends_rather_than_to_lose_lines() {
    let (router, _) = gateway(|call| match &*call.service {
        "search" => ok_lines(&[&line("10")]),
        "tweets" => look_up(call, tweet, reason).unwrap(),
        service => Err(PeerError::TimedOut(service.to_owned())),
    });
    let request = Request::get("/2/tweets/sample/stream").body(Body::empty()).unwrap();
    let body = router.oneshot(request).await.unwrap().into_body();
    let bytes = body.collect().await.unwrap().to_bytes();
    let line: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(line["errors"][0]["detail"].as_str().unwrap().contains("graph"), "{line}");
}

#[tokio::test]
async fn a_refused_stream_is_refused_in_the_owners_words() {
    let (router, _) = gateway(|_| {
        let response = Response::builder().status(429).header("content-type", "application/json");
        Ok(response.body(Body::from("{\"title\":\"ConnectionException\"}")).unwrap())
    });
    let answer = get(&router, "/2/tweets/search/stream").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.body["title"], "ConnectionException");
}
