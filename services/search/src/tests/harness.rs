//! The service with a clock that stands still and the events of three services at hand.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use pillion_chassis::ids::time_of;
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::testing::{self, TestDatabase};
use pillion_chassis::{
    Backend, Caller, Database, Deps, FakeClock, Ids, InProcessPeers, Journal, Recorded, Scopes,
    Shutdown, SystemRandom, TweetId, UserId,
};
use pillion_events::{
    EngagementEvent, Mention, ReplySettings, Retweet, TweetDeleted, TweetEvent, TweetPosted,
    TweetRef, UserDeleted, UserEvent, UserProfileChanged, UserRegistered,
};
use serde_json::Value;
use tower::ServiceExt;

use crate::live::Live;
use crate::store::Store;
use crate::{NAME, Search, Settings};

pub(super) const ANN: u64 = 11;
pub(super) const BOB: u64 = 12;
pub(super) const CID: u64 = 13;

/// When tests begin.
pub(super) const NOW: &str = "2026-07-08T10:00:01.000Z";

pub(super) struct Harness {
    pub(super) router: Router,
    pub(super) journal: Journal,
    pub(super) clock: Arc<FakeClock>,
    pub(super) store: Store,
    pub(super) live: Arc<Live>,
    /// The events of other services, as they came.
    pub(super) delivered: Mutex<Vec<Recorded>>,
    ids: Arc<Ids>,
    shutdown: ShutdownTrigger,
    test: TestDatabase,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Reply {
    /// The ids on the page.
    pub(super) fn ids(&self) -> Vec<TweetId> {
        assert_eq!(self.status, 200, "{}", self.body);
        let data = self.body["data"].as_array().cloned().unwrap_or_default();
        data.iter().map(|tweet| tweet["id"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// What is wrong, of one thing that is wrong.
    pub(super) fn message(&self) -> &str {
        self.body["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{}", self.body))
    }
}

/// A tweet to post: what is not given is what is usual.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub(super) by: u64,
    pub(super) text: &'a str,
    pub(super) mentions: &'a [u64],
    pub(super) replied_to: Option<(TweetId, u64)>,
    pub(super) quoted: Option<(TweetId, u64)>,
    pub(super) conversation: Option<TweetId>,
}

pub(super) fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

impl Harness {
    pub(super) async fn start(backend: Backend) -> Self {
        Self::start_with(backend, Settings::default()).await
    }

    pub(super) async fn start_with(backend: Backend, settings: Settings) -> Self {
        let test = testing::empty(backend).await;
        let clock = Arc::new(FakeClock::at(NOW.parse().unwrap()));
        let ids = Arc::new(Ids::new(clock.clone(), 0).unwrap());
        let deps = Deps {
            clock: clock.clone(),
            ids: ids.clone(),
            random: Arc::new(SystemRandom),
            database: test.database.clone(),
            peers: Arc::new(InProcessPeers::new()),
        };
        let (search, service) = crate::build(deps, settings).await.unwrap();
        let (trigger, shutdown) = Shutdown::new();
        for worker in service.workers {
            tokio::spawn(worker.run(shutdown.clone()));
        }
        let journal = service.journal.unwrap();
        assert_eq!(journal.name(), NAME);
        let Search { store, live, .. } = search;
        let router = service.router;
        let delivered = Mutex::default();
        let harness =
            Self { router, journal, clock, store, live, ids, shutdown: trigger, delivered, test };
        for (id, username) in [(ANN, "Ann"), (BOB, "bob"), (CID, "cid")] {
            harness.register(id, username).await;
        }
        harness
    }

    pub(super) fn database(&self) -> &Database {
        &self.test.database
    }

    /// Ends the service as the process does.
    pub(super) fn shut_down(&self) {
        self.shutdown.request();
    }

    pub(super) fn next_id(&self) -> TweetId {
        self.ids.tweet()
    }

    async fn deliver<E: pillion_events::Event>(&self, source: &str, stream: &str, event: &E) {
        let at = NOW.parse().unwrap();
        let recorded = testing::deliver(&self.journal, source, stream, event, at).await;
        self.delivered.lock().unwrap().push(recorded);
    }

    pub(super) async fn register(&self, id: u64, username: &str) {
        let event = UserEvent::Registered(UserRegistered {
            user_id: user(id),
            username: username.to_owned(),
            name: username.to_owned(),
            description: None,
            location: None,
            url: None,
            created_at: NOW.parse().unwrap(),
        });
        self.deliver("users", &format!("user/{id}"), &event).await;
    }

    pub(super) async fn protect(&self, id: u64, protected: bool) {
        let event = UserEvent::ProfileChanged(UserProfileChanged {
            user_id: user(id),
            name: "x".to_owned(),
            description: None,
            location: None,
            url: None,
            protected,
            changed_at: NOW.parse().unwrap(),
        });
        self.deliver("users", &format!("user/{id}"), &event).await;
    }

    pub(super) async fn delete_user(&self, id: u64) {
        let event =
            UserEvent::Deleted(UserDeleted { user_id: user(id), deleted_at: NOW.parse().unwrap() });
        self.deliver("users", &format!("user/{id}"), &event).await;
    }

    pub(super) fn posted(id: TweetId, draft: &Draft<'_>) -> TweetPosted {
        let reference = |(tweet_id, author)| TweetRef { tweet_id, author_id: user(author) };
        TweetPosted {
            tweet_id: id,
            author_id: user(draft.by),
            text: draft.text.to_owned(),
            conversation_id: draft.conversation.unwrap_or(id),
            replied_to: draft.replied_to.map(reference),
            quoted: draft.quoted.map(reference),
            mentions: draft
                .mentions
                .iter()
                .map(|id| Mention { user_id: user(*id), username: "x".to_owned() })
                .collect(),
            reply_settings: ReplySettings::Everyone,
            client_id: "web".to_owned(),
            created_at: time_of(id.get()),
        }
    }

    pub(super) async fn post_as(&self, id: TweetId, draft: Draft<'_>) {
        let event = TweetEvent::Posted(Self::posted(id, &draft));
        self.deliver("tweets", &format!("tweet/{id}"), &event).await;
    }

    pub(super) async fn post(&self, by: u64, text: &str) -> TweetId {
        let id = self.next_id();
        self.post_as(id, Draft { by, text, ..Draft::default() }).await;
        id
    }

    pub(super) async fn delete(&self, by: u64, id: TweetId) {
        let event = TweetEvent::Deleted(TweetDeleted {
            tweet_id: id,
            author_id: user(by),
            deleted_at: NOW.parse().unwrap(),
        });
        self.deliver("tweets", &format!("tweet/{id}"), &event).await;
    }

    fn retweet_of(id: TweetId, by: u64, tweet: TweetId, author: u64) -> Retweet {
        Retweet {
            retweet_id: id,
            user_id: user(by),
            tweet_id: tweet,
            author_id: user(author),
            at: NOW.parse().unwrap(),
        }
    }

    pub(super) async fn retweet(&self, by: u64, tweet: TweetId, author: u64) -> TweetId {
        let id = self.next_id();
        let event = EngagementEvent::Retweeted(Self::retweet_of(id, by, tweet, author));
        self.deliver("engagements", &format!("user/{by}"), &event).await;
        id
    }

    pub(super) async fn unretweet(&self, id: TweetId, by: u64, tweet: TweetId, author: u64) {
        let event = EngagementEvent::Unretweeted(Self::retweet_of(id, by, tweet, author));
        self.deliver("engagements", &format!("user/{by}"), &event).await;
    }

    pub(super) fn request(
        method: &str,
        path: &str,
        user: Option<u64>,
        body: &str,
    ) -> Request<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        request.extensions_mut().insert(Caller {
            user_id: user.and_then(UserId::new),
            client_id: "app".to_owned(),
            scopes: Scopes::parse("tweet.read users.read"),
        });
        request
    }

    pub(super) async fn ask(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 2 << 20).await.unwrap();
        Reply { status, body: serde_json::from_slice(&bytes).unwrap() }
    }

    /// By an app.
    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask(Self::request("GET", path, None, "")).await
    }

    /// By an app.
    pub(super) async fn send_rules(&self, flags: &str, body: &Value) -> Reply {
        let path = format!("/2/tweets/search/stream/rules{flags}");
        self.ask(Self::request("POST", &path, None, &body.to_string())).await
    }

    /// By a user; `more` is `&name=value…`.
    pub(super) async fn search(&self, query: &str, more: &str) -> Reply {
        let path = format!("/2/tweets/search/recent?query={}{more}", escape(query));
        self.ask(Self::request("GET", &path, Some(ANN), "")).await
    }

    /// What the first page of a search finds.
    pub(super) async fn found(&self, query: &str) -> Vec<TweetId> {
        self.search(query, "").await.ids()
    }
}

/// For a query string.
pub(super) fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }
        })
        .collect()
}
