//! The service as a whole: requests in, answers and events out.

mod accounts;
mod change;
mod search;
mod storing;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use pillion_chassis::event_log::{self, Recorded};
use pillion_chassis::testing::{BACKENDS, TestDatabase, empty};
use pillion_chassis::{
    Backend, Caller, Database, Deps, FakeClock, Ids, InProcessPeers, Journal, Scopes, SystemRandom,
    UserId,
};
use serde_json::{Value, json};
use tower::ServiceExt;

struct Harness {
    router: Router,
    journal: Journal,
    clock: Arc<FakeClock>,
    test: TestDatabase,
}

/// Runs a test on an empty database of each kind.
async fn on_each(test: impl AsyncFn(Harness)) {
    for backend in BACKENDS {
        eprintln!("on {backend:?}");
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        test(Harness::start(empty(backend).await, clock).await).await;
    }
}

impl Harness {
    async fn start(test: TestDatabase, clock: Arc<FakeClock>) -> Self {
        let deps = Deps {
            clock: clock.clone(),
            ids: Arc::new(Ids::new(clock.clone(), 0).unwrap()),
            random: Arc::new(SystemRandom),
            database: test.database.clone(),
            peers: Arc::new(InProcessPeers::new()),
        };
        let service = crate::service(deps).await.unwrap();
        Self { router: service.router, journal: service.journal.unwrap(), clock, test }
    }

    async fn restart(mut self) -> Self {
        if self.test.database.backend() == Backend::Sqlite {
            self.test.database.close().await;
            self.test.database = Database::open(self.test.database.place()).await.unwrap();
        }
        Self::start(self.test, self.clock).await
    }

    async fn send(&self, method: &str, path: &str, caller: Option<Caller>, body: &str) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Reply { status, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None, "").await
    }

    async fn put(&self, id: u64, body: &Value) -> Reply {
        let path = format!("/internal/users/{id}");
        self.send("PUT", &path, Some(identity()), &body.to_string()).await
    }

    async fn change(&self, id: u64, body: &Value) -> Reply {
        let path = "/pillion/v1/account/profile";
        self.send("POST", path, Some(user(id)), &body.to_string()).await
    }

    async fn delete(&self, id: u64) -> Reply {
        self.send("DELETE", &format!("/internal/users/{id}"), Some(identity()), "").await
    }

    async fn events(&self) -> Vec<Recorded> {
        event_log::read_after(&self.test.database, crate::NAME, 0, 1_000).await.unwrap()
    }
}

#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Value,
}

fn identity() -> Caller {
    Caller {
        user_id: None,
        client_id: "identity".to_owned(),
        scopes: Scopes::parse("internal.users.write"),
    }
}

fn user(id: u64) -> Caller {
    Caller {
        user_id: UserId::new(id),
        client_id: "web".to_owned(),
        scopes: Scopes::parse("users.read tweet.read account.write"),
    }
}

fn jack() -> Value {
    json!({"username": "Jack", "name": "jack", "description": "hi", "url": "https://example.com"})
}
