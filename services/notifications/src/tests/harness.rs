//! The service on a fresh database, fed with other services' events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use pillion_chassis::testing::told::{self, tweet, user};
use pillion_chassis::testing::{self, BACKENDS, Reply, TestDatabase};
use pillion_chassis::{
    Backend, Caller, Clock, Database, FakeClock, InProcessPeers, Journal, Recorded, Service,
};
use pillion_events::{
    Engagement, EngagementEvent, Event, GraphEvent, Mention, Relation, Retweet, TweetEvent,
    TweetPosted, TweetRef, UserDeactivated, UserEvent, UserReactivated,
};
use serde_json::{Value, json};

use crate::Config;

pub(super) struct Harness {
    pub(super) test: TestDatabase,
    pub(super) clock: Arc<FakeClock>,
    pub(super) journal: Journal,
    pub(super) router: Router,
    delivered: Mutex<Vec<Recorded>>,
}

pub(super) fn caller(user_id: Option<u64>) -> Caller {
    testing::caller(user_id, "notifications.read notifications.write")
}

/// The service once more, as another process has it.
pub(super) async fn serve(database: &Database, clock: &Arc<FakeClock>, config: Config) -> Service {
    let deps = testing::deps(database, clock, &Arc::new(InProcessPeers::new()));
    crate::configured(deps, config).await.unwrap()
}

impl Harness {
    pub(super) async fn on_both() -> Vec<Self> {
        let mut both = Vec::new();
        for backend in BACKENDS {
            both.push(Self::start(backend).await);
        }
        both
    }

    pub(super) async fn start(backend: Backend) -> Self {
        let test = testing::empty(backend).await;
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        let service = serve(&test.database, &clock, Config::default()).await;
        let journal = service.journal.unwrap();
        Self { test, clock, journal, router: service.router, delivered: Mutex::default() }
    }

    /// Delivers an event that was recorded one second after the one before it; its position.
    pub(super) async fn deliver<E: Event>(&self, source: &str, event: &E) -> i64 {
        self.clock.advance(Duration::from_secs(1));
        let at = self.clock.now();
        let recorded = testing::deliver(&self.journal, source, "some/1", event, at).await;
        let position = recorded.position;
        self.delivered.lock().unwrap().push(recorded);
        position
    }

    fn relation(&self, user_id: u64, target: u64) -> Relation {
        Relation { user_id: user(user_id), target_user_id: user(target), at: self.clock.now() }
    }

    pub(super) async fn graph(&self, event: fn(Relation) -> GraphEvent, one: u64, two: u64) -> i64 {
        self.deliver("graph", &event(self.relation(one, two))).await
    }

    /// One asks to follow the other, who is told by the saga of that request; its position.
    pub(super) async fn ask(&self, one: u64, two: u64) -> i64 {
        let position = self.graph(GraphEvent::FollowRequested, one, two).await;
        let told = self.tell(position, one, two).await;
        assert_eq!(told.status, 200, "{}", told.body);
        position
    }

    /// The saga of the request at this position has its target told.
    pub(super) async fn tell(&self, position: i64, one: u64, two: u64) -> Reply {
        self.step("PUT", position, "request", self.request(position, one, two)).await
    }

    /// The saga of the request at this position is taken back.
    pub(super) async fn withdraw(&self, position: i64, one: u64, two: u64) {
        let reply = self.step("DELETE", position, "request", self.request(position, one, two));
        assert_eq!(reply.await.status, 200);
    }

    fn request(&self, position: i64, one: u64, two: u64) -> Value {
        json!({
            "user_id": one.to_string(),
            "target_user_id": two.to_string(),
            "request_position": position,
            "at": self.clock.now(),
            "expires_at": i64::MAX,
        })
    }

    /// Asks for a step of a saga (`PUT`), or to take it back (`DELETE`).
    pub(super) async fn step(&self, method: &str, saga: i64, step: &str, data: Value) -> Reply {
        match method {
            "PUT" => testing::do_step(&self.router, saga, step, &data).await,
            _ => testing::undo_step(&self.router, saga, step, &data).await,
        }
    }

    pub(super) async fn follow(&self, one: u64, two: u64) {
        self.graph(GraphEvent::Followed, one, two).await;
    }

