//! Peers that answer what a test says, and note every call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::{Method, Response};
use http_body_util::BodyExt;
use pillion_chassis::testing::service_tokens;
use pillion_chassis::{PeerError, Peers, SystemClock};
use serde_json::{Value, json};

use super::{Answer, send};
use crate::document::Document;
use crate::{Gateway, routes};

pub(super) type Reply = Result<Response<Body>, PeerError>;

/// A call that was made to a peer.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) service: String,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    /// The path without its query.
    pub(super) fn route(&self) -> &str {
        self.path.split('?').next().unwrap()
    }

    /// A parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    }

    /// The keys of a look-up by a list.
    pub(super) fn keys(&self) -> Vec<String> {
        let names = ["ids", "usernames", "users", "tweets"];
        let keys = names.into_iter().find_map(|name| self.parameter(name)).unwrap();
        keys.split(',').map(str::to_owned).collect()
    }
}

/// Peers that note every call.
pub(super) struct MadeUp {
    pub(super) calls: Mutex<Vec<Call>>,
    reply: Box<dyn Fn(&Call) -> Reply + Send + Sync>,
}

impl std::fmt::Debug for MadeUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeUp").finish_non_exhaustive()
    }
}

impl MadeUp {
    /// How often each route of a service was called since the last time.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in std::mem::take(&mut *self.calls.lock().unwrap()) {
            *counts.entry(format!("{} {}", call.service, call.route())).or_default() += 1;
        }
        counts
    }
}

#[async_trait]
impl Peers for MadeUp {
    async fn call(&self, service: &str, request: http::Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let call = Call {
            service: service.to_owned(),
            method: parts.method,
            path: parts.uri.to_string(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        };
        self.calls.lock().unwrap().push(call.clone());
        (self.reply)(&call)
    }
}

/// A gateway before peers that answer so.
pub(super) fn gateway<F>(reply: F) -> (Router, Arc<MadeUp>)
where
    F: Fn(&Call) -> Reply + Send + Sync + 'static,
{
    let peers = Arc::new(MadeUp { calls: Mutex::default(), reply: Box::new(reply) });
    let document = Arc::new(Document::load().unwrap());
    let service_tokens = service_tokens("gateway", Arc::new(SystemClock));
    let gateway = Gateway { peers: peers.clone(), service_tokens, document };
    (routes::routes().finish(gateway).0, peers)
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a reply returns")]
pub(super) fn ok(body: &Value) -> Reply {
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Body::from(body.to_string())).unwrap())
}

pub(super) async fn get(router: &Router, path: &str) -> Answer {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

/// Answers a look-up by a list in a world where `tweet` says what tweets are, all users exist,
/// and `reason` says whom the caller may not see; `None` for other calls. A number is the sum of
/// the digits of the id.
pub(super) fn look_up(
    call: &Call,
    tweet: impl Fn(&str) -> Option<Value>,
    reason: impl Fn(&str) -> Option<&'static str>,
) -> Option<Reply> {
    let bound = if call.route() == "/internal/visibility" { 300 } else { 100 };
    let each = |item: &dyn Fn(&str) -> Option<Value>| {
        let keys = call.keys();
        assert!(keys.len() <= bound, "{} keys", keys.len());
        let found: Vec<Value> = keys.iter().filter_map(|key| item(key)).collect();
        if found.is_empty() { ok(&json!({})) } else { ok(&json!({ "data": found })) }
    };
    let number = |key: &str| key.bytes().map(|digit| u32::from(digit - b'0')).sum::<u32>();
    Some(match (&*call.service, call.route()) {
        ("tweets", "/internal/tweets") => each(&tweet),
        ("users", "/2/users") => {
            each(&|key| Some(json!({ "id": key, "name": "N", "username": format!("u{key}") })))
        }
        ("users", "/2/users/by") => each(&|key| {
            let id = key.to_ascii_lowercase().strip_prefix('u')?.to_owned();
            Some(json!({ "id": id, "name": "N", "username": key.to_ascii_uppercase() }))
        }),
        ("graph", "/internal/visibility") => {
            each(&|key| Some(json!({ "id": key, "reason": reason(key)? })))
        }
        ("graph", "/internal/follow_counts") => each(&|key| {
            Some(json!({ "id": key, "followers_count": number(key), "following_count": 1 }))
        }),
        ("tweets", "/internal/tweet_counts") => {
            each(&|key| Some(json!({ "id": key, "tweet_count": number(key) })))
        }
        ("engagements", "/internal/like_counts") => {
            each(&|key| Some(json!({ "id": key, "like_count": number(key) })))
        }
        ("engagements", "/internal/counts") => each(&|key| {
            let number = number(key);
            Some(json!({
                "id": key, "like_count": number, "retweet_count": number + 1, "bookmark_count": 0,
            }))
        }),
        _ => return None,
    })
}

/// The ids of a list in an answer; empty when it is not there.
pub(super) fn ids(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item["id"].as_str().unwrap()).collect()
}
