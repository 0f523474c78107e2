//! Sagas over three services whose calls fail in every way, on both back ends: each ends, and every
//! effect is there once, or was taken back once.

mod faults;
mod leases;
mod operator;
mod steps;
mod waits;

use std::collections::{BTreeMap, HashMap, VecDeque};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::clock::{FakeClock, Timestamp};
use crate::database::tests::migrations;
use crate::peers::PeerError;
use crate::routes::Routes;
use crate::sql::query;
use crate::testing::{BACKENDS, TestDatabase, by_service, migrated, service_tokens};

const EFFECTS: &str = "CREATE TABLE effect (
    saga_id BIGINT NOT NULL, step TEXT NOT NULL, done BIGINT NOT NULL, undone BIGINT NOT NULL,
    PRIMARY KEY (saga_id, step))";

/// One of each kind, here and elsewhere.
static TRIP: Saga = Saga {
    name: "trip",
    steps: &[
        Step::compensated("alpha", "open"),
        Step::compensated("beta", "reserve").shows(&["name", "nights", "missing"]),
        Step::plain("gamma", "check"),
        Step::compensated("gamma", "hold"),
        Step::pivot("beta", "book"),
        Step::retried("alpha", "close"),
        Step::retried("gamma", "tell"),
    ],
};

/// With a wait that ends by itself in going on.
static GRACE: Saga = Saga {
    name: "grace",
    steps: &[
        Step::compensated("beta", "hide"),
        Step::wait("grace", "due", OnTimer::Proceed),
        Step::pivot("alpha", "purge"),
    ],
};

/// With a wait that ends by itself in being taken back.
static QUESTION: Saga = Saga {
    name: "question",
    steps: &[
        Step::compensated("alpha", "ask"),
        Step::wait("answer", "due", OnTimer::Compensate),
        Step::pivot("alpha", "agree"),
        Step::retried("beta", "tell"),
    ],
};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// It does not get there.
    Unreachable,
    /// It is done, and its answer is lost.
    AnswerLost,
    /// It gets there much later: see [`Script::deliver_late`].
    Late,
    /// It gets there twice.
    Twice,
    /// Something in front of the service answers with this status.
    Instead(u16),
    /// Something refuses with more words than anybody reads.
    Verbosely,
    /// The caller's process ends before it is sent, or after it was done.
    CrashBefore,
    CrashAfter,
}

/// Two services, and what becomes of the calls to them: of those that nothing is planned for, what
/// should.
#[derive(Debug, Default)]
struct Script {
    routers: Mutex<HashMap<&'static str, Router>>,
    plan: Mutex<HashMap<String, VecDeque<Act>>>,
    late: Mutex<Vec<(String, http::request::Parts, Bytes)>>,
    /// `PUT beta.reserve?name=ann`.
    calls: Mutex<Vec<String>>,
}

impl Script {
    fn plan(&self, call: &str, acts: &[Act]) {
        self.plan.lock().unwrap().entry(call.to_owned()).or_default().extend(acts);
    }

    async fn send(
        &self,
        service: &str,
        parts: http::request::Parts,
        body: Bytes,
    ) -> Response<Body> {
        let router = self.routers.lock().unwrap()[service].clone();
        let mut request = Request::from_parts(parts, Body::from(body));
        assert!(request.headers()["authorization"].to_str().unwrap().starts_with("Bearer ey"));
        request.extensions_mut().insert(by_service("alpha"));
        router.oneshot(request).await.unwrap()
    }

    async fn deliver_late(&self) -> Vec<u16> {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        let mut answers = Vec::new();
        for (service, parts, body) in late {
            answers.push(self.send(&service, parts, body).await.status().as_u16());
        }
        answers
    }
}

