//! The service through its router, with the real users service beside it and the steps of the
//! others made up; every call between them can be told to fail.

mod authorizations;
mod authorize;
mod deactivating;
mod keys;
mod logging_in;
mod registering;
mod renaming;
mod revoking;
mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use pillion_chassis::event_log;
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::sql::query;
use pillion_chassis::testing::{self, BACKENDS, TestDatabase, by_service, empty, service_tokens};
use pillion_chassis::{
    Caller, Clock, Database, Deps, FakeClock, Ids, InProcessPeers, Problem, Scopes, Service,
    Shutdown,
};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::state::Identity;
use crate::{Config, Handle, JwkSet, KeyEncryptionKey};

const PASSWORD: &str = "correct horse battery";

/// The configuration of every test.
fn config() -> Config {
    Config::new(KeyEncryptionKey::parse(&"A".repeat(43), "a test").unwrap())
}

/// How a call for a step is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// 503, without having done anything.
    Down,
    /// 503, after having done it: the answer is lost.
    AnswersLost,
    /// By something in front of the service, such as a plugin.
    Vetoed(u16),
    /// By the service itself.
    Refused(u16),
}

/// The other services.
#[derive(Debug, Default)]
struct World {
    /// How calls fail, by `PUT users.activate` and the like; the others work.
    modes: Mutex<BTreeMap<String, Mode>>,
    /// What was asked for.
    asked: Mutex<Vec<String>>,
    /// With which queries and tokens.
    shown: Mutex<Vec<(String, String)>>,
}

impl World {
    fn set(&self, call: &str, mode: Mode) {
        self.modes.lock().unwrap().insert(call.to_owned(), mode);
    }

    /// Everything works.
    fn heal(&self) {
        self.modes.lock().unwrap().clear();
    }

    /// What was asked for since the last time, each once.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.dedup();
        asked
    }

    /// A service as the others reach it, behind what lets service tokens in. One that is made up
    /// does each step by saying so.
    fn service(self: &Arc<Self>, name: &'static str, real: Option<Router>) -> Router {
        let world = self.clone();
        Router::new().fallback(async move |mut request: Request| {
            let call = {
                let step = request.uri().path().rsplit('/').next().unwrap_or_default();
                format!("{} {name}.{step}", request.method())
            };
            let token = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
            let query = request.uri().query().unwrap_or_default().to_owned();
            world.asked.lock().unwrap().push(call.clone());
            world.shown.lock().unwrap().push((query, token));
            let mode = world.modes.lock().unwrap().get(&call).copied();
            match mode {
                Some(Mode::Down) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
                Some(Mode::Vetoed(status)) => return no(&call, status).into_response(),
                Some(Mode::Refused(status)) => {
                    return ([("saga-step", "refused")], no(&call, status)).into_response();
                }
                Some(Mode::AnswersLost) | None => {}
            }
            request.extensions_mut().insert(by_service("another"));
            let answer = match &real {
                Some(router) => router.clone().oneshot(request).await.unwrap(),
                None => axum::Json(json!({ "data": null })).into_response(),
            };
            match mode {
                Some(Mode::AnswersLost) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                _ => answer,
            }
        })
    }
}

fn no(call: &str, status: u16) -> Problem {
    Problem::plain(StatusCode::from_u16(status).unwrap(), format!("no {call}"))
}

/// A running service with everything around it.
struct Fixture {
    test: TestDatabase,
    /// Of the users service.
    users_test: TestDatabase,
    clock: Arc<FakeClock>,
    world: Arc<World>,
    router: Router,
    users: Router,
    handle: Handle,
    running: Running,
}

/// What ends when it is dropped: the workers, and the services, which hold each other as peers.
struct Running {
    shutdown: ShutdownTrigger,
    peers: Arc<InProcessPeers>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.request();
        self.peers.clear();
    }
}

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

