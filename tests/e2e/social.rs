//! What people do with each other, and what each of it shows to whom: over real sockets, with
//! everything between the services as it is in use.
//!
//! Services hear of each other's events a little later. [`World::settle`] waits until all have
//! heard all, so that what does not show afterwards never does.

mod account;
mod engagements;
mod events;
mod follows;
mod hiding;
mod home;
mod lines;
mod notifications;
mod pages;
mod sealing;
mod search;
mod servers;
mod streams;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use http::Method;
use pillion_tests::client::Answer;
use pillion_tests::system::System;
use serde_json::{Value, json};

/// What happened has been heard of everywhere within this.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// Services with events.
const SERVICES: [&str; 7] =
    ["users", "tweets", "graph", "engagements", "timelines", "search", "notifications"];
/// Names the folder of a fleet that the tests share.
const FLEET: &str = "PILLION_TESTS_FLEET";
/// More pages than any list here has.
const PAGES_MAX: usize = 100;

/// Rate limits are another suite's business.
fn without_limits(config: &str) -> String {
    let limited = "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]";
    assert!(config.contains(limited), "the gateway's chain is another one");
    config.replace(limited, "plugins = [\"logging\", \"auth\"]")
}

/// Somebody with an account and a token for everything.
#[derive(Clone, Debug)]
struct Person {
    id: String,
    username: String,
    token: String,
}

/// As others mention them.
impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.username)
    }
}

/// A running system.
#[derive(Debug)]
struct World {
    system: System,
    /// What people's handles end with, where others have been before.
    tag: String,
}

impl World {
    /// On files; or, where the variable names a folder, on the fleet there, which tests share: each
    /// is alone with it for its time, and what others left is still there.
    fn start() -> Self {
        Self::start_with(without_limits)
    }

    /// The same with the configuration changed as text, for which a fleet is restarted.
    fn start_with(change: impl Fn(&str) -> String + Send + Sync) -> Self {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let Some(folder) = std::env::var_os(FLEET) else {
            return Self::of(System::start_with(change));
        };
        let system = System::start_on_fleet(Path::new(&folder), change);
        Self { system, tag: format!("_{:02}", TESTS.fetch_add(1, Ordering::Relaxed)) }
    }

    /// Nobody has been there before.
    fn of(system: System) -> Self {
        Self { system, tag: String::new() }
    }

    /// New accounts.
    async fn people<const N: usize>(&self, names: [&str; N]) -> [Person; N] {
        let mut people = Vec::new();
        for name in names {
            let username = format!("{name}{}", self.tag);
            let (id, token) = self.system.register(&username).await;
            people.push(Person { id, username, token });
        }
        people.try_into().expect("as many as there are names")
    }

    /// Somebody who has logged in again: after a restart tokens are those of an earlier time.
    async fn again(&self, who: &Person) -> Person {
        Person { token: self.system.login(&who.username, "").await, ..who.clone() }
    }

    /// A request with a token and, unless it is null, a body.
    async fn ask(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        let call = self.system.client.call(method, path).bearer(token);
        let call = if body.is_null() { call } else { call.json(&body) };
        call.send().await
    }

    /// What is read, which must be there.
    async fn get(&self, person: &Person, path: &str) -> Value {
        self.ask(&person.token, Method::GET, path, Value::Null).await.expect(200).json()
    }

    /// Any answer to a request for something.
    async fn try_get(&self, person: &Person, path: &str) -> Answer {
        self.ask(&person.token, Method::GET, path, Value::Null).await
    }

    async fn post(&self, person: &Person, path: &str, body: Value) -> Answer {
        self.ask(&person.token, Method::POST, path, body).await
    }

    async fn delete(&self, person: &Person, path: &str) -> Answer {
        self.ask(&person.token, Method::DELETE, path, Value::Null).await
    }

    /// Posts; the tweet's id.
    async fn tweet_with(&self, by: &Person, body: Value) -> String {
        text(&self.post(by, "/2/tweets", body).await.expect(201).json()["data"]["id"])
    }

    async fn tweet(&self, by: &Person, says: &str) -> String {
        self.tweet_with(by, json!({ "text": says })).await
    }

    async fn reply(&self, by: &Person, to: &str, says: &str) -> String {
        let reply = json!({ "in_reply_to_tweet_id": to });
        self.tweet_with(by, json!({ "text": says, "reply": reply })).await
    }

    async fn quote(&self, by: &Person, of: &str, says: &str) -> String {
        self.tweet_with(by, json!({ "text": says, "quote_tweet_id": of })).await
    }

    async fn delete_tweet(&self, by: &Person, tweet: &str) {
        self.delete(by, &format!("/2/tweets/{tweet}")).await.expect(200);
    }

    /// Follows, blocks or mutes.
    async fn relate(&self, who: &Person, relation: &str, whom: &Person) -> Answer {
        let path = format!("/2/users/{}/{relation}", who.id);
        self.post(who, &path, json!({ "target_user_id": whom.id })).await
    }

    /// Stops following, blocking or muting.
    async fn unrelate(&self, who: &Person, relation: &str, whom: &Person) -> Answer {
        self.delete(who, &format!("/2/users/{}/{relation}/{}", who.id, whom.id)).await
    }

    async fn follow(&self, who: &Person, whom: &Person) {
        let answer = self.relate(who, "following", whom).await.expect(200).json();
        assert_eq!(answer["data"], json!({ "following": true, "pending_follow": false }));
    }

