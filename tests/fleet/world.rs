//! A fleet, some people in it, and whether it holds what it acknowledged.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pillion_test_servers::{Fleet, Network};
use pillion_tests::fleet;
use pillion_tests::history::{self, Held, Line};
use serde_json::{Value, json};

use crate::load::{Done, Gateways, Load};

/// Everybody's.
const PASSWORD: &str = "correct horse battery";
/// Tweets that a home holds.
const HOME_MAX: usize = 800;
/// More pages than any run makes.
const PAGES_MAX: usize = 200;

/// Somebody with an account and a token for everything.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) token: String,
}

/// A fleet under test, and the log of what was asked of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) gateways: Gateways,
    authors: [Person; 2],
    reader: Person,
    log: Vec<Line>,
    serial: u32,
    /// With the fleet's folder, and last: the fleet is in it.
    _folder: tempfile::TempDir,
}

/// Rate limits are another suite's business.
fn without_limits(config: &str) -> String {
    let limited = "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]";
    assert!(config.contains(limited), "the gateway's chain is another one");
    config.replace(limited, "plugins = [\"logging\", \"auth\"]")
}

impl World {
    /// Two authors, and a reader who follows the first.
    pub(crate) async fn start(network: Option<Arc<Network>>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let began = std::time::Instant::now();
        let fleet = fleet::start(folder.path(), network, without_limits).await;
        println!("the fleet was ready after {:?}", began.elapsed());
        let gateways = Gateways::new(&fleet.urls());
        let mut people = Vec::new();
        for username in ["anna", "bert", "rita"] {
            people.push(register(&gateways, username).await);
        }
        let [anna, bert, reader] = <[Person; 3]>::try_from(people).expect("three people");
        let world = Self {
            fleet,
            gateways,
            authors: [anna, bert],
            reader,
            log: Vec::new(),
            serial: 0,
            _folder: folder,
        };
        let [anna, _] = &world.authors;
        let path = format!("/2/users/{}/following", world.reader.id);
        world.post(&world.reader, &path, json!({ "target_user_id": anna.id })).await;
        world
    }

    /// The one whom the reader follows.
    pub(crate) fn anna(&self) -> &Person {
        &self.authors[0]
    }

    /// Who follows the first author.
    pub(crate) fn rita(&self) -> &Person {
        &self.reader
    }

    /// Everybody at work.
    pub(crate) fn load(&mut self, registrations: bool) -> Load {
        self.serial += 1;
        let (authors, reader) = (self.authors.clone(), &self.reader);
        Load::start(&self.gateways, authors, reader, self.serial, registrations)
    }

    /// Keeps what was done for the check.
    pub(crate) fn keep(&mut self, done: &Done) {
        self.log.extend(done.log.iter().cloned());
    }