/// Runs a test on empty databases of each kind.
async fn on_each(test: impl AsyncFn(Fixture)) {
    for backend in BACKENDS {
        eprintln!("on {backend:?}");
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:00Z".parse().unwrap()));
        let (own, users) = (empty(backend).await, empty(backend).await);
        test(Fixture::with(own, users, clock, Arc::new(World::default())).await).await;
    }
}

impl Fixture {
    async fn with(
        test: TestDatabase,
        users_test: TestDatabase,
        clock: Arc<FakeClock>,
        world: Arc<World>,
    ) -> Self {
        let peers = Arc::new(InProcessPeers::new());
        let users = testing::deps(&users_test.database, &clock, &peers);
        let users = pillion_users::service(users).await.unwrap();
        let deps = Deps {
            ids: Arc::new(Ids::new(clock.clone(), 1).unwrap()),
            service_tokens: service_tokens("identity", clock.clone()),
            ..testing::deps(&test.database, &clock, &peers)
        };
        let (identity, handle) = crate::service(deps, config()).await.unwrap();
        for name in ["graph", "tweets", "timelines", "engagements", "search", "notifications"] {
            peers.register(name, world.service(name, None));
        }
        peers.register("users", world.service("users", Some(users.router.clone())));
        peers.register("identity", world.service("identity", Some(identity.router.clone())));
        let (trigger, shutdown) = Shutdown::new();
        let (router, users_router) = (identity.router.clone(), users.router.clone());
        for Service { workers, .. } in [users, identity] {
            for worker in workers {
                tokio::spawn(worker.run(shutdown.clone()));
            }
        }
        let running = Running { shutdown: trigger, peers };
        Self { test, users_test, clock, world, router, users: users_router, handle, running }
    }

    /// The same services after a restart.
    async fn restart(self) -> Self {
        let Self { mut test, mut users_test, clock, world, running, .. } = self;
        drop(running);
        test.reopen().await;
        users_test.reopen().await;
        Self::with(test, users_test, clock, world).await
    }

    /// Waits until no saga is under way but for those that wait for a moment.
    async fn settled(&self) {
        let at_work = || {
            query("SELECT count(*) FROM saga WHERE state IN ('running', 'compensating', 'parked')")
        };
        for _ in 0..200 {
            let mut left = 0;
            for database in [&self.test.database, &self.users_test.database] {
                left += at_work().fetch_one::<(i64,)>(database).await.unwrap().0;
            }
            if left == 0 {
                return;
            }
            // Whatever backs off has its turn.
            self.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("a saga does not end");
    }

    /// Rows that accounts have here and in the users service, and their events.
    async fn rows(&self) -> [i64; 5] {
        let count = async |database: &Database, table: &str| {
            let count = query(format!("SELECT count(*) FROM {table}"));
            count.fetch_one::<(i64,)>(database).await.unwrap().0
        };
        let users = &self.users_test.database;
        [
            count(&self.test.database, "account").await,
            count(users, "profile").await,
            count(users, "profile_draft").await,
            count(users, "handle_reservation").await,
            count(users, "event_log").await,
        ]
    }

    /// The names of the users service's events.
    async fn told(&self) -> Vec<String> {
        let events = event_log::read_after(&self.users_test.database, "users", 0, 1_000).await;
        events.unwrap().into_iter().map(|event| event.name).collect()
    }

    /// Whom a handle shows.
    async fn shown(&self, username: &str) -> Option<String> {
        let path = format!("/2/users/by/username/{username}");
        let request = testing::request("GET", &path, None, "");
        let reply = testing::send(&self.users, request).await;
        assert_eq!(reply.status, 200);
        reply.body["data"]["id"].as_str().map(str::to_owned)
    }

    fn identity(&self) -> &Identity {
        &self.handle.0
    }

    async fn send(&self, request: Request) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(json_request(Method::POST, path, &body)).await
    }

    /// Posts as the one whom an access token names, as the auth plugin would let them in.
    async fn send_as(&self, token: &str, mut request: Request) -> Answer {
        let claims = claims(&self.handle.jwks(), token);
        request.extensions_mut().insert(Caller {
            user_id: claims["sub"].as_str().unwrap().parse().ok(),
            client_id: claims["client_id"].as_str().unwrap().to_owned(),
            scopes: Scopes::parse(claims["scope"].as_str().unwrap()),
        });
        self.send(request).await
    }

