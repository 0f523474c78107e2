//! The service with a clock that stands still and a users service that knows three accounts.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use http::{HeaderMap, Request, StatusCode};
use pillion_chassis::event_log::{self, Recorded};
use pillion_chassis::{
    Caller, Database, Deps, FakeClock, Ids, InProcessPeers, Json, Scopes, SystemRandom, UserId,
};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(super) const ANN: u64 = 11;
pub(super) const BOB: u64 = 12;
pub(super) const CID: u64 = 13;
/// An account that was deleted; its tokens still verify.
pub(super) const GONE: u64 = 99;

pub(super) struct Harness {
    pub(super) router: Router,
    pub(super) database: Database,
    pub(super) clock: Arc<FakeClock>,
    pub(super) peers: Arc<InProcessPeers>,
    folder: tempfile::TempDir,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Reply {
    /// The id of the tweet that was posted.
    pub(super) fn id(&self) -> String {
        assert_eq!(self.status, 201, "{}", self.body);
        self.body["data"]["id"].as_str().unwrap().to_owned()
    }

    /// The ids on the page.
    pub(super) fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.body);
        let data = self.body["data"].as_array().cloned().unwrap_or_default();
        data.iter().map(|tweet| tweet["id"].as_str().unwrap().to_owned()).collect()
    }
}

impl Harness {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        Self::start_in(folder, clock).await
    }

    async fn start_in(folder: tempfile::TempDir, clock: Arc<FakeClock>) -> Self {
        let database = Database::open(folder.path().join("tweets.sqlite")).await.unwrap();
        let peers = Arc::new(InProcessPeers::new());
        peers.register("users", users());
        let deps = Deps {
            clock: clock.clone(),
            ids: Arc::new(Ids::new(clock.clone(), 0).unwrap()),
            random: Arc::new(SystemRandom),
            database: database.clone(),
            peers: peers.clone(),
        };
        let service = crate::service(deps).await.unwrap();
        Self { router: service.router, database, clock, peers, folder }
    }

    pub(super) async fn restart(self) -> Self {
        self.database.close().await;
        Self::start_in(self.folder, self.clock).await
    }

    pub(super) async fn send(&self, method: &str, path: &str, by: u64, body: &str) -> Reply {
        let caller = Caller {
            user_id: UserId::new(by),
            client_id: "web".to_owned(),
            scopes: Scopes::parse("tweet.read tweet.write users.read"),
        };
        self.send_as(method, path, Some(caller), body).await
    }

    pub(super) async fn send_as(
        &self,
        method: &str,
        path: &str,
        caller: Option<Caller>,
        body: &str,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("authorization", "Bearer token")
            .body(Body::from(body.to_owned()))
            .unwrap();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Reply { status, body: serde_json::from_slice(&bytes).unwrap() }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, ANN, "").await
    }

    pub(super) async fn post(&self, by: u64, body: &Value) -> Reply {
        self.send("POST", "/2/tweets", by, &body.to_string()).await
    }

    pub(super) async fn post_text(&self, by: u64, text: &str) -> String {
        self.post(by, &json!({"text": text})).await.id()
    }

    pub(super) async fn reply_to(&self, by: u64, id: &str, text: &str) -> Reply {
        self.post(by, &json!({"text": text, "reply": {"in_reply_to_tweet_id": id}})).await
    }

    pub(super) async fn quote(&self, by: u64, id: &str, text: &str) -> Reply {
        self.post(by, &json!({"text": text, "quote_tweet_id": id})).await
    }

    pub(super) async fn delete(&self, by: u64, id: &str) -> Reply {
        self.send("DELETE", &format!("/2/tweets/{id}"), by, "").await
    }

    pub(super) async fn events(&self) -> Vec<Recorded> {
        event_log::read_after(&self.database, 0, 10_000).await.unwrap()
    }
}

/// A users service that knows Ann, Bob and Cid, and wants the caller's token.
fn users() -> Router {
    Router::new().route(
        "/2/users/{id}",
        get(async |Path(id): Path<u64>, headers: HeaderMap| {
            if headers.get("authorization").is_none_or(|token| token != "Bearer token") {
                return (StatusCode::UNAUTHORIZED, Json(json!({"title": "Unauthorized"})));
            }
            let username = match id {
                ANN => "ann",
                BOB => "Bob",
                CID => "cid",
                _ => return (StatusCode::OK, Json(json!({"errors": [{"value": id}]}))),
            };
            let user = json!({"id": id.to_string(), "name": username, "username": username});
            (StatusCode::OK, Json(json!({"data": user})))
        }),
    )
}
