//! The service with a clock that stands still and the events of three services at hand.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use http::Request;
use pillion_chassis::ids::time_of;
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::testing::told::{self, user};
use pillion_chassis::testing::{self, Reply, TestDatabase};
use pillion_chassis::{
    Backend, Caller, Database, FakeClock, Ids, InProcessPeers, Journal, Recorded, Scopes, Shutdown,
    TweetId, UserId,
};
use pillion_events::{
    EngagementEvent, Mention, Retweet, TweetEvent, TweetPosted, TweetRef, UserEvent,
};
use serde_json::Value;

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

/// The ids of the tweets on the page.
pub(super) fn tweets(reply: &Reply) -> Vec<TweetId> {
    reply.ids().into_iter().map(told::tweet).collect()
}

impl Harness {
    pub(super) async fn start(backend: Backend) -> Self {
        Self::start_with(backend, Settings::default()).await
    }

    pub(super) async fn start_with(backend: Backend, settings: Settings) -> Self {
        let test = testing::empty(backend).await;
        let clock = Arc::new(FakeClock::at(NOW.parse().unwrap()));
        let deps = testing::deps(&test.database, &clock, &Arc::new(InProcessPeers::new()));
        let ids = deps.ids.clone();
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

    /// The router of the service as another process has it.
    pub(super) async fn another_process(&self) -> Router {
        let peers = Arc::new(InProcessPeers::new());
        let deps = testing::deps(&self.test.database, &self.clock, &peers);
        // No two processes make the same ids.
        let ids = Arc::new(Ids::new(self.clock.clone(), 1).unwrap());
        let deps = pillion_chassis::Deps { ids, ..deps };
        crate::build(deps, Settings::default()).await.unwrap().1.router
    }

    pub(super) fn database(&self) -> &Database {
        &self.test.database
    }

    /// Ends the service as the process does.
    pub(super) fn shut_down(&self) {
        self.shutdown.request();
    }

    pub(super) fn next_id(&self) -> TweetId {
        self.ids.tweet().unwrap()
    }

    async fn deliver<E: pillion_events::Event>(&self, source: &str, stream: &str, event: &E) {
        let at = NOW.parse().unwrap();
        let recorded = testing::deliver(&self.journal, source, stream, event, at).await;
        self.delivered.lock().unwrap().push(recorded);
    }

    pub(super) async fn register(&self, id: u64, username: &str) {
        let event = told::registered(id, username, NOW.parse().unwrap());
        self.deliver("users", &format!("user/{id}"), &event).await;
    }

    pub(super) async fn protect(&self, id: u64, protected: bool) {
        let event = told::protected(id, protected, NOW.parse().unwrap());
        self.deliver("users", &format!("user/{id}"), &event).await;
    }

    pub(super) async fn delete_user(&self, id: u64) {
        let event = told::user_deleted(id, NOW.parse().unwrap());
        self.deliver("users", &format!("user/{id}"), &event).await;
    }

    /// The users service tells of something.
    pub(super) async fn hear(&self, event: UserEvent) {
        self.deliver("users", "user/1", &event).await;
    }

    pub(super) fn posted(id: TweetId, draft: &Draft<'_>) -> TweetPosted {
        let reference = |(tweet_id, author)| TweetRef { tweet_id, author_id: user(author) };
        TweetPosted {
            text: draft.text.to_owned(),
            conversation_id: draft.conversation.unwrap_or(id),
            replied_to: draft.replied_to.map(reference),
            quoted: draft.quoted.map(reference),
            mentions: draft
                .mentions
                .iter()
                .map(|id| Mention { user_id: user(*id), username: "x".to_owned() })
                .collect(),
            ..told::posted(id.get(), draft.by, time_of(id.get()))
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
        let event = told::tweet_deleted(id.get(), by, NOW.parse().unwrap());
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
        let caller = Caller {
            user_id: user.and_then(UserId::new),
            client_id: "app".to_owned(),
            scopes: Scopes::parse("tweet.read users.read"),
        };
        testing::request(method, path, Some(caller), body)
    }

    pub(super) async fn ask(&self, request: Request<Body>) -> Reply {
        testing::send(&self.router, request).await
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
        tweets(&self.search(query, "").await)
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
