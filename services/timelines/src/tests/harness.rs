//! The service on a fresh database, fed with other services' events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use pillion_chassis::broker::{Broker, EmbeddedBroker};
use pillion_chassis::testing::{self, BACKENDS, TestDatabase};
use pillion_chassis::{
    Backend, Caller, Deps, FakeClock, Ids, InProcessPeers, Journal, Recorded, Scopes, SystemRandom,
    Timestamp, TweetId, UserId,
};
use pillion_events::{
    EngagementEvent, Event, GraphEvent, Mention, Relation, ReplySettings, Retweet, TweetDeleted,
    TweetEvent, TweetPosted, TweetRef, UserDeleted, UserEvent, UserRegistered,
};
use serde_json::Value;
use tower::ServiceExt;

use crate::Config;

pub(super) const AT: Timestamp = Timestamp::from_micros(1_782_900_001_000_000);

pub(super) struct Harness {
    pub(super) test: TestDatabase,
    pub(super) journal: Journal,
    router: Router,
    delivered: Mutex<Vec<Recorded>>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Reply {
    /// The ids on the page.
    pub(super) fn ids(&self) -> Vec<u64> {
        assert_eq!(self.status, 200, "{}", self.body);
        let data = self.body["data"].as_array().cloned().unwrap_or_default();
        data.iter().map(|tweet| tweet["id"].as_str().unwrap().parse().unwrap()).collect()
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

/// A tweet that answers and mentions nobody.
pub(super) fn post(id: u64, author: u64) -> TweetPosted {
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
        created_at: AT,
    }
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
        let test = testing::empty(backend).await;
        let clock = Arc::new(FakeClock::at(AT));
        let deps = Deps {
            clock: clock.clone(),
            ids: Arc::new(Ids::new(clock, 0).unwrap()),
            random: Arc::new(SystemRandom),
            database: test.database.clone(),
            peers: Arc::new(InProcessPeers::new()),
        };
        let service = crate::configured(deps, config).await.unwrap();
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
        let (tweet_id, author_id) = (tweet(id), user(author));
        let deleted = TweetDeleted { tweet_id, author_id, deleted_at: AT };
        self.deliver("tweets", &TweetEvent::Deleted(deleted)).await;
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

    pub(super) async fn register(&self, id: u64) {
        let registered = UserRegistered {
            user_id: user(id),
            username: format!("u{id}"),
            name: format!("u{id}"),
            description: None,
            location: None,
            url: None,
            created_at: AT,
        };
        self.deliver("users", &UserEvent::Registered(registered)).await;
    }

    pub(super) async fn delete_user(&self, id: u64) {
        let deleted = UserDeleted { user_id: user(id), deleted_at: AT };
        self.deliver("users", &UserEvent::Deleted(deleted)).await;
    }

    pub(super) async fn get_as(&self, caller: Option<Caller>, path: &str) -> Reply {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Reply { status, body: serde_json::from_slice(&bytes).unwrap() }
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
        assert_eq!(usize::try_from(rebuilt.events).unwrap(), delivered);
        assert!(rebuilt.is_identical(), "{rebuilt:?}");
    }
}

pub(super) fn caller(user_id: Option<u64>) -> Caller {
    Caller {
        user_id: user_id.map(user),
        client_id: "web".to_owned(),
        scopes: Scopes::parse("tweet.read users.read"),
    }
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
