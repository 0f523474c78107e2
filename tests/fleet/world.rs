//! A fleet, some people in it, and whether it holds what it acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use pillion_test_servers::{Fleet, Network};
use pillion_tests::fleet;
use pillion_tests::history::{self, Held, Line};
use pillion_tests::ledger::{Kinds, Ledger};
use serde_json::{Value, json};

use crate::load::{Done, Gateways, Load};

/// Everybody's.
const PASSWORD: &str = "correct horse battery";
/// Tweets that a home holds.
const HOME_MAX: usize = 800;
/// More pages than any run makes.
const PAGES_MAX: usize = 400;
/// When nothing stands in its way any more, every saga is at its end within this.
const SAGAS_DEADLINE: Duration = Duration::from_mins(1);

/// Somebody with an account and a token for everything.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) token: String,
}

/// Everybody who does something.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    /// They post.
    pub(crate) anna: Person,
    pub(crate) bert: Person,
    /// She follows the first of them.
    pub(crate) rita: Person,
    /// Protected; decides about requests.
    pub(crate) olga: Person,
    /// Asks to follow.
    pub(crate) frank: Person,
    /// Changes her handle.
    pub(crate) rena: Person,
}

/// A fleet under test, and the log of what was asked of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) gateways: Gateways,
    cast: Cast,
    log: Vec<Line>,
    /// What may be the handle of who changes it.
    handles: Vec<String>,
    serial: u32,
    /// With the fleet's folder, and last: the fleet is in it.
    _folder: tempfile::TempDir,
}

/// Requests that one may make of [`LIMITED`] in a window.
pub(crate) const LIMIT: usize = 60;
/// A route that nobody comes near its limit by chance.
pub(crate) const LIMITED: &str = "/2/users/{id}/muting";

/// Limits so high that nobody is refused, and every request asks the shared limiter; but for one
/// route.
fn with_high_limits(config: &str) -> String {
    let routes = "[plugins.ratelimit.config.windows.routes]\n";
    let (before, after) = config.split_once(routes).expect("limits of routes");
    let (_, after) = after.split_once("\n\n").expect("more than that");
    let high = [
        ("burst = 300\n", "burst = 1000000\n"),
        ("user = 300\napp = 300\n", "user = 1000000\napp = 1000000\n"),
    ];
    let mut before = before.to_owned();
    for (usual, high) in high {
        assert!(before.contains(usual), "the configuration has other limits");
        before = before.replace(usual, high);
    }
    format!("{before}{routes}\"GET {LIMITED}\" = {{ user = {LIMIT} }}\n\n{after}")
}

impl World {
    /// Two authors, a reader who follows the first, and three whose doings are sagas.
    pub(crate) async fn start(network: Option<Arc<Network>>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let began = Instant::now();
        let fleet = Fleet::start(fleet::options(folder.path(), network, with_high_limits)).await;
        println!("the fleet was ready after {:?}", began.elapsed());
        let gateways = Gateways::new(&fleet.urls());
        let mut people = Vec::new();
        for username in ["anna", "bert", "rita", "olga", "frank", "rena"] {
            people.push(register(&gateways, username).await);
        }
        let [anna, bert, rita, olga, frank, rena] =
            <[Person; 6]>::try_from(people).expect("six people");
        let handles = vec![rena.username.clone()];
        let world = Self {
            fleet,
            gateways,
            cast: Cast { anna, bert, rita, olga, frank, rena },
            log: Vec::new(),
            handles,
            serial: 0,
            _folder: folder,
        };
        let Cast { anna, rita, olga, .. } = &world.cast;
        let path = format!("/2/users/{}/following", rita.id);
        world.post(rita, &path, json!({ "target_user_id": anna.id })).await;
        let protected = json!({ "protected": true });
        world.post(olga, "/pillion/v1/account/profile", protected).await;
        world
    }

    /// The one whom the reader follows.
    pub(crate) fn anna(&self) -> &Person {
        &self.cast.anna
    }

    /// Who follows the first author.
    pub(crate) fn rita(&self) -> &Person {
        &self.cast.rita
    }

    /// Everybody at work; those whose doings are sagas only if wanted.
    pub(crate) fn load(&mut self, sagas: bool) -> Load {
        self.serial += 1;
        Load::start(&self.gateways, &self.cast, self.serial, sagas)
    }

    /// Keeps what was done for the check.
    pub(crate) fn keep(&mut self, done: &Done) {
        self.log.extend(done.log.iter().cloned());
        self.handles.extend(done.handles.iter().cloned());
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
        let Cast { anna, bert, rita, olga, frank, rena } = &mut self.cast;
        for person in [anna, bert, rita, olga, frank] {
            person.token = log_in(&self.gateways, &person.username).await.expect("they log in");
        }
        for handle in self.handles.iter().rev() {
            if let Some(token) = log_in(&self.gateways, handle).await {
                rena.token = token;
                return;
            }
        }
        panic!("none of {:?} logs in", self.handles);
    }