    /// What is written, which must succeed.
    pub(crate) async fn post(&self, who: &Person, path: &str, body: Value) -> Value {
        let answer = self.gateways.ask(&who.token, Method::POST, path, &body).await;
        let answer = answer.expect("an answer");
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    pub(crate) async fn get(&self, who: &Person, path: &str) -> Value {
        let answer = self.gateways.ask(&who.token, Method::GET, path, &Value::Null).await;
        let answer = answer.expect("an answer");
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// An app of somebody's, by itself: its token.
    pub(crate) async fn app(&self, owner: &Person) -> String {
        let app = json!({ "name": "An app", "redirect_uris": ["http://localhost/back"] });
        let made = self.post(owner, "/pillion/v1/apps", app).await;
        let body = json!({
            "grant_type": "client_credentials",
            "client_id": made["data"]["client_id"],
            "client_secret": made["data"]["client_secret"],
        });
        let answer = self.gateways.ask("", Method::POST, "/2/oauth2/token", &body).await;
        text(&answer.expect("an answer").json()["access_token"])
    }

    /// Tokens last for 15 minutes.
    pub(crate) async fn log_in(&mut self) {
        let people = self.authors.iter_mut().chain([&mut self.reader]);
        for person in people {
            person.token = log_in(&self.gateways, &person.username).await;
        }
    }

    /// Waits until everything has been taken up everywhere, and holds the fleet against the log.
    pub(crate) async fn hold(&self) {
        let even = fleet::until_even(&self.fleet).await;
        let held = self.held().await;
        let report = history::check(&self.log, &held).expect("a log of ours");
        println!("even after {even:?}: {report}");
        assert!(report.is_good(), "{report}");
        self.home_is(&held).await;
        for service in fleet::WITH_EVENTS {
            let rebuilt = fleet::rebuild(&self.fleet, service).expect("it is rebuilt");
            assert_eq!(rebuilt["identical"], json!(true), "{service}: {rebuilt}");
        }
    }

    /// All tweets, likes and new accounts that the fleet holds, the oldest of each stream first.
    async fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for author in &self.authors {
            let path = format!("/2/users/{}/tweets?max_results=100", author.id);
            let mut tweets = self.pages(author, &path).await;
            tweets.reverse();
            let mine = |tweet: &Value| Held { key: text(&tweet["text"]), id: text(&tweet["id"]) };
            held.extend(tweets.iter().map(mine).filter(|held| !held.key.starts_with("live ")));
        }
        let path = format!("/2/users/{}/liked_tweets?max_results=100", self.reader.id);
        let mut liked = self.pages(&self.reader, &path).await;
        liked.reverse();
        held.extend(liked.iter().map(|tweet| {
            let id = text(&tweet["id"]);
            Held { key: format!("like {id}"), id }
        }));
        for line in &self.log {
            let Line::Attempt { key, .. } = line else { continue };
            if key.starts_with("new_") {
                let found = self.get(&self.reader, &format!("/2/users/by/username/{key}")).await;
                if let Some(id) = found["data"]["id"].as_str() {
                    held.push(Held { key: key.clone(), id: id.to_owned() });
                }
            }
        }
        held
    }

    /// The reader's home is the tweets of the one whom they follow: each once, latest first, no
    /// other.
    async fn home_is(&self, held: &[Held]) {
        let path =
            format!("/2/users/{}/timelines/reverse_chronological?max_results=100", self.reader.id);
        let home = self.pages(&self.reader, &path).await;
        let live = |tweet: &&Value| !text(&tweet["text"]).starts_with("live ");
        let home: Vec<String> = home.iter().filter(live).map(|it| text(&it["id"])).collect();
        let annas = held.iter().rev().filter(|held| held.key.starts_with("anna "));
        let expected: Vec<String> = annas.map(|held| held.id.clone()).take(HOME_MAX).collect();
        let both = home.len().min(expected.len());
        assert_eq!(home[..both], expected[..both]);
        let full = home.len() >= HOME_MAX - 100;
        assert!(home.len() == expected.len() || full, "{} of {}", home.len(), expected.len());
    }

    async fn pages(&self, who: &Person, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let answer = self.get(who, &format!("{path}{next}")).await;
            items.extend(answer["data"].as_array().cloned().unwrap_or_default());
            match answer["meta"]["next_token"].as_str() {
                Some(token) => next = format!("&pagination_token={token}"),
                None => return items,
            }
        }
        panic!("{path} has no end");
    }
}

async fn register(gateways: &Gateways, username: &str) -> Person {
    let account = json!({ "username": username, "name": username, "password": PASSWORD });
    let path = "/pillion/v1/accounts";
    let made = gateways.ask("", Method::POST, path, &account).await.expect("an answer");
    let made = made.expect(201).json();
    let token = log_in(gateways, username).await;
    Person { id: text(&made["data"]["id"]), username: username.to_owned(), token }
}

async fn log_in(gateways: &Gateways, username: &str) -> String {
    let login = json!({ "username": username, "password": PASSWORD });
    let answer = gateways.ask("", Method::POST, "/pillion/v1/login", &login).await;
    text(&answer.expect("an answer").expect(200).json()["access_token"])
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// So long callers need to see that a process is ready again: two health checks, and one that was
/// just under way.
pub(crate) const SEEN: Duration = Duration::from_millis(4_500);
