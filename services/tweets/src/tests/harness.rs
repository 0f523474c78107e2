//! The service with a clock that stands still, a users service that knows three accounts and a
//! graph service that knows what it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use http::{HeaderMap, Uri};
use pillion_chassis::event_log::{self, Recorded};
use pillion_chassis::testing::{self, Reply, TestDatabase, deliver};
use pillion_chassis::{Caller, Clock, Database, FakeClock, InProcessPeers, Journal, Json};
use pillion_events::{EngagementEvent, UserEvent};
use serde_json::{Value, json};

pub(super) const ANN: u64 = 11;
pub(super) const BOB: u64 = 12;
pub(super) const CID: u64 = 13;
/// An account that was deleted; its tokens still verify.
pub(super) const GONE: u64 = 99;

pub(super) struct Harness {
    pub(super) router: Router,
    pub(super) journal: Journal,
    pub(super) clock: Arc<FakeClock>,
    pub(super) peers: Arc<InProcessPeers>,
    /// What the other services know and were asked.
    pub(super) others: Arc<Others>,
    test: TestDatabase,
}

/// Runs a test on a service of its own on each back end.
pub(super) async fn on_each(test: impl AsyncFn(Harness)) {
    let start = async |test| {
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        Harness::start(test, clock).await
    };
    testing::on_each(start, test).await;
}

impl Harness {
    async fn start(test: TestDatabase, clock: Arc<FakeClock>) -> Self {
        let peers = Arc::new(InProcessPeers::new());
        let others = Arc::new(Others::default());
        peers.register("users", others.clone().users());
        peers.register("graph", others.clone().graph());
        let deps = testing::deps(&test.database, &clock, &peers);
        let service = crate::service(deps).await.unwrap();
        let journal = service.journal.unwrap();
        Self { router: service.router, journal, clock, peers, others, test }
    }

    pub(super) async fn restart(mut self) -> Self {
        self.test.reopen().await;
        Self::start(self.test, self.clock).await
    }

    pub(super) fn database(&self) -> &Database {
        &self.test.database
    }

    pub(super) async fn send(&self, method: &str, path: &str, by: u64, body: &str) -> Reply {
        let caller = testing::caller(Some(by), "tweet.read tweet.write users.read");
        self.send_as(method, path, Some(caller), body).await
    }

