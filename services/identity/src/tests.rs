//! The service through its router, with a users service that can be told to fail.

mod accounts;
mod authorize;
mod keys;
mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use pillion_chassis::testing::{BACKENDS, TestDatabase, empty};
use pillion_chassis::{
    Backend, Caller, Clock, Database, Deps, FakeClock, Ids, InProcessPeers, Problem, Scopes,
    SystemRandom,
};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::state::Identity;
use crate::{Config, Handle, JwkSet};

const PASSWORD: &str = "correct horse battery";

/// How the users service answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Works,
    /// 503, without having done anything.
    Down,
    /// 503, after having done it: the answer is lost.
    AnswersLost,
    /// 400, naming the handle.
    Refuses,
}

/// Stands in for the users service: keeps profiles, by the rules of its internal routes.
#[derive(Debug, Default)]
struct Users {
    mode: Mutex<Mode>,
    profiles: Mutex<BTreeMap<String, Value>>,
    tokens: Mutex<Vec<String>>,
}

impl Users {
    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn usernames(&self) -> Vec<String> {
        let profiles = self.profiles.lock().unwrap();
        profiles.values().map(|profile| profile["username"].as_str().unwrap().to_owned()).collect()
    }

    async fn answer(
        State(users): State<Arc<Self>>,
        Path(id): Path<String>,
        request: Request,
    ) -> Response {
        let token = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
        users.tokens.lock().unwrap().push(token);
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mode = *users.mode.lock().unwrap();
        match mode {
            Mode::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Mode::Refuses => {
                return Problem::invalid("username", None, "`username` is odd").into_response();
            }
            Mode::Works | Mode::AnswersLost => {}
        }
        let mut profiles = users.profiles.lock().unwrap();
        let answer = if method == Method::DELETE {
            profiles.remove(&id);
            StatusCode::NO_CONTENT.into_response()
        } else {
            let profile: Value = serde_json::from_slice(&body).unwrap();
            let other = |(key, kept): (&String, &Value)| {
                *key != id && kept["username"] == profile["username"]
            };
            if profiles.iter().any(other) {
                return Problem::conflict("taken").into_response();
            }
            let body = json!({ "data": {
                "id": id, "username": profile["username"], "name": profile["name"],
            }});
            let status = match profiles.insert(id, profile) {
                None => StatusCode::CREATED,
                Some(_) => StatusCode::OK,
            };
            (status, axum::Json(body)).into_response()
        };
        if mode == Mode::AnswersLost {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        answer
    }
}

/// A running service with everything around it.
struct Fixture {
    test: TestDatabase,
    clock: Arc<FakeClock>,
    users: Arc<Users>,
    router: Router,
    handle: Handle,
}

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

/// Runs a test on an empty database of each kind.
async fn on_each(test: impl AsyncFn(Fixture)) {
    for backend in BACKENDS {
        eprintln!("on {backend:?}");
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:00Z".parse().unwrap()));
        test(Fixture::with(empty(backend).await, clock, Arc::new(Users::default())).await).await;
    }
}

impl Fixture {
    async fn with(test: TestDatabase, clock: Arc<FakeClock>, users: Arc<Users>) -> Self {
        let peers = InProcessPeers::new();
        let fake = Router::new()
            .route("/internal/users/{id}", put(Users::answer).delete(Users::answer))
            .with_state(users.clone());
        peers.register("users", fake);
        let deps = Deps {
            clock: clock.clone(),
            ids: Arc::new(Ids::new(clock.clone(), 1).unwrap()),
            random: Arc::new(SystemRandom),
            database: test.database.clone(),
            peers: Arc::new(peers),
        };
        let (service, handle) = crate::service(deps, Config::default()).await.unwrap();
        Self { test, clock, users, router: service.router, handle }
    }

    /// The same service after a restart.
    async fn restart(self) -> Self {
        let Self { mut test, clock, users, .. } = self;
        if test.database.backend() == Backend::Sqlite {
            test.database.close().await;
            test.database = Database::open(test.database.place()).await.unwrap();
        }
        Self::with(test, clock, users).await
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
