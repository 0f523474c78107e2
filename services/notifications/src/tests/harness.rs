//! The service on a fresh database, fed with other services' events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use pillion_chassis::broker::{Broker, EmbeddedBroker};
use pillion_chassis::testing::{self, BACKENDS, TestDatabase};
use pillion_chassis::{
    Backend, Caller, Clock, Database, Deps, FakeClock, Ids, InProcessPeers, Journal, Recorded,
    Scopes, Service, SystemRandom, TweetId, UserId,
};
use pillion_events::{
    Engagement, EngagementEvent, Event, GraphEvent, Mention, Relation, ReplySettings, Retweet,
    TweetDeleted, TweetEvent, TweetPosted, TweetRef, UserDeleted, UserEvent, UserProfileChanged,
};
use serde_json::Value;
use tower::ServiceExt;

use crate::Config;

pub(super) struct Harness {
    pub(super) test: TestDatabase,
    pub(super) clock: Arc<FakeClock>,
    pub(super) journal: Journal,
    pub(super) router: Router,
    delivered: Mutex<Vec<Recorded>>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Reply {
    /// The items on the page.
    pub(super) fn items(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["data"].as_array().cloned().unwrap_or_default()
    }

    /// The ids on the page.
    pub(super) fn ids(&self) -> Vec<String> {
        let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
        self.items().iter().map(id).collect()
    }

    pub(super) fn token(&self, name: &str) -> Option<String> {
        self.body["meta"][name].as_str().map(str::to_owned)
    }
}

pub(super) fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

pub(super) fn tweet(id: u64) -> TweetId {
    TweetId::new(id).unwrap()
}

pub(super) fn caller(user_id: Option<u64>) -> Caller {
    Caller {
        user_id: user_id.map(user),
        client_id: "web".to_owned(),
        scopes: Scopes::parse("notifications.read notifications.write"),
    }
}

/// The service once more, as another process has it.
pub(super) async fn serve(database: &Database, clock: &Arc<FakeClock>, config: Config) -> Service {
    let deps = Deps {
        clock: clock.clone(),
        ids: Arc::new(Ids::new(clock.clone(), 0).unwrap()),
        random: Arc::new(SystemRandom),
        database: database.clone(),
        peers: Arc::new(InProcessPeers::new()),
    };
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

    /// Delivers an event that was recorded one second after the one before it.
    pub(super) async fn deliver<E: Event>(&self, source: &str, event: &E) {
        self.clock.advance(Duration::from_secs(1));
        let at = self.clock.now();
        let recorded = testing::deliver(&self.journal, source, "some/1", event, at).await;
        self.delivered.lock().unwrap().push(recorded);
    }

    fn relation(&self, user_id: u64, target: u64) -> Relation {
        Relation { user_id: user(user_id), target_user_id: user(target), at: self.clock.now() }
    }

    pub(super) async fn graph(&self, event: fn(Relation) -> GraphEvent, one: u64, two: u64) {
        self.deliver("graph", &event(self.relation(one, two))).await;
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
        TweetPosted {
            tweet_id: tweet(id),
            author_id: user(author),
            text: "hi".to_owned(),
            conversation_id: tweet(id),
            replied_to: None,
            quoted: None,
            mentions: Vec::new(),
            reply_settings: ReplySettings::Everyone,
            client_id: "web".to_owned(),
            created_at: self.clock.now(),
        }
    }

    pub(super) async fn post(&self, posted: TweetPosted) {
        self.deliver("tweets", &TweetEvent::Posted(posted)).await;
    }

    pub(super) async fn mention(&self, id: u64, author: u64, users: &[u64]) {
        let mentions = mentions(users);
        self.post(TweetPosted { mentions, ..self.tweet(id, author) }).await;
    }

    pub(super) async fn delete_tweet(&self, id: u64, author: u64) {
        let (tweet_id, author_id) = (tweet(id), user(author));
        let deleted = TweetDeleted { tweet_id, author_id, deleted_at: self.clock.now() };
        self.deliver("tweets", &TweetEvent::Deleted(deleted)).await;
    }

    pub(super) async fn delete_user(&self, id: u64) {
        let deleted = UserDeleted { user_id: user(id), deleted_at: self.clock.now() };
        self.deliver("users", &UserEvent::Deleted(deleted)).await;
    }

    pub(super) async fn protect(&self, id: u64, protected: bool) {
        let changed = UserProfileChanged {
            user_id: user(id),
            name: "name".to_owned(),
            description: None,
            location: None,
            url: None,
            protected,
            changed_at: self.clock.now(),
        };
        self.deliver("users", &UserEvent::ProfileChanged(changed)).await;
    }

    pub(super) async fn send(&self, request: http::request::Builder, body: &str) -> Reply {
        let request = request
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Reply { status, body: serde_json::from_slice(&bytes).unwrap() }
    }

    pub(super) async fn get(&self, by: u64, path: &str) -> Reply {
        let path = format!("/pillion/v1/notifications{path}");
        self.send(Request::get(path).extension(caller(Some(by))), "").await
    }

    pub(super) async fn mark_read(&self, by: u64, body: &str) -> Reply {
        let request = Request::post("/pillion/v1/notifications/read").extension(caller(Some(by)));
        self.send(request, body).await
    }

    /// A user's inbox, latest first: kind, actor, and tweet if there is one.
    pub(super) async fn inbox(&self, of: u64) -> Vec<(String, u64, Option<u64>)> {
        let items = self.get(of, "?max_results=100").await.items();
        let number = |value: &Value| value.as_str().map(|text| text.parse().unwrap());
        items
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
        let folder = tempfile::tempdir().unwrap();
        let broker = EmbeddedBroker::open(folder.path().join("broker.sqlite")).await.unwrap();
        let mut sources: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
        for event in self.delivered.lock().unwrap().iter() {
            sources.entry(event.source.clone()).or_default().push(event.clone());
        }
        for (source, events) in &sources {
            broker.publish(source, 0, events).await.unwrap();
        }
        let rebuilt = self.journal.rebuild(&broker).await.unwrap();
        let delivered = self.delivered.lock().unwrap().len();
        assert!(usize::try_from(rebuilt.events).unwrap() >= delivered);
        assert!(rebuilt.is_identical(), "{rebuilt:?}");
    }
}

pub(super) fn mentions(users: &[u64]) -> Vec<Mention> {
    let mention = |id: &u64| Mention { user_id: user(*id), username: format!("u{id}") };
    users.iter().map(mention).collect()
}

pub(super) fn reference(id: u64, author: u64) -> TweetRef {
    TweetRef { tweet_id: tweet(id), author_id: user(author) }
}