#[async_trait]
impl Peers for Script {
    async fn call(
        &self,
        service: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, PeerError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path_and_query().unwrap().as_str();
        let step = path.rsplit('/').next().unwrap();
        let call = format!("{} {service}.{step}", parts.method);
        self.calls.lock().unwrap().push(call.clone());
        let plain = call.split('?').next().unwrap();
        let act = self.plan.lock().unwrap().get_mut(plain).and_then(VecDeque::pop_front);
        let timed_out = || Err(PeerError::TimedOut(service.to_owned()));
        match act {
            None => Ok(self.send(service, parts, body).await),
            Some(Act::Unreachable) => Err(PeerError::Unreachable {
                service: service.to_owned(),
                source: "on purpose".into(),
            }),
            Some(Act::AnswerLost) => {
                self.send(service, parts, body).await;
                timed_out()
            }
            Some(Act::Late) => {
                self.late.lock().unwrap().push((service.to_owned(), parts, body));
                timed_out()
            }
            Some(Act::Twice) => {
                self.send(service, parts.clone(), body.clone()).await;
                Ok(self.send(service, parts, body).await)
            }
            Some(Act::Instead(status)) => {
                let document = json!({ "title": "In front", "detail": "no", "status": status });
                let response = Response::builder().status(status);
                Ok(response.body(Body::from(document.to_string())).unwrap())
            }
            Some(Act::Verbosely) => {
                let document = json!({ "detail": "no".repeat(1_000_000), "status": 403 });
                let response = Response::builder().status(403);
                Ok(response.body(Body::from(document.to_string())).unwrap())
            }
            Some(Act::CrashBefore) => panic!("on purpose: {call}"),
            Some(Act::CrashAfter) => {
                self.send(service, parts, body).await;
                panic!("on purpose: {call}")
            }
        }
    }
}

/// What a service's steps do: they count themselves.
#[derive(Debug, Default)]
struct Counter {
    /// `book` refuses when this says so; `undo book` when taking it back does.
    refusing: Mutex<Vec<&'static str>>,
    /// So many times.
    failing: Mutex<HashMap<&'static str, u32>>,
}

impl Counter {
    fn fail(&self, what: &'static str, times: u32) {
        self.failing.lock().unwrap().insert(what, times);
    }

    fn mood(&self, what: &str) -> Result<(), StepError> {
        if let Some(left) = self.failing.lock().unwrap().get_mut(what)
            && *left > 0
        {
            *left -= 1;
            return Err(StepError::Failed(Problem::unavailable("not yet", 1)));
        }
        if self.refusing.lock().unwrap().contains(&what) {
            let problem = Problem::conflict(format!("{what} is taken")).with("mood", "bad");
            return Err(StepError::Refused(problem));
        }
        Ok(())
    }
}

/// One of the steps has two names.
fn effect_of(command: &Command) -> &str {
    if command.step == "inquire" { "ask" } else { &command.step }
}

#[async_trait]
impl Participant for Counter {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        query(
            "INSERT INTO effect (saga_id, step, done, undone) VALUES ($1, $2, 1, 0)
             ON CONFLICT (saga_id, step) DO UPDATE SET done = effect.done + 1",
        )
        .bind(command.saga_id.get())
        .bind(effect_of(command))
        .execute(&mut *transaction)
        .await?;
        // What a step did before it refuses or fails is undone.
        self.mood(&command.step)?;
        Ok(match command.step.as_str() {
            "reserve" => json!({ "room": 7 }),
            "book" => json!(command.data["room"]),
            _ => Value::Null,
        })
    }

    async fn compensate(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<(), StepError> {
        query("UPDATE effect SET undone = undone + 1 WHERE saga_id = $1 AND step = $2")
            .bind(command.saga_id.get())
            .bind(effect_of(command))
            .execute(&mut *transaction)
            .await?;
        self.mood(&format!("undo {}", command.step))
    }
}

/// Three services, of which alpha conducts.
struct World {
    sagas: Sagas,
    deps: SagaDeps,
    clock: Arc<FakeClock>,
    script: Arc<Script>,
    counters: HashMap<&'static str, Arc<Counter>>,
    databases: HashMap<&'static str, TestDatabase>,
}

const SERVICES: [&str; 3] = ["alpha", "beta", "gamma"];

impl World {
    async fn new(backend: crate::Backend) -> Self {
        let clock = Arc::new(FakeClock::at("2026-01-01T00:00:00.000Z".parse().unwrap()));
        let script = Arc::new(Script::default());
        let (mut counters, mut databases) = (HashMap::new(), HashMap::new());
        for service in SERVICES {
            let test = migrated(backend, &migrations(&[(1, EFFECTS)])).await;
            let counter = Arc::new(Counter::default());
            let database = test.database.clone();
            let routes = participate(Routes::new(), database, clock.clone(), counter.clone());
            script.routers.lock().unwrap().insert(service, routes.finish(()).0);
            counters.insert(service, counter);
            databases.insert(service, test);
        }
        let deps = SagaDeps {
            service: "alpha",
            database: databases["alpha"].database.clone(),
            peers: script.clone(),
            clock: clock.clone(),
            ids: Arc::new(Ids::new(clock.clone(), 1).unwrap()),
            tokens: service_tokens("alpha", clock.clone()),
        };
        let sagas = Sagas::new(deps.clone(), &[&TRIP, &GRACE, &QUESTION]);
        Self { sagas, deps, clock, script, counters, databases }
    }