    pub(super) fn engagement(&self, by: u64, of: (u64, u64)) -> Engagement {
        let (of_id, of_author) = of;
        let at = self.clock.now();
        Engagement { user_id: user(by), tweet_id: tweet(of_id), author_id: user(of_author), at }
    }

    pub(super) async fn like(&self, by: u64, of: (u64, u64)) {
        self.deliver("engagements", &EngagementEvent::Liked(self.engagement(by, of))).await;
    }

    pub(super) async fn unlike(&self, by: u64, of: (u64, u64)) {
        self.deliver("engagements", &EngagementEvent::Unliked(self.engagement(by, of))).await;
    }

    pub(super) async fn retweet(
        &self,
        event: fn(Retweet) -> EngagementEvent,
        id: u64,
        by: u64,
        of: (u64, u64),
    ) {
        let Engagement { user_id, tweet_id, author_id, at } = self.engagement(by, of);
        let retweet = Retweet { retweet_id: tweet(id), user_id, tweet_id, author_id, at };
        self.deliver("engagements", &event(retweet)).await;
    }

    pub(super) fn tweet(&self, id: u64, author: u64) -> TweetPosted {
        told::posted(id, author, self.clock.now())
    }

    pub(super) async fn post(&self, posted: TweetPosted) {
        self.deliver("tweets", &TweetEvent::Posted(posted)).await;
    }

    pub(super) async fn mention(&self, id: u64, author: u64, users: &[u64]) {
        let mentions = mentions(users);
        self.post(TweetPosted { mentions, ..self.tweet(id, author) }).await;
    }

    pub(super) async fn delete_tweet(&self, id: u64, author: u64) {
        self.deliver("tweets", &told::tweet_deleted(id, author, self.clock.now())).await;
    }

    pub(super) async fn delete_user(&self, id: u64) {
        self.deliver("users", &told::user_deleted(id, self.clock.now())).await;
    }

    /// The owner deactivates the account, or comes back.
    pub(super) async fn deactivate(&self, id: u64, is_away: bool) {
        let (user_id, at) = (user(id), self.clock.now());
        let event = if is_away {
            UserEvent::Deactivated(UserDeactivated { user_id, at })
        } else {
            UserEvent::Reactivated(UserReactivated { user_id, at })
        };
        self.deliver("users", &event).await;
    }

    pub(super) async fn protect(&self, id: u64, protected: bool) {
        self.deliver("users", &told::protected(id, protected, self.clock.now())).await;
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        caller: Option<Caller>,
        body: &str,
    ) -> Reply {
        testing::send(&self.router, testing::request(method, path, caller, body)).await
    }

    pub(super) async fn get(&self, by: u64, path: &str) -> Reply {
        let path = format!("/pillion/v1/notifications{path}");
        self.send("GET", &path, Some(caller(Some(by))), "").await
    }

    pub(super) async fn mark_read(&self, by: u64, body: &str) -> Reply {
        self.send("POST", "/pillion/v1/notifications/read", Some(caller(Some(by))), body).await
    }

    /// A user's inbox, latest first: kind, actor, and tweet if there is one.
    pub(super) async fn inbox(&self, of: u64) -> Vec<(String, u64, Option<u64>)> {
        let inbox = self.get(of, "?max_results=100").await;
        let number = |value: &Value| value.as_str().map(|text| text.parse().unwrap());
        inbox
            .items()
            .iter()
            .map(|item| {
                let kind = item["type"].as_str().unwrap().to_owned();
                (kind, number(&item["actor_id"]).unwrap(), number(&item["tweet_id"]))
            })
            .collect()
    }

    pub(super) async fn unread(&self, of: u64) -> i64 {
        self.get(of, "/unread_count").await.body["data"]["unread_count"].as_i64().unwrap()
    }

    /// Makes the tables again from all that was delivered; they must be what they were.
    pub(super) async fn check_rebuild(&self) {
        let delivered = self.delivered.lock().unwrap().clone();
        testing::assert_rebuilds(&self.journal, &delivered).await;
    }
}

pub(super) fn mentions(users: &[u64]) -> Vec<Mention> {
    let mention = |id: &u64| Mention { user_id: user(*id), username: format!("u{id}") };
    users.iter().map(mention).collect()
}

pub(super) fn reference(id: u64, author: u64) -> TweetRef {
    TweetRef { tweet_id: tweet(id), author_id: user(author) }
}