    pub(super) async fn send_as(
        &self,
        method: &str,
        path: &str,
        caller: Option<Caller>,
        body: &str,
    ) -> Reply {
        testing::send(&self.router, testing::request(method, path, caller, body)).await
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

    /// The body of a tweet, with these fields; null when it is not there.
    pub(super) async fn read(&self, id: &str, fields: &str) -> Value {
        let path = format!("/internal/tweets?ids={id}&tweet.fields={fields}");
        let body = self.get(&path).await.body;
        body.pointer("/data/0").cloned().unwrap_or_default()
    }

    /// Takes up an event of the users service.
    pub(super) async fn hear_users(&self, event: &UserEvent) -> Recorded {
        let at = self.clock.now();
        deliver(&self.journal, "users", "user/1", event, at).await
    }

    /// Takes up an event of the engagements service.
    pub(super) async fn hear_engagements(&self, event: &EngagementEvent) -> Recorded {
        let at = self.clock.now();
        deliver(&self.journal, "engagements", "user/1", event, at).await
    }

    /// Settles some tweets of an author, as the worker does; whether there were any.
    pub(super) async fn settle_some(&self) -> bool {
        let store = crate::store::Store::new(self.test.database.clone());
        store.settle_some(self.clock.now()).await.unwrap()
    }

    /// Hides or shows a reply.
    pub(super) async fn set_hidden(&self, by: u64, id: &str, hidden: bool) -> Reply {
        let body = json!({"hidden": hidden}).to_string();
        self.send("PUT", &format!("/2/tweets/{id}/hidden"), by, &body).await
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

    /// The service's own events, opened.
    pub(super) async fn events(&self) -> Vec<Recorded> {
        let sealed = event_log::read_after(self.database(), crate::NAME, 0, 10_000).await.unwrap();
        self.journal.plain(&sealed).await.unwrap()
    }
}

/// A users service that knows Ann, Bob and Cid, and a graph service that knows what it is told.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// The paths that were asked for.
    calls: Mutex<Vec<String>>,
    /// Who cannot see whose tweets, and why.
    pub(super) hidden: Mutex<Vec<(u64, u64, &'static str)>>,
    /// Who follows whom.
    pub(super) follows: Mutex<Vec<(u64, u64)>>,
}

type Query = axum::extract::Query<HashMap<String, String>>;

fn user(id: u64) -> Option<Value> {
    let username = match id {
        ANN => "ann",
        BOB => "Bob",
        CID => "cid",
        _ => return None,
    };
    Some(json!({"id": id.to_string(), "name": username, "username": username}))
}

impl Others {
    /// The paths that were asked for since the last time.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Who asks; whoever answers wants the caller's token.
    fn called(&self, uri: &Uri, headers: &HeaderMap) -> u64 {
        self.calls.lock().unwrap().push(uri.to_string());
        testing::by(headers)
    }

    fn users(self: Arc<Self>) -> Router {
        let one = async |State(others): State<Arc<Self>>,
                         Path(id): Path<u64>,
                         uri: Uri,
                         headers: HeaderMap| {
            others.called(&uri, &headers);
            Json(match user(id) {
                Some(user) => json!({"data": user}),
                None => json!({"errors": [{"value": id}]}),
            })
        };
        let by =
            async |State(others): State<Arc<Self>>, query: Query, uri: Uri, headers: HeaderMap| {
                others.called(&uri, &headers);
                let names: Vec<&str> = query["usernames"].split(',').collect();
                assert!(names.iter().all(|name| (1..=15).contains(&name.len())), "{names:?}");
                let asked = |user: &Value| {
                    let username = user["username"].as_str().unwrap();
                    names.iter().any(|name| name.eq_ignore_ascii_case(username))
                };
                let users = [ANN, BOB, CID].into_iter().filter_map(user).filter(asked);
                Json(match users.collect::<Vec<_>>() {
                    none if none.is_empty() => json!({"errors": [{}]}),
                    users => json!({"data": users}),
                })
            };
        Router::new()
            .route("/2/users/{id}", get(one))
            .route("/2/users/by", get(by))
            .with_state(self)
    }

    fn graph(self: Arc<Self>) -> Router {
        let visibility =
            async |State(others): State<Arc<Self>>, query: Query, uri: Uri, headers: HeaderMap| {
                let caller = others.called(&uri, &headers);
                let users: Vec<u64> =
                    query["users"].split(',').map(|id| id.parse().unwrap()).collect();
                let hidden = others.hidden.lock().unwrap();
                let of = |(who, whose, reason): &(u64, u64, &str)| {
                    (*who == caller && users.contains(whose))
                        .then(|| json!({"id": whose.to_string(), "reason": reason}))
                };
                Json(match hidden.iter().filter_map(of).collect::<Vec<_>>() {
                    none if none.is_empty() => json!({}),
                    users => json!({"data": users}),
                })
            };
        let relation =
            async |State(others): State<Arc<Self>>, query: Query, uri: Uri, headers: HeaderMap| {
                let caller = others.called(&uri, &headers);
                let user: u64 = query["user"].parse().unwrap();
                let follows = others.follows.lock().unwrap();
                Json(json!({"data": {
                    "following": follows.contains(&(caller, user)),
                    "followed_by": follows.contains(&(user, caller)),
                    "blocking": false, "blocked_by": false, "muting": false,
                }}))
            };
        Router::new()
            .route("/internal/visibility", get(visibility))
            .route("/internal/relation", get(relation))
            .with_state(self)
    }
}