    /// Likes, retweets or bookmarks.
    async fn engage(&self, who: &Person, how: &str, tweet: &str) -> Answer {
        let path = format!("/2/users/{}/{how}", who.id);
        self.post(who, &path, json!({ "tweet_id": tweet })).await
    }

    /// Takes it back.
    async fn disengage(&self, who: &Person, how: &str, tweet: &str) -> Answer {
        self.delete(who, &format!("/2/users/{}/{how}/{tweet}", who.id)).await
    }

    async fn like(&self, who: &Person, tweet: &str) {
        let answer = self.engage(who, "likes", tweet).await.expect(200).json();
        assert_eq!(answer, json!({ "data": { "liked": true } }));
    }

    /// The retweet's own id.
    async fn retweet(&self, who: &Person, tweet: &str) -> String {
        let answer = self.engage(who, "retweets", tweet).await.expect(200).json();
        assert_eq!(answer["data"]["retweeted"], json!(true), "{answer}");
        text(&answer["data"]["id"])
    }

    async fn protect(&self, who: &Person, protected: bool) {
        let path = "/pillion/v1/account/profile";
        let answer = self.post(who, path, json!({ "protected": protected })).await.expect(200);
        assert_eq!(answer.json()["data"]["protected"], json!(protected), "{}", answer.text());
    }

    /// Where somebody's home is read.
    fn home_of(who: &Person) -> String {
        format!("/2/users/{}/timelines/reverse_chronological", who.id)
    }

    /// The whole home, latest first.
    async fn home(&self, who: &Person) -> Vec<String> {
        self.all(who, &Self::home_of(who)).await
    }

    /// The ids on the one page that `path` names.
    async fn ids(&self, person: &Person, path: &str) -> Vec<String> {
        ids(&self.get(person, path).await)
    }

    /// The ids of all pages; none may be twice.
    async fn all(&self, person: &Person, path: &str) -> Vec<String> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let page = self.get(person, &format!("{path}{next}")).await;
            let ids = ids(&page);
            assert_eq!(page["meta"]["result_count"], json!(ids.len()), "{path}: {page}");
            all.extend(ids);
            if let Some(token) = page["meta"]["next_token"].as_str() {
                next = format!("{joint}pagination_token={token}");
                continue;
            }
            let mut distinct = all.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), all.len(), "{path}: twice among {all:?}");
            return all;
        }
        panic!("{path} has no end");
    }

    /// The ids of tweets that a query finds.
    async fn found(&self, person: &Person, query: &str) -> Vec<String> {
        self.all(person, &format!("/2/tweets/search/recent?query={}", encoded(query))).await
    }

    /// The numbers that a tweet shows.
    async fn tweet_metrics(&self, person: &Person, tweet: &str) -> Value {
        let path = format!("/2/tweets/{tweet}?tweet.fields=public_metrics");
        self.get(person, &path).await["data"]["public_metrics"].clone()
    }

    /// The numbers that a profile shows.
    async fn user_metrics(&self, person: &Person, user: &str) -> Value {
        let path = format!("/2/users/{user}?user.fields=public_metrics");
        self.get(person, &path).await["data"]["public_metrics"].clone()
    }

    /// An app of somebody's, by itself: its token.
    async fn app(&self, owner: &Person) -> String {
        let app = json!({ "name": "An app", "redirect_uris": ["http://localhost/back"] });
        let made = self.post(owner, "/pillion/v1/apps", app).await.expect(201).json();
        let (id, secret) = (text(&made["data"]["client_id"]), text(&made["data"]["client_secret"]));
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
        let answer = self
            .system
            .client
            .post("/oauth2/token")
            .header("authorization", &format!("Basic {basic}"))
            .text("application/x-www-form-urlencoded", "grant_type=client_credentials")
            .send()
            .await
            .expect(200);
        text(&answer.json()["access_token"])
    }

    /// Waits until every service has heard of everything that has happened; none may have given
    /// up on an event.
    async fn settle(&self) {
        let began = Instant::now();
        loop {
            let services = self.system.events().await;
            assert_eq!(services.len(), SERVICES.len(), "{services:?}");
            let is_settled = pillion_tests::fleet::is_even(&services);
            if is_settled {
                return;
            }
            assert!(began.elapsed() < SETTLE_DEADLINE, "{services:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes the tables of all services again of their events: they must be what they were.
    async fn rebuilds_the_same(&self) {
        for service in SERVICES {
            let rebuilt = self.system.rebuild(service).await;
            assert_eq!(rebuilt["identical"], json!(true), "{service}: {rebuilt}");
        }
    }
}

/// The ids of an answer's items.
fn ids(answer: &Value) -> Vec<String> {
    let items = answer["data"].as_array().into_iter().flatten();
    items.map(|item| text(&item["id"])).collect()
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// For a query parameter.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Whether an answer says that something is there which the caller may not see.
#[track_caller]
fn is_not_authorized(answer: &Value) {
    assert_eq!(answer.get("data"), None, "{answer}");
    assert_eq!(answer["errors"][0]["title"], json!("Authorization Error"), "{answer}");
    let kind = "https://api.twitter.com/2/problems/not-authorized-for-resource";
    assert_eq!(answer["errors"][0]["type"], json!(kind), "{answer}");
}

/// Whether an answer says that there is no such thing.
#[track_caller]
fn is_not_found(answer: &Value) {
    assert_eq!(answer.get("data"), None, "{answer}");
    assert_eq!(answer["errors"][0]["title"], json!("Not Found Error"), "{answer}");
}