    /// Waits until every saga is at its end and everything has been taken up everywhere, and holds
    /// the fleet against the log and the services against each other.
    pub(crate) async fn hold(&mut self) {
        // Nobody waits for an answer any more.
        let Cast { olga, frank, .. } = &self.cast;
        let path = format!("/2/users/{}/following/{}", frank.id, olga.id);
        let undone = self.gateways.ask(&frank.token, Method::DELETE, &path, &Value::Null).await;
        undone.expect("an answer").expect(200);
        let ledger = Ledger::of_servers(|service| self.fleet.databases()[service].clone()).await;
        let (sagas, ended) = self.sagas(&ledger).await;
        let even = fleet::until_even(&self.fleet).await;
        let held = self.held().await;
        let report = history::check(&self.log, &held).expect("a log of ours");
        println!("{ended}; even after {even:?}: {report}");
        assert!(report.is_good(), "{report}");
        self.home_is(&held).await;
        let kinds = self.kinds(&sagas);
        let live = ledger.hold(&sagas, &kinds).await;
        ledger.close().await;
        let rena = &mut self.cast.rena;
        let found = live.iter().find(|(_, id)| id.to_string() == rena.id);
        let handle = found.map(|(handle, _)| handle.clone()).expect("she is there");
        assert!(self.handles.contains(&handle), "{handle} is none of {:?}", self.handles);
        rena.username.clone_from(&handle);
        self.handles = vec![handle];
    }

    /// Makes the tables of all services again of their events: they must be what they were.
    pub(crate) fn rebuilds_the_same(&self) {
        for service in fleet::WITH_EVENTS {
            let rebuilt = fleet::rebuild(&self.fleet, service).expect("it is rebuilt");
            assert_eq!(rebuilt["identical"], json!(true), "{service}: {rebuilt}");
        }
    }

    /// Every saga, when all are at their ends; and how many ended how.
    async fn sagas(&self, ledger: &Ledger) -> (Vec<Value>, String) {
        let began = Instant::now();
        loop {
            let sagas = ledger.sagas().await;
            let under_way = sagas.iter().filter(|saga| {
                !matches!(saga["state"].as_str(), Some("completed" | "compensated"))
            });
            let under_way: Vec<&Value> = under_way.collect();
            if under_way.is_empty() {
                let mut ends: BTreeMap<String, u32> = BTreeMap::new();
                for saga in &sagas {
                    let end = format!("{} {}", text(&saga["saga"]), text(&saga["state"]));
                    *ends.entry(end).or_default() += 1;
                }
                let ends: Vec<String> = ends.iter().map(|(end, n)| format!("{n} {end}")).collect();
                let took = began.elapsed();
                return (sagas, format!("all sagas ended after {took:?}: {}", ends.join(", ")));
            }
            assert!(began.elapsed() < SAGAS_DEADLINE, "{under_way:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The steps of every kind of saga that there is.
    fn kinds(&self, sagas: &[Value]) -> Kinds {
        let mut kinds = Kinds::new();
        for saga in sagas {
            kinds.entry(text(&saga["saga"])).or_insert_with(|| {
                let (id, service) = (text(&saga["id"]), text(&saga["service"]));
                let shown = fleet::ask(&self.fleet, &service, &["saga", "show", &id]);
                let shown = shown.expect("an answer");
                let steps = shown["steps"].as_array().expect("steps").iter();
                steps.map(|step| (text(&step["step"]), text(&step["kind"]))).collect()
            });
        }
        kinds
    }

    /// All tweets, likes and new accounts that the fleet holds, the oldest of each stream first.
    async fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        let Cast { anna, bert, rita, .. } = &self.cast;
        for author in [anna, bert] {
            let path = format!("/2/users/{}/tweets?max_results=100", author.id);
            let mut tweets = self.pages(author, &path).await;
            tweets.reverse();
            let mine = |tweet: &Value| Held { key: text(&tweet["text"]), id: text(&tweet["id"]) };
            held.extend(tweets.iter().map(mine).filter(|held| !held.key.starts_with("live ")));
        }
        let path = format!("/2/users/{}/liked_tweets?max_results=100", rita.id);
        let mut liked = self.pages(rita, &path).await;
        liked.reverse();
        held.extend(liked.iter().map(|tweet| {
            let id = text(&tweet["id"]);
            Held { key: format!("like {id}"), id }
        }));
        for line in &self.log {
            let Line::Attempt { key, .. } = line else { continue };
            if key.starts_with("new_") {
                let found = self.get(rita, &format!("/2/users/by/username/{key}")).await;
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
        let rita = self.rita();
        let path = format!("/2/users/{}/timelines/reverse_chronological?max_results=100", rita.id);
        let home = self.pages(rita, &path).await;
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
    let token = log_in(gateways, username).await.expect("they log in");
    Person { id: text(&made["data"]["id"]), username: username.to_owned(), token }
}

/// A token, unless nobody has this name.
async fn log_in(gateways: &Gateways, username: &str) -> Option<String> {
    let login = json!({ "username": username, "password": PASSWORD });
    let answer = gateways.ask("", Method::POST, "/pillion/v1/login", &login).await;
    let answer = answer.expect("an answer");
    (answer.status != 401).then(|| text(&answer.expect(200).json()["access_token"]))
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// So long callers need to see that a process is ready again: two health checks, and one that was
/// just under way.
pub(crate) const SEEN: Duration = Duration::from_millis(4_500);
