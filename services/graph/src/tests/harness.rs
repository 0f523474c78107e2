//! The service with a clock that stands still, a users service that knows a few accounts, and
//! others that do their steps of sagas as they are told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Query;
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, StatusCode};
use pillion_chassis::page::PageTokens;
use pillion_chassis::saga::{Sagas, State};
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::testing::{self, Reply, TestDatabase, told};
use pillion_chassis::{
    Caller, Clock as _, Database, FakeClock, InProcessPeers, Journal, Json, Recorded, Shutdown,
    SystemRandom, event_log,
};
use pillion_events::{GraphAccountEvent, GraphEvent, Relation, UserEvent};
use serde_json::{Value, json};

use super::elsewhere::Elsewhere;
use crate::store::{Store, settling};
use crate::{Config, Graph, settle};

pub(super) const ANN: u64 = 11;
pub(super) const BOB: u64 = 12;
pub(super) const CID: u64 = 13;
/// An account that was deleted; its tokens still verify.
pub(super) const GONE: u64 = 99;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on a service of its own on each back end.
pub(super) async fn on_each(test: impl AsyncFn(Harness)) {
    testing::on_each(async |empty| Harness::start(empty, true).await, test).await;
}

/// The same, but accounts are settled only when the test says so.
pub(super) async fn on_each_unsettled(test: impl AsyncFn(Harness)) {
    testing::on_each(async |empty| Harness::start(empty, false).await, test).await;
}

pub(super) struct Harness {
    pub(super) router: Router,
    pub(super) journal: Journal,
    pub(super) clock: Arc<FakeClock>,
    pub(super) peers: Arc<InProcessPeers>,
    pub(super) sagas: Sagas,
    /// The steps of notifications and timelines.
    pub(super) elsewhere: Arc<Elsewhere>,
    /// The accounts of the users service, and whether they are protected.
    accounts: Arc<Mutex<HashMap<u64, bool>>>,
    /// How often the users service was asked.
    asked: Arc<AtomicUsize>,
    delivered: Mutex<Vec<Recorded>>,
    /// Whether accounts are settled without the test's doing.
    settles: bool,
    _workers: ShutdownTrigger,
    test: TestDatabase,
}

impl Harness {
    pub(super) async fn start(test: TestDatabase, settles: bool) -> Self {
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        let peers = Arc::new(InProcessPeers::new());
        let accounts =
            Arc::new(Mutex::new(HashMap::from([(ANN, false), (BOB, false), (CID, false)])));
        let asked = Arc::new(AtomicUsize::new(0));
        peers.register("users", users(accounts.clone(), asked.clone()));
        let elsewhere = Elsewhere::start(&peers, &clock).await;
        let deps = testing::deps(&test.database, &clock, &peers);
        let service = crate::service(deps).await.unwrap();
        let by_itself = Extension(testing::by_service("graph"));
        peers.register("graph", service.router.clone().layer(by_itself));
        let (workers, shutdown) = Shutdown::new();
        for worker in service.workers {
            if settles || worker.name != settle::WORKER {
                tokio::spawn(worker.run(shutdown.clone()));
            }
        }
        Self {
            router: service.router,
            journal: service.journal.unwrap(),
            clock,
            peers,
            sagas: service.sagas.unwrap(),
            elsewhere,
            accounts,
            asked,
            delivered: Mutex::default(),
            settles,
            _workers: workers,
            test,
        }
    }

