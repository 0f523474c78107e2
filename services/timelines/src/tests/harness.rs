//! The service on a fresh database, fed with other services' events.

use std::sync::{Arc, Mutex};

use axum::Router;
use pillion_chassis::testing::told::{self, tweet, user};
use pillion_chassis::testing::{self, BACKENDS, Reply, TestDatabase};
use pillion_chassis::{Backend, Caller, FakeClock, InProcessPeers, Journal, Recorded, Timestamp};
use pillion_events::{
    EngagementEvent, Event, GraphEvent, Mention, Relation, Retweet, TweetEvent, TweetPosted,
    TweetRef,
};
use serde_json::Value;

use crate::{Config, Limits};

pub(super) const AT: Timestamp = Timestamp::from_micros(1_782_900_001_000_000);

pub(super) struct Harness {
    pub(super) test: TestDatabase,
    pub(super) journal: Journal,
    router: Router,
    delivered: Mutex<Vec<Recorded>>,
}

/// A tweet that answers and mentions nobody.
pub(super) fn post(id: u64, author: u64) -> TweetPosted {
    told::posted(id, author, AT)
}

pub(super) fn relation(user_id: u64, target: u64) -> Relation {
    Relation { user_id: user(user_id), target_user_id: user(target), at: AT }
}

impl Harness {
    /// The service on each back end; authors with more than three followers are merged at read.
    pub(super) async fn on_both() -> Vec<Self> {
        let mut both = Vec::new();
        for backend in BACKENDS {
            both.push(Self::start(backend, Config { fanout_followers_max: 3 }).await);
        }
        both
    }

    pub(super) async fn start(backend: Backend, config: Config) -> Self {
        Self::limited(backend, config, Limits::default()).await
    }

    /// The service with other limits than it has for users.
    pub(super) async fn limited(backend: Backend, config: Config, limits: Limits) -> Self {
        let test = testing::empty(backend).await;
        let clock = Arc::new(FakeClock::at(AT));
        let deps = testing::deps(&test.database, &clock, &Arc::new(InProcessPeers::new()));
        let service = crate::limited(deps, config, limits).await.unwrap();
        let journal = service.journal.unwrap();
        Self { test, journal, router: service.router, delivered: Mutex::default() }
    }

    pub(super) async fn deliver<E: Event>(&self, source: &str, event: &E) {
        let recorded = testing::deliver(&self.journal, source, "some/1", event, AT).await;
        self.delivered.lock().unwrap().push(recorded);
    }

    pub(super) async fn post(&self, id: u64, author: u64) {
        self.posted(post(id, author)).await;
    }

    pub(super) async fn posted(&self, posted: TweetPosted) {
        self.deliver("tweets", &TweetEvent::Posted(posted)).await;
    }

    pub(super) async fn reply(&self, id: u64, author: u64, to: (u64, u64)) {
        let (to_id, to_author) = to;
        let replied_to = TweetRef { tweet_id: tweet(to_id), author_id: user(to_author) };
        self.posted(TweetPosted { replied_to: Some(replied_to), ..post(id, author) }).await;
    }

    pub(super) async fn mention(&self, id: u64, author: u64, users: &[u64]) {
        let mention = |id: &u64| Mention { user_id: user(*id), username: format!("u{id}") };
        let mentions = users.iter().map(mention).collect();
        self.posted(TweetPosted { mentions, ..post(id, author) }).await;
    }

    pub(super) async fn delete(&self, id: u64, author: u64) {
        self.deliver("tweets", &told::tweet_deleted(id, author, AT)).await;
    }

    pub(super) async fn retweet(&self, id: u64, by: u64, of: (u64, u64)) {
        self.deliver("engagements", &EngagementEvent::Retweeted(retweet(id, by, of))).await;
    }

    pub(super) async fn unretweet(&self, id: u64, by: u64, of: (u64, u64)) {
        self.deliver("engagements", &EngagementEvent::Unretweeted(retweet(id, by, of))).await;
    }

    pub(super) async fn follow(&self, one: u64, two: u64) {
        self.deliver("graph", &GraphEvent::Followed(relation(one, two))).await;
    }

    pub(super) async fn unfollow(&self, one: u64, two: u64) {
        self.deliver("graph", &GraphEvent::Unfollowed(relation(one, two))).await;
    }

    pub(super) async fn block(&self, one: u64, two: u64) {
        self.deliver("graph", &GraphEvent::Blocked(relation(one, two))).await;
    }

    pub(super) async fn register(&self, id: u64) {
        self.deliver("users", &told::registered(id, &format!("u{id}"), AT)).await;
    }

    /// A user is deleted, and nothing is left.
    pub(super) async fn delete_user(&self, id: u64) {
        self.deliver("users", &told::user_deleted(id, AT)).await;
        while self.settle_some().await {}
    }

    /// Lets some of a deleted user go, as the worker does; whether something was left of one.
    pub(super) async fn settle_some(&self) -> bool {
        crate::settle::settle_some(&self.journal, AT).await.unwrap()
    }

    /// Does a step of a saga.
    pub(super) async fn step(&self, saga: i64, step: &str, data: &Value) -> Reply {
        testing::do_step(&self.router, saga, step, data).await
    }

    /// Takes it back.
    pub(super) async fn undo(&self, saga: i64, step: &str, data: &Value) -> Reply {
        testing::undo_step(&self.router, saga, step, data).await
    }

    pub(super) async fn get_as(&self, caller: Option<Caller>, path: &str) -> Reply {
        testing::send(&self.router, testing::request("GET", path, caller, "")).await
    }

    pub(super) async fn get(&self, by: u64, path: &str) -> Reply {
        self.get_as(Some(caller(Some(by))), path).await
    }

    /// A page of a user's home.
    pub(super) async fn page(&self, by: u64, query: &str) -> Reply {
        self.get(by, &format!("/2/users/{by}/timelines/reverse_chronological?{query}")).await
    }

    /// All of a user's home, page by page.
    pub(super) async fn home(&self, by: u64) -> Vec<u64> {
        let mut ids = Vec::new();
        let mut token = String::new();
        loop {
            let page = self.page(by, &format!("max_results=100{token}")).await;
            ids.extend(page.ids());
            match page.token("next_token") {
                Some(next) => token = format!("&pagination_token={next}"),
                None => return ids,
            }
        }
    }

    /// The latest hundred of a user's mentions.
    pub(super) async fn mentions(&self, of: u64) -> Vec<u64> {
        self.get(of, &format!("/2/users/{of}/mentions?max_results=100")).await.ids()
    }

    /// Makes the tables again from all that was delivered; they must be what they were.
    pub(super) async fn check_rebuild(&self) {
        let delivered = self.delivered.lock().unwrap().clone();
        testing::assert_rebuilds(&self.journal, &delivered).await;
    }
}

pub(super) fn caller(user_id: Option<u64>) -> Caller {
    testing::caller(user_id, "tweet.read users.read")
}

pub(super) fn retweet(id: u64, by: u64, of: (u64, u64)) -> Retweet {
    let (of_id, of_author) = of;
    Retweet {
        retweet_id: tweet(id),
        user_id: user(by),
        tweet_id: tweet(of_id),
        author_id: user(of_author),
        at: AT,
    }
}
