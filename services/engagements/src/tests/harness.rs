//! The service with a clock that stands still, and tweets, graph and users services that know
//! what a test tells them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query};
use axum::routing::get;
use axum::{Extension, Router};
use http::HeaderMap;
use pillion_chassis::testing::{self, Reply, TestDatabase, told};
use pillion_chassis::{
    Caller, Clock as _, Database, FakeClock, InProcessPeers, Journal, Json, Recorded, event_log,
};
use pillion_events::{EngagementEvent, Event, UserEvent};
use serde_json::{Value, json};

pub(super) const ANN: u64 = 11;
pub(super) const BOB: u64 = 12;
pub(super) const CID: u64 = 13;
/// An account that was deleted; its tokens still verify.
pub(super) const GONE: u64 = 99;
/// Bob's tweets.
pub(super) const HELLO: u64 = 201;
pub(super) const AGAIN: u64 = 202;
/// Ann's tweet.
pub(super) const MINE: u64 = 203;
/// There is no such tweet.
pub(super) const NO_TWEET: u64 = 299;

/// Runs a test on a service of its own on each back end.
pub(super) async fn on_each(test: impl AsyncFn(Harness)) {
    testing::on_each(Harness::start, test).await;
}

/// What the other services know.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Tweets and their authors.
    tweets: HashMap<u64, u64>,
    /// Retweets as the tweets service shows them: the source and who retweets.
    retweets: HashMap<u64, (u64, u64)>,
    /// Why somebody (whose token carries the number) does not see a user.
    reasons: HashMap<(u64, u64), &'static str>,
    accounts: Vec<u64>,
    /// The calls so far, as `service path?query`.
    calls: Vec<String>,
}

pub(super) struct Harness {
    pub(super) router: Router,
    pub(super) journal: Journal,
    pub(super) clock: Arc<FakeClock>,
    pub(super) peers: Arc<InProcessPeers>,
    world: Arc<Mutex<World>>,
    delivered: Mutex<Vec<Recorded>>,
    _test: TestDatabase,
}

impl Harness {
    async fn start(test: TestDatabase) -> Self {
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        let world = Arc::new(Mutex::new(World {
            tweets: HashMap::from([(HELLO, BOB), (AGAIN, BOB), (MINE, ANN)]),
            accounts: vec![ANN, BOB, CID],
            ..World::default()
        }));
        let peers = Arc::new(InProcessPeers::new());
        for (name, router) in [("tweets", tweets()), ("graph", graph()), ("users", users())] {
            peers.register(name, router.layer(Extension(world.clone())));
        }
        let (router, journal) = start(&test.database, &clock, &peers).await;
        let delivered = Mutex::default();
        Self { router, journal, clock, peers, world, delivered, _test: test }
    }

    /// The service starts anew on its database.
    pub(super) async fn restart(mut self) -> Self {
        (self.router, self.journal) =
            start(self.journal.database(), &self.clock, &self.peers).await;
        self
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

    /// `what` is `likes`, `retweets` or `bookmarks`.
    pub(super) async fn begin(&self, by: u64, what: &str, tweet: u64) -> Reply {
        let body = json!({"tweet_id": tweet.to_string()}).to_string();
        self.send("POST", &format!("/2/users/{by}/{what}"), by, &body).await
    }

    pub(super) async fn end(&self, by: u64, what: &str, tweet: u64) -> Reply {
        self.send("DELETE", &format!("/2/users/{by}/{what}/{tweet}"), by, "").await
    }

    pub(super) async fn like(&self, by: u64, tweet: u64) {
        assert_eq!(*self.begin(by, "likes", tweet).await.data(), json!({"liked": true}));
    }

    pub(super) async fn bookmark(&self, by: u64, tweet: u64) {
        assert_eq!(*self.begin(by, "bookmarks", tweet).await.data(), json!({"bookmarked": true}));
    }

    /// The retweet's id.
    pub(super) async fn retweet(&self, by: u64, tweet: u64) -> u64 {
        let reply = self.begin(by, "retweets", tweet).await;
        assert_eq!(reply.data()["retweeted"], true);
        reply.data()["id"].as_str().unwrap().parse().unwrap()
    }

    /// Likes, retweets and bookmarks of a tweet.
    pub(super) async fn counts(&self, tweet: u64) -> [i64; 3] {
        let reply = self.get(ANN, &format!("/internal/counts?tweets={tweet}")).await;
        let counts = &reply.data()[0];
        ["like_count", "retweet_count", "bookmark_count"]
            .map(|name| counts[name].as_i64().unwrap_or_default())
    }

    /// How many tweets a user likes.
    pub(super) async fn likes(&self, user: u64) -> i64 {
        let reply = self.get(ANN, &format!("/internal/like_counts?users={user}")).await;
        reply.data()[0]["like_count"].as_i64().unwrap()
    }

    /// Settles some of an account, as the worker does; whether there was one to settle.
    pub(super) async fn settle_some(&self) -> bool {
        let store = crate::store::Store::new(self.journal.clone());
        store.settle_some(self.clock.now()).await.unwrap()
    }

    /// The service's own events.
    pub(super) async fn events(&self) -> Vec<EngagementEvent> {
        let events = event_log::read_after(self.journal.database(), crate::NAME, 0, 10_000);
        events.await.unwrap().iter().map(|event| event.decode().unwrap()).collect()
    }

    /// The names of the service's own events.
    pub(super) async fn event_names(&self) -> Vec<&'static str> {
        self.events().await.iter().map(Event::name).collect()
    }