    /// Waits until this holds.
    pub(super) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        let sagas = self.sagas.list(true).await;
        assert!(waited.is_ok(), "not within {PATIENCE:?}: {what}; sagas: {sagas:?}");
    }

    pub(super) fn database(&self) -> &Database {
        &self.test.database
    }

    /// Settles some of an account, as the worker does; whether there was one to settle.
    pub(super) async fn settle_some(&self) -> bool {
        let pages = PageTokens::load(self.database(), &SystemRandom).await.unwrap();
        let graph = Graph {
            store: Store::new(self.journal.clone()),
            sagas: self.sagas.clone(),
            clock: self.clock.clone(),
            peers: self.peers.clone(),
            pages: Arc::new(pages),
            config: Config::default(),
        };
        settle::settle_some(&graph).await.unwrap()
    }

    /// The states of all sagas, in the order in which they began.
    pub(super) async fn states(&self) -> Vec<State> {
        let mut sagas = self.sagas.list(true).await.unwrap();
        sagas.sort_by_key(|saga| saga.id);
        sagas.into_iter().map(|saga| saga.state).collect()
    }

    /// Waits until the sagas are in these states.
    pub(super) async fn until_states(&self, states: &[State]) {
        self.until(&format!("{states:?}"), async || self.states().await == states).await;
    }

    /// Asks for a step of a saga about an account (`PUT`), or to take it back (`DELETE`).
    pub(super) async fn step(&self, method: &str, saga: i64, step: &str, user: u64) -> Reply {
        let data = json!({"user_id": user.to_string()});
        match method {
            "PUT" => testing::do_step(&self.router, saga, step, &data).await,
            _ => testing::undo_step(&self.router, saga, step, &data).await,
        }
    }

    /// A request as builds made it that had no sagas.
    pub(super) async fn ask_without_saga(&self, by: u64, target: u64) {
        let store = Store::new(self.journal.clone());
        let (user_id, target_user_id) = (told::user(by), told::user(target));
        let relation = Relation { user_id, target_user_id, at: self.clock.now() };
        let mut transaction = store.write().await.unwrap();
        let event = GraphEvent::FollowRequested(relation);
        store.record(&mut transaction, event).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Who asks this user.
    pub(super) async fn requests(&self, of: u64) -> Vec<u64> {
        self.get(of, "/pillion/v1/follow-requests").await.ids()
    }

    pub(super) async fn send(&self, method: &str, path: &str, by: u64, body: &str) -> Reply {
        self.send_as(method, path, Some(testing::caller(Some(by), "")), body).await
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

    pub(super) async fn get(&self, by: u64, path: &str) -> Reply {
        self.send("GET", path, by, "").await
    }

    /// `what` is `following`, `blocking` or `muting`.
    pub(super) async fn begin(&self, by: u64, what: &str, target: u64) -> Reply {
        let body = json!({"target_user_id": target.to_string()}).to_string();
        self.send("POST", &format!("/2/users/{by}/{what}"), by, &body).await
    }

    pub(super) async fn end(&self, by: u64, what: &str, target: u64) -> Reply {
        self.send("DELETE", &format!("/2/users/{by}/{what}/{target}"), by, "").await
    }

    pub(super) async fn follow(&self, by: u64, target: u64) {
        let reply = self.begin(by, "following", target).await;
        assert_eq!(*reply.data(), json!({"following": true, "pending_follow": false}));
    }

    pub(super) async fn ask(&self, by: u64, target: u64) {
        let reply = self.begin(by, "following", target).await;
        assert_eq!(*reply.data(), json!({"following": false, "pending_follow": true}));
    }

    /// `answer` is `accept` or `deny`.
    pub(super) async fn answer(&self, by: u64, answer: &str, requester: u64) -> Reply {
        self.send("POST", &format!("/pillion/v1/follow-requests/{requester}/{answer}"), by, "")
            .await
    }

    /// The list `what` of a user, as somebody sees it.
    pub(super) async fn list(&self, by: u64, of: u64, what: &str) -> Vec<u64> {
        self.get(by, &format!("/2/users/{of}/{what}")).await.ids()
    }

    /// How many follow a user and how many they follow.
    pub(super) async fn counts(&self, user: u64) -> (i64, i64) {
        let reply = self.get(ANN, &format!("/internal/follow_counts?users={user}")).await;
        let counts = &reply.data()[0];
        (counts["followers_count"].as_i64().unwrap(), counts["following_count"].as_i64().unwrap())
    }

    /// Who the caller does not see, and why.
    pub(super) async fn reasons(&self, by: u64, users: &[u64]) -> Vec<(u64, String)> {
        let users: Vec<String> = users.iter().map(u64::to_string).collect();
        let path = format!("/internal/visibility?users={}", users.join(","));
        let reply = self.get(by, &path).await;
        let hidden = reply.data().as_array().cloned().unwrap_or_default();
        hidden
            .iter()
            .map(|user| {
                let id = user["id"].as_str().unwrap().parse().unwrap();
                (id, user["reason"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    /// The service's own events as `name source>target`, or `name account`.
    pub(super) async fn events(&self) -> Vec<String> {
        let events = event_log::read_after(self.journal.database(), crate::NAME, 0, 10_000);
        let events = events.await.unwrap();
        events
            .iter()
            .map(|event| {
                let name = event.name.strip_prefix("graph.").unwrap();
                if let Ok(event) = event.decode::<GraphAccountEvent>() {
                    return format!("{name} {}", event.hiding().user_id);
                }
                let relation = *event.decode::<GraphEvent>().unwrap().relation();
                assert_eq!(event.stream_id, format!("user/{}", relation.user_id));
                format!("{name} {}>{}", relation.user_id, relation.target_user_id)
            })
            .collect()
    }

    /// How often the users service was asked so far.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A new account.
    pub(super) fn add_account(&self, user: u64) {
        self.accounts.lock().unwrap().insert(user, false);
    }

    /// The users service tells of a new account.
    pub(super) async fn register(&self, user: u64) {
        self.add_account(user);
        self.deliver(told::registered(user, &format!("user{user}"), self.clock.now())).await;
    }

    /// An owner protects the account, or makes it public, and the users service tells of it.
    pub(super) async fn protect(&self, user: u64, protected: bool) {
        self.accounts.lock().unwrap().insert(user, protected);
        self.deliver(told::protected(user, protected, self.clock.now())).await;
    }

    /// The users service forgets the account and tells of it.
    pub(super) async fn delete_account(&self, user: u64) {
        self.accounts.lock().unwrap().remove(&user);
        self.tell_of_deletion(user).await;
    }

    /// The users service tells that the account is gone.
    pub(super) async fn tell_of_deletion(&self, user: u64) {
        self.deliver(told::user_deleted(user, self.clock.now())).await;
    }

    async fn deliver(&self, event: UserEvent) {
        let at = self.clock.now();
        let recorded = testing::deliver(&self.journal, "users", "user/1", &event, at).await;
        self.delivered.lock().unwrap().push(recorded);
    }

    /// Asserts that the tables are what a fold of all events makes of them.
    pub(super) async fn assert_rebuilds(&self) {
        if self.settles {
            let is_settled = async || settling::next(self.database()).await.unwrap().is_none();
            self.until("all accounts are settled", is_settled).await;
        }
        let delivered = self.delivered.lock().unwrap().clone();
        testing::assert_rebuilds(&self.journal, &delivered).await;
    }
}

impl Drop for Harness {
    /// The service can call itself, and would otherwise keep its connections to the server until
    /// the last test has ended. The server has no room for so many.
    fn drop(&mut self) {
        self.peers.clear();
    }
}

/// A users service that knows these accounts, and wants the caller's token.
fn users(accounts: Arc<Mutex<HashMap<u64, bool>>>, asked: Arc<AtomicUsize>) -> Router {
    let handler = async move |query: Query<HashMap<String, String>>, headers: HeaderMap| {
        asked.fetch_add(1, Ordering::SeqCst);
        if headers.get("authorization").is_none() {
            return (StatusCode::UNAUTHORIZED, Json(json!({"title": "Unauthorized"})));
        }
        assert_eq!(query["user.fields"], "protected");
        let known = accounts.lock().unwrap();
        let ids = query["ids"].split(',').map(|id| id.parse::<u64>().unwrap());
        let found: Vec<Value> = ids
            .filter_map(|id| Some((id, known.get(&id)?)))
            .map(|(id, protected)| json!({"id": id.to_string(), "protected": protected}))
            .collect();
        let body = if found.is_empty() { json!({"errors": [{}]}) } else { json!({"data": found}) };
        (StatusCode::OK, Json(body))
    };
    Router::new().route("/2/users", get(handler))
}
