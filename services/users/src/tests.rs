//! The service as a whole: requests and steps of sagas in, answers and events out.

mod accounts;
mod change;
mod handles;
mod search;
mod storing;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Extension, Router};
use http::{Method, StatusCode};
use pillion_chassis::event_log::{self, Recorded};
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::sql::query;
use pillion_chassis::testing::{self, Reply, TestDatabase};
use pillion_chassis::{Caller, FakeClock, InProcessPeers, Journal, Json, Problem, Shutdown};
use serde_json::{Value, json};

struct Harness {
    router: Router,
    journal: Journal,
    clock: Arc<FakeClock>,
    peers: Arc<Steps>,
    test: TestDatabase,
    /// Ends the workers when it is dropped.
    shutdown: ShutdownTrigger,
}

/// The steps of the other services: done, unless they are told otherwise.
#[derive(Debug, Default)]
struct Steps {
    refused: Mutex<BTreeMap<String, u16>>,
    asked: Mutex<Vec<String>>,
}

impl Steps {
    /// From now on a call (`PUT rename`) is answered with this status; with 200 it is done.
    fn answer(&self, call: &str, status: u16) {
        self.refused.lock().unwrap().insert(call.to_owned(), status);
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    #[expect(clippy::unused_async, reason = "handlers are")]
    async fn take(
        State(steps): State<Arc<Self>>,
        method: Method,
        Path((_, step)): Path<(String, String)>,
        Json(order): Json<Value>,
    ) -> Response {
        let call = format!("{method} {step}");
        let told = format!("{call} {}", order["data"]["username"].as_str().unwrap());
        steps.asked.lock().unwrap().push(told);
        let status = steps.refused.lock().unwrap().get(&call).copied().unwrap_or(200);
        match StatusCode::from_u16(status).unwrap() {
            StatusCode::OK => Json(json!({ "data": null })).into_response(),
            status => Problem::plain(status, format!("no {step}")).into_response(),
        }
    }
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
        let steps = Arc::new(Steps::default());
        let peers = Arc::new(InProcessPeers::new());
        for service in ["identity", "search"] {
            let template = "/internal/sagas/{saga_id}/steps/{step}";
            let router = Router::new().route(template, put(Steps::take).delete(Steps::take));
            peers.register(service, router.with_state(steps.clone()));
        }
        let service = crate::service(testing::deps(&test.database, &clock, &peers)).await.unwrap();
        let by_itself = Extension(testing::by_service("users"));
        peers.register("users", service.router.clone().layer(by_itself));
        let (trigger, shutdown) = Shutdown::new();
        for worker in service.workers {
            tokio::spawn(worker.run(shutdown.clone()));
        }
        let journal = service.journal.unwrap();
        Self { router: service.router, journal, clock, peers: steps, test, shutdown: trigger }
    }

    async fn restart(mut self) -> Self {
        drop(self.shutdown);
        self.test.reopen().await;
        Self::start(self.test, self.clock).await
    }

    async fn send(&self, method: &str, path: &str, caller: Option<Caller>, body: &str) -> Reply {
        testing::send(&self.router, testing::request(method, path, caller, body)).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None, "").await
    }

    /// Asks for a step of a saga.
    async fn step(&self, saga_id: i64, step: &str, data: &Value) -> Reply {
        self.order("PUT", saga_id, step, data).await
    }

    /// Asks to take it back.
    async fn undo(&self, saga_id: i64, step: &str, data: &Value) -> Reply {
        self.order("DELETE", saga_id, step, data).await
    }

    async fn order(&self, method: &str, saga_id: i64, step: &str, data: &Value) -> Reply {
        let saga = match step {
            "reserve_handle" | "create_profile" | "activate" => "register_account",
            "deactivate" | "purge" => "deactivate_account",
            _ => "change_handle",
        };
        let kind =
            if matches!(step, "activate" | "purge" | "swap") { "pivot" } else { "compensated" };
        let body = json!({ "saga": saga, "kind": kind, "data": data }).to_string();
        let path = format!("/internal/sagas/{saga_id}/steps/{step}");
        self.send(method, &path, Some(identity()), &body).await
    }

    /// Takes the steps of a registration; the answer of the first one that is refused, which is
    /// taken back then with those before it.
    async fn register(&self, id: u64, profile: &Value) -> Reply {
        let data = registration(id, profile);
        let saga_id = next_saga();
        let steps = ["reserve_handle", "create_profile", "activate"];
        for (index, step) in steps.into_iter().enumerate() {
            let reply = self.step(saga_id, step, &data).await;
            if reply.status != 200 {
                for step in steps[..=index].iter().rev() {
                    assert_eq!(self.undo(saga_id, step, &data).await.status, 200);
                }
                return reply;
            }
        }
        self.get(&format!("/2/users/{id}")).await
    }

    /// Takes a step of a deactivation.
    async fn end(&self, step: &str, id: u64) -> i64 {
        let saga_id = next_saga();
        let reply = self.step(saga_id, step, &json!({ "user_id": id.to_string() })).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        saga_id
    }

    async fn change(&self, id: u64, body: &Value) -> Reply {
        let path = "/pillion/v1/account/profile";
        self.send("POST", path, Some(user(id)), &body.to_string()).await
    }

    /// Changes a handle.
    async fn rename(&self, id: u64, username: &str) -> Reply {
        let body = json!({ "username": username }).to_string();
        self.send("POST", "/pillion/v1/account/username", Some(user(id)), &body).await
    }

    async fn events(&self) -> Vec<Recorded> {
        let events = event_log::read_after(&self.test.database, crate::NAME, 0, 1_000).await;
        self.journal.plain(&events.unwrap()).await.unwrap()
    }

    /// The names of the events.
    async fn told(&self) -> Vec<String> {
        self.events().await.into_iter().map(|event| event.name).collect()
    }

    /// Waits until no saga of the service is under way.
    async fn settled(&self) {
        let unfinished =
            || query("SELECT count(*) FROM saga WHERE state NOT IN ('completed', 'compensated')");
        for _ in 0..200 {
            let (left,) = unfinished().fetch_one::<(i64,)>(&self.test.database).await.unwrap();
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a saga does not end");
    }

    /// What is reserved or kept aside.
    async fn set_aside(&self) -> i64 {
        let count = query(
            "SELECT (SELECT count(*) FROM handle_reservation)
                  + (SELECT count(*) FROM profile_draft)",
        );
        count.fetch_one::<(i64,)>(&self.test.database).await.unwrap().0
    }
}

/// A saga that no other test has.
fn next_saga() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a registration knows.
fn registration(id: u64, profile: &Value) -> Value {
    let mut data = profile.clone();
    data["user_id"] = id.to_string().into();
    data
}

fn identity() -> Caller {
    testing::by_service("identity")
}

fn user(id: u64) -> Caller {
    testing::caller(Some(id), "users.read tweet.read account.write")
}

fn jack() -> Value {
    json!({"username": "Jack", "name": "jack", "description": "hi", "url": "https://example.com"})
}