    async fn form(&self, path: &str, form: &str, basic: Option<&str>) -> Answer {
        let mut request = Request::post(path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        if let Some(credentials) = basic {
            let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
            let value = format!("Basic {encoded}").parse().unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.send(request).await
    }

    async fn register(&self, username: &str) -> Answer {
        let body = json!({ "username": username, "name": "A name", "password": PASSWORD });
        self.post("/pillion/v1/accounts", body).await
    }

    /// The page that a request is answered with, as text.
    async fn page(&self, request: Request) -> (StatusCode, http::HeaderMap, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Whether any id of a token is in what identity tells its hosts.
    async fn is_revoked(&self, token: &str) -> bool {
        let claims = claims(&self.handle.jwks(), token);
        let page = self.handle.revocations_after(0).await.unwrap();
        let rev = claims["rev"].as_array().into_iter().flatten();
        let mut ids = rev.chain([&claims["jti"]]).filter_map(Value::as_str);
        ids.any(|id| page.revocations.iter().any(|revoked| revoked.id == id))
    }

    /// Registers as somebody who goes when it does not get on.
    async fn register_and_go(&self, username: &str) {
        self.go(self.register(username)).await;
    }

    /// Leaves an answer when a step of a saga has failed.
    async fn go<T>(&self, answer: impl Future<Output = T>) {
        let failing = async {
            let failing =
                || query("SELECT count(*) FROM saga WHERE state = 'running' AND attempts > 0");
            loop {
                for database in [&self.test.database, &self.users_test.database] {
                    if failing().fetch_one::<(i64,)>(database).await.unwrap().0 > 0 {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            _ = answer => panic!("there is an answer"),
            () = failing => {}
        }
    }

    /// Deactivates the account of a token.
    async fn deactivate(&self, token: &str, password: &str) -> Answer {
        let body = json!({ "password": password });
        self.send_as(token, json_request(Method::DELETE, "/pillion/v1/accounts/me", &body)).await
    }

    /// Changes the handle of the account of this id.
    async fn rename(&self, id: &str, username: &str) -> testing::Reply {
        let caller = testing::caller(id.parse().ok(), "account.write");
        let body = json!({ "username": username }).to_string();
        let path = "/pillion/v1/account/username";
        testing::send(&self.users, testing::request("POST", path, Some(caller), &body)).await
    }

    async fn login(&self, username: &str) -> Answer {
        let body = json!({ "username": username, "password": PASSWORD });
        self.post("/pillion/v1/login", body).await
    }

    /// A registered app: its id and secret.
    async fn app(&self, token: &str, body: Value) -> (String, String) {
        let answer =
            self.send_as(token, json_request(Method::POST, "/pillion/v1/apps", &body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let text = |name: &str| answer.body["data"][name].as_str().unwrap_or_default().to_owned();
        (text("client_id"), text("client_secret"))
    }
}

impl Answer {
    /// The id of what was made, of a 201.
    fn id(&self) -> String {
        assert_eq!(self.status, StatusCode::CREATED, "{}", self.body);
        self.body["data"]["id"].as_str().unwrap().to_owned()
    }

    fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.body))
    }
}

fn json_request(method: Method, path: &str, body: &Value) -> Request {
    Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The claims of a token whose signature one of the keys verifies.
fn claims(keys: &JwkSet, token: &str) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header = decoded(header);
    assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some("EdDSA"), Some("at+jwt")));
    let key = keys.keys.iter().find(|key| header["kid"] == key.kid).expect("a published key");
    UnparsedPublicKey::new(&ED25519, URL_SAFE_NO_PAD.decode(&key.x).unwrap())
        .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .expect("a valid signature");
    decoded(claims)
}

fn now_s(clock: &FakeClock) -> u64 {
    clock.now().as_secs()
}
