//! The service as a whole: requests in, answers and events out.

mod accounts;
mod change;
mod search;
mod storing;

use std::sync::Arc;

use axum::Router;
use pillion_chassis::event_log::{self, Recorded};
use pillion_chassis::testing::{self, Reply, TestDatabase};
use pillion_chassis::{Caller, FakeClock, InProcessPeers, Journal, Scopes};
use serde_json::{Value, json};

struct Harness {
    router: Router,
    journal: Journal,
    clock: Arc<FakeClock>,
    test: TestDatabase,
}

/// Runs a test on a service of its own on each back end.
async fn on_each(test: impl AsyncFn(Harness)) {
    let start = async |test| {
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        Harness::start(test, clock).await
    };
    testing::on_each(start, test).await;
}

impl Harness {
    async fn start(test: TestDatabase, clock: Arc<FakeClock>) -> Self {
        let deps = testing::deps(&test.database, &clock, &Arc::new(InProcessPeers::new()));
        let service = crate::service(deps).await.unwrap();
        Self { router: service.router, journal: service.journal.unwrap(), clock, test }
    }

    async fn restart(mut self) -> Self {
        self.test.reopen().await;
        Self::start(self.test, self.clock).await
    }

    async fn send(&self, method: &str, path: &str, caller: Option<Caller>, body: &str) -> Reply {
        testing::send(&self.router, testing::request(method, path, caller, body)).await
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

fn identity() -> Caller {
    Caller {
        user_id: None,
        client_id: "identity".to_owned(),
        scopes: Scopes::parse("internal.users.write"),
    }
}

fn user(id: u64) -> Caller {
    testing::caller(Some(id), "users.read tweet.read account.write")
}

fn jack() -> Value {
    json!({"username": "Jack", "name": "jack", "description": "hi", "url": "https://example.com"})
}