    /// The calls of other services since this was last asked.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().unwrap().calls)
    }

    pub(super) fn add_account(&self, user: u64) {
        self.world.lock().unwrap().accounts.push(user);
    }

    pub(super) fn add_tweet(&self, tweet: u64, author: u64) {
        self.world.lock().unwrap().tweets.insert(tweet, author);
    }

    /// The tweets service shows a retweet.
    pub(super) fn show_retweet(&self, retweet: u64, source: u64, by: u64) {
        self.world.lock().unwrap().retweets.insert(retweet, (source, by));
    }

    /// The graph service gives a reason, or none.
    pub(super) fn hide(&self, user: u64, from: u64, reason: Option<&'static str>) {
        let reasons = &mut self.world.lock().unwrap().reasons;
        match reason {
            Some(reason) => reasons.insert((from, user), reason),
            None => reasons.remove(&(from, user)),
        };
    }

    /// The tweets service deletes a tweet and tells of it.
    pub(super) async fn delete_tweet(&self, tweet: u64, author: u64) {
        self.world.lock().unwrap().tweets.remove(&tweet);
        self.tell_of_deleted_tweet(tweet, author).await;
    }

    /// The tweets service tells that a tweet is gone.
    pub(super) async fn tell_of_deleted_tweet(&self, tweet: u64, author: u64) {
        self.deliver("tweets", told::tweet_deleted(tweet, author, self.clock.now())).await;
    }

    /// The users service tells of a new account.
    pub(super) async fn register(&self, user: u64) {
        self.add_account(user);
        let event = told::registered(user, &format!("user{user}"), self.clock.now());
        self.deliver("users", event).await;
    }

    /// The users service tells that an account is protected, or public.
    pub(super) async fn protect(&self, user: u64, protected: bool) {
        self.deliver("users", told::protected(user, protected, self.clock.now())).await;
    }

    /// The users service tells that an account is gone.
    pub(super) async fn tell_of_deleted_account(&self, user: u64) {
        self.deliver("users", told::user_deleted(user, self.clock.now())).await;
    }

    /// The users service tells of something.
    pub(super) async fn hear(&self, event: UserEvent) {
        self.deliver("users", event).await;
    }

    async fn deliver<E: Event>(&self, source: &str, event: E) {
        let at = self.clock.now();
        let recorded = testing::deliver(&self.journal, source, "stream", &event, at).await;
        self.delivered.lock().unwrap().push(recorded);
    }

    /// Asserts that the tables are what a fold of all events makes of them.
    pub(super) async fn assert_rebuilds(&self) {
        let delivered = self.delivered.lock().unwrap().clone();
        testing::assert_rebuilds(&self.journal, &delivered).await;
    }
}

async fn start(
    database: &Database,
    clock: &Arc<FakeClock>,
    peers: &Arc<InProcessPeers>,
) -> (Router, Journal) {
    let deps = testing::deps(database, clock, peers);
    let service = crate::service(deps).await.unwrap();
    (service.router, service.journal.unwrap())
}

type Shared = Extension<Arc<Mutex<World>>>;

/// Notes the call; who calls.
fn note(world: &mut World, call: String, headers: &HeaderMap) -> u64 {
    world.calls.push(call);
    testing::by(headers)
}

fn tweets() -> Router {
    let handler = async |Extension(world): Shared,
                         Query(query): Query<HashMap<String, String>>,
                         headers: HeaderMap| {
        let world = &mut *world.lock().unwrap();
        let ids = &query["ids"];
        note(world, format!("tweets {ids}"), &headers);
        assert_eq!(query["tweet.fields"], "author_id,referenced_tweets");
        let found: Vec<Value> = ids
            .split(',')
            .filter_map(|id| {
                let number: u64 = id.parse().unwrap();
                if let Some(author) = world.tweets.get(&number) {
                    let author = author.to_string();
                    return Some(json!({"id": id, "author_id": author, "_authors": [author]}));
                }
                let (source, by) = world.retweets.get(&number)?;
                let (by, author) = (by.to_string(), world.tweets.get(source)?.to_string());
                Some(json!({
                    "id": id,
                    "author_id": by,
                    "referenced_tweets": [{"type": "retweeted", "id": source.to_string()}],
                    "_authors": [by, author],
                }))
            })
            .collect();
        Json(if found.is_empty() { json!({}) } else { json!({"data": found}) })
    };
    Router::new().route("/internal/tweets", get(handler))
}

fn graph() -> Router {
    let handler = async |Extension(world): Shared,
                         Query(query): Query<HashMap<String, String>>,
                         headers: HeaderMap| {
        let world = &mut *world.lock().unwrap();
        let users = &query["users"];
        let by = note(world, format!("graph {users}"), &headers);
        let hidden: Vec<Value> = users
            .split(',')
            .filter_map(|id| {
                let reason = world.reasons.get(&(by, id.parse().unwrap()))?;
                Some(json!({"id": id, "reason": reason}))
            })
            .collect();
        Json(if hidden.is_empty() { json!({}) } else { json!({"data": hidden}) })
    };
    Router::new().route("/internal/visibility", get(handler))
}

fn users() -> Router {
    let handler = async |Extension(world): Shared, Path(id): Path<u64>, headers: HeaderMap| {
        let world = &mut *world.lock().unwrap();
        note(world, format!("users {id}"), &headers);
        Json(if world.accounts.contains(&id) {
            json!({"data": {"id": id.to_string()}})
        } else {
            json!({"errors": [{"value": id.to_string()}]})
        })
    };
    Router::new().route("/2/users/{id}", get(handler))
}
