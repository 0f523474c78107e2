//! Reads an answer that does not end, line by line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::World;

/// More than a heartbeat takes to come.
const LINE_DEADLINE: Duration = Duration::from_secs(25);

/// The body of an answer under way. The connection ends when it is dropped.
pub(super) struct Lines {
    body: UnsyncBoxBody<Bytes, anyhow::Error>,
    buffer: BytesMut,
    /// The answer's kind of body.
    pub(super) content_type: String,
}

impl Lines {
    /// Asks, and expects a stream; the headers that are not empty are sent.
    pub(super) async fn open(world: &World, token: &str, path: &str, last_seen: &str) -> Self {
        let http = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let mut request = Request::get(format!("{}{path}", world.system.client.base()))
            .header("authorization", format!("Bearer {token}"));
        if !last_seen.is_empty() {
            request = request.header("last-event-id", last_seen);
        }
        let request = request.body(Empty::new()).expect("a request");
        let answer = tokio::time::timeout(LINE_DEADLINE, http.request(request));
        let (parts, body) = answer.await.expect("an answer in time").expect("one").into_parts();
        let mut body = body.map_err(anyhow::Error::from).boxed_unsync();
        if parts.status != 200 {
            let said = (&mut body).collect().await.expect("a whole answer").to_bytes();
            panic!("{path}: {} {}", parts.status, String::from_utf8_lossy(&said));
        }
        let content_type = parts.headers["content-type"].to_str().expect("text").to_owned();
        Self { body, buffer: BytesMut::new(), content_type }
    }

    /// The next line with its end; `None` at the end of the body.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(at + 1);
                return Some(String::from_utf8(line.to_vec()).expect("UTF-8"));
            }
            let frame = tokio::time::timeout(LINE_DEADLINE, self.body.frame());
            match frame.await.expect("a line in time") {
                Some(frame) => {
                    let frame = frame.expect("the stream goes on");
                    self.buffer.extend_from_slice(&frame.into_data().expect("no trailers"));
                }
                None => return None,
            }
        }
    }

    /// The next line of JSON, which ends as clients expect. Heartbeats are passed over.
    pub(super) async fn json(&mut self) -> Value {
        loop {
            let line = self.next().await.expect("the stream goes on");
            let text = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("{line:?}"));
            if !text.is_empty() {
                return serde_json::from_str(text)
                    .unwrap_or_else(|error| panic!("{error}: {text}"));
            }
        }
    }

    /// The next server-sent event's id, name and data. Comments are passed over.
    pub(super) async fn event(&mut self) -> (String, String, Value) {
        let (mut id, mut name, mut data) = (String::new(), String::new(), String::new());
        loop {
            let line = self.next().await.expect("the stream goes on");
            let line = line.trim_end();
            match line.split_once(':') {
                Some(("id", value)) => value.trim_start().clone_into(&mut id),
                Some(("event", value)) => value.trim_start().clone_into(&mut name),
                Some(("data", value)) => data += value.trim_start(),
                None if line.is_empty() && !data.is_empty() => {
                    return (id, name, serde_json::from_str(&data).expect("JSON"));
                }
                _ => {}
            }
        }
    }
}