    /// The same sagas in another process.
    fn another(&self) -> Sagas {
        Sagas::new(self.deps.clone(), &[&TRIP, &GRACE, &QUESTION])
    }

    async fn start(&self, saga: &'static Saga, key: &str, data: Value) -> SagaId {
        let mut transaction = self.deps.database.write().await.unwrap();
        let id = self.sagas.start(&mut transaction, saga, key, data).await.unwrap();
        transaction.commit().await.unwrap();
        id
    }

    async fn trip(&self) -> SagaId {
        self.start(&TRIP, "ann", json!({ "name": "ann & co", "nights": 2 })).await
    }

    async fn signal(&self, saga: &'static Saga, key: &str, signal: Signal<'_>) -> Signalled {
        let mut transaction = self.deps.database.write().await.unwrap();
        let signalled = self.sagas.signal(&mut transaction, saga, key, signal).await.unwrap();
        transaction.commit().await.unwrap();
        signalled
    }

    async fn state(&self, id: SagaId) -> State {
        log::find(&self.deps.database, id).await.unwrap().unwrap().state().unwrap()
    }

    /// Lets time pass until the saga is at its end or parked. How many seconds that took.
    async fn settle(&self, id: SagaId) -> (State, u64) {
        for second in 0..600 {
            self.sagas.run_until_idle().await;
            let state = self.state(id).await;
            if !matches!(state, State::Running | State::Waiting | State::Compensating) {
                return (state, second);
            }
            self.clock.advance(Duration::from_secs(1));
        }
        let shown = self.sagas.show(id).await.unwrap();
        panic!("it does not end: {}", serde_json::to_string_pretty(&shown).unwrap());
    }

    /// How often each step of a saga was done and taken back.
    async fn effects(&self, id: SagaId) -> BTreeMap<String, (i64, i64)> {
        let mut effects = BTreeMap::new();
        for service in SERVICES {
            let rows: Vec<(String, i64, i64)> =
                query("SELECT step, done, undone FROM effect WHERE saga_id = $1")
                    .bind(id.get())
                    .fetch_all(&self.databases[service].database)
                    .await
                    .unwrap();
            let rows = rows.into_iter();
            effects.extend(
                rows.map(|(step, done, undone)| (format!("{service}.{step}"), (done, undone))),
            );
        }
        effects
    }

    /// Every effect is there once, or was taken back once, as the saga's end says.
    async fn is_whole(&self, saga: &Saga, id: SagaId) {
        let effects = self.effects(id).await;
        let state = self.state(id).await;
        for step in saga.steps {
            let effect = effects.get(&step.full_name()).copied().unwrap_or((0, 0));
            let allowed: &[(i64, i64)] = match (state, step.kind) {
                (_, Kind::Wait { .. }) => &[(0, 0)],
                (State::Completed, _) => &[(1, 0)],
                (State::Compensated, Kind::Compensated) => &[(0, 0), (1, 1)],
                (State::Compensated, Kind::Plain) => &[(0, 0), (1, 0)],
                (State::Compensated, _) => &[(0, 0)],
                other => panic!("it is not at its end: {other:?}"),
            };
            assert!(allowed.contains(&effect), "{}: {effect:?}: {effects:?}", step.full_name());
        }
        let row = log::find(&self.deps.database, id).await.unwrap().unwrap();
        assert_eq!(row.data().unwrap(), json!({}), "what it carried is forgotten");
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.script.calls.lock().unwrap())
    }

    /// What its journal says of each step.
    async fn journal(&self, id: SagaId) -> Vec<String> {
        let shown = self.sagas.show(id).await.unwrap().unwrap();
        let line = |entry: Entry| format!("{} {}", entry.step, entry.what).trim().to_owned();
        shown.journal.into_iter().map(line).collect()
    }
}

fn later(seconds: i64) -> i64 {
    let start: Timestamp = "2026-01-01T00:00:00.000Z".parse().unwrap();
    start.as_micros() + seconds * 1_000_000
}
