//! Some accounts, what they do until the process ends under them, and whether the system then
//! holds what it must.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pillion_tests::client::{Answer, Client};
use pillion_tests::history::{self, Held, Line, Outcome};
use pillion_tests::system::System;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Everything recorded has been taken up everywhere within this, after a start.
const EVEN_DEADLINE: Duration = Duration::from_mins(1);
/// Services with events.
const SERVICES: [&str; 7] =
    ["users", "tweets", "graph", "engagements", "timelines", "search", "notifications"];

/// An account and its token.
#[derive(Debug, Clone)]
struct Account {
    id: String,
    token: String,
}

/// A system under test, and the log of what was asked of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) system: System,
    authors: [Account; 2],
    reader: Account,
    log: Vec<Line>,
    serial: u32,
}

/// What everybody did, and what came of it.
#[derive(Debug)]
pub(crate) struct Done(Vec<Line>);

impl Done {
    /// To the log of the world in which it was done.
    pub(crate) fn add_to(self, world: &mut World) {
        world.log.extend(self.0);
    }
}

/// Rate limits are another suite's business.
pub(crate) fn without_limits(config: &str) -> String {
    config.replace(
        "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]",
        "plugins = [\"logging\", \"auth\"]",
    )
}

impl World {
    /// Two authors, and a reader who follows the first; stopped then.
    pub(crate) async fn begin(system: System) -> Self {
        let mut world = Self::begin_running(system).await;
        world.system.stop();
        world
    }

    /// The same, running.
    pub(crate) async fn begin_running(system: System) -> Self {
        let mut accounts = Vec::new();
        for name in ["anna", "bert", "rita"] {
            let (id, token) = system.register(name).await;
            accounts.push(Account { id, token });
        }
        let [anna, bert, reader] = <[Account; 3]>::try_from(accounts).expect("three accounts");
        let target = json!({ "target_user_id": anna.id });
        system
            .client
            .post(&format!("/2/users/{}/following", reader.id))
            .bearer(&reader.token)
            .json(&target)
            .send()
            .await
            .expect(200);
        Self { system, authors: [anna, bert], reader, log: Vec::new(), serial: 0 }
    }

    /// New tokens: the old ones last for 15 minutes only.
    async fn log_in(&mut self) {
        let names = ["anna", "bert", "rita"];
        let accounts = self.authors.iter_mut().chain([&mut self.reader]);
        for (account, name) in accounts.zip(names) {
            account.token = self.system.login(name, "").await;
        }
    }

    /// Everybody is busy until something fails, or `writes_max` writes of each were answered.
    pub(crate) async fn work(&mut self, writes_max: u32) {
        let done = self.work_beside(writes_max).await.expect("no panic");
        done.add_to(self);
    }

    /// [`Self::work`] beside whatever else is to happen.
    pub(crate) fn work_beside(&mut self, writes_max: u32) -> tokio::task::JoinHandle<Done> {
        let client = self.system.client.clone();
        self.serial += 1;
        let serial = self.serial;
        let [anna, bert] = self.authors.clone();
        let reader = self.reader.clone();
        let (tell, mut posted) = mpsc::unbounded_channel::<String>();
        let shared = client.clone();
        let posts = move |author: Account,
                          name: &'static str,
                          tell: Option<mpsc::UnboundedSender<String>>| {
            let client = shared.clone();
            async move {
                let mut log = Vec::new();
                for n in 0..writes_max {
                    let key = format!("{name} {serial} {n}");
                    let stream = format!("tweets of {name}");
                    let body = json!({ "text": key });
                    let call = client.post("/2/tweets").bearer(&author.token).json(&body);
                    let id = attempt(&mut log, key, stream, call.try_send().await, |answer| {
                        answer.json()["data"]["id"].as_str().map(str::to_owned)
                    });
                    let Some(id) = id else { break };
                    if let Some(tell) = &tell {
                        // Whoever likes has gone when the process has.
                        tell.send(id).ok();
                    }
                }
                log
            }
        };
        let likes = async move {
            let mut log = Vec::new();
            while let Some(id) = posted.recv().await {
                let path = format!("/2/users/{}/likes", reader.id);
                let body = json!({ "tweet_id": id });
                let call = client.post(&path).bearer(&reader.token).json(&body);
                let key = format!("like {id}");
                let done =
                    attempt(&mut log, key, "likes".to_owned(), call.try_send().await, |answer| {
                        (answer.json()["data"]["liked"] == json!(true)).then(|| id.clone())
                    });
                if done.is_none() {
                    break;
                }
            }
            posted.close();
            log
        };
        let done = async move {
            let (a, b, c) =
                tokio::join!(posts(anna, "anna", Some(tell)), posts(bert, "bert", None), likes);
            Done([a, b, c].concat())
        };
        tokio::spawn(done)
    }

    /// One more tweet of the first author; logged like the others.
    pub(crate) async fn post(&mut self) -> Answer {
        self.serial += 1;
        let key = format!("anna {}", self.serial);
        let [anna, _] = &self.authors;
        let body = json!({ "text": key });
        let call = self.system.client.post("/2/tweets").bearer(&anna.token).json(&body);
        let answer = call.send().await;
        let stream = "tweets of anna".to_owned();
        attempt(&mut self.log, key, stream, Ok(answer.clone()), |answer| {
            answer.json()["data"]["id"].as_str().map(str::to_owned)
        });
        answer
    }

    /// What the reader sees first.
    pub(crate) async fn read_home(&self) {
        let path =
            format!("/2/users/{}/timelines/reverse_chronological?max_results=10", self.reader.id);
        let home = get(&self.system.client, &path, &self.reader.token).await;
        assert!(home["data"].is_array(), "{home}");
    }

    /// Starts the system again and holds it against the log.
    pub(crate) async fn check(&mut self) {
        self.system.launch();
        self.log_in().await;
        self.until_even().await;
        self.hold().await;
    }

    /// Holds the running system, in which everything has been taken up, against the log.
    pub(crate) async fn hold(&self) {
        let held = self.held().await;
        let report = history::check(&self.log, &held).expect("a log of ours");
        assert!(report.is_good(), "{report}\n{}", self.system.log());

        let annas: Vec<&Held> = held.iter().filter(|held| held.key.starts_with("anna")).collect();
        self.home_is(&annas).await;
        self.likes_count(&held).await;
        for service in SERVICES {
            self.rebuilds_the_same(service);
        }
    }

    /// What was judged so far, in words.
    pub(crate) async fn report(&self) -> String {
        let held = self.held().await;
        history::check(&self.log, &held).expect("a log of ours").to_string()
    }

    /// `pillion events …` with JSON as its answer.
    fn events(&self, arguments: &[&str]) -> std::process::Output {
        self.bare(&[["events"].as_slice(), arguments, &["--json"]].concat())
    }

    /// `pillion events …` as people read it.
    pub(crate) fn events_as_text(&self, arguments: &[&str]) -> String {
        let output = self.bare(&[["events"].as_slice(), arguments].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn bare(&self, arguments: &[&str]) -> std::process::Output {
        bare(&self.system, arguments)
    }

    /// Waits until every service has taken up everything; nothing may be parked.
    pub(crate) async fn until_even(&self) {
        until_even(&self.system).await;
    }

    /// All tweets and likes that the system holds, the oldest of each stream first.
    async fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for author in &self.authors {
            let path = format!("/2/users/{}/tweets?max_results=100", author.id);
            let mut tweets = self.pages(&path, &author.token).await;
            tweets.reverse();
            held.extend(
                tweets
                    .into_iter()
                    .map(|tweet| Held { key: text(&tweet["text"]), id: text(&tweet["id"]) }),
            );
        }
        let path = format!("/2/users/{}/liked_tweets?max_results=100", self.reader.id);
        let mut liked = self.pages(&path, &self.reader.token).await;
        liked.reverse();
        held.extend(liked.into_iter().map(|tweet| {
            let id = text(&tweet["id"]);
            Held { key: format!("like {id}"), id }
        }));
        held
    }

    /// The reader's home is the tweets of the one whom they follow: each once, latest first, no
    /// other. At most 800, as a home holds.
    async fn home_is(&self, tweets: &[&Held]) {
        let path =
            format!("/2/users/{}/timelines/reverse_chronological?max_results=100", self.reader.id);
        let home = self.pages(&path, &self.reader.token).await;
        let home: Vec<String> = home.iter().map(|tweet| text(&tweet["id"])).collect();
        let expected: Vec<String> =
            tweets.iter().rev().take(800).map(|held| held.id.clone()).collect();
        assert_eq!(home, expected);
    }

    async fn likes_count(&self, held: &[Held]) {
        let liked: Vec<&str> = held
            .iter()
            .filter(|held| held.key.starts_with("like "))
            .map(|held| held.id.as_str())
            .collect();
        for ids in liked.chunks(100) {
            let path = format!("/2/tweets?ids={}&tweet.fields=public_metrics", ids.join(","));
            let answer = get(&self.system.client, &path, &self.reader.token).await;
            let tweets = answer["data"].as_array().expect("tweets");
            assert_eq!(tweets.len(), ids.len(), "{answer}");
            for tweet in tweets {
                assert_eq!(tweet["public_metrics"]["like_count"], json!(1), "{tweet}");
            }
        }
    }

    fn rebuilds_the_same(&self, service: &str) {
        let output = self.events(&["rebuild", service]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{service}: {error}");
        let rebuilt: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(rebuilt["identical"], json!(true), "{service}: {told}");
    }

    async fn pages(&self, path: &str, token: &str) -> Vec<Value> {
        /// More than any run makes.
        const PAGES_MAX: usize = 200;
        let mut items = Vec::new();
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let answer = get(&self.system.client, &format!("{path}{next}"), token).await;
            items.extend(answer["data"].as_array().cloned().unwrap_or_default());
            match answer["meta"]["next_token"].as_str() {
                Some(token) => next = format!("&pagination_token={token}"),
                None => return items,
            }
        }
        panic!("{path} has no end");
    }
}

/// `pillion …` about a running system.
fn bare(system: &System, arguments: &[&str]) -> std::process::Output {
    let (admin, token) = (system.admin(), system.admin_token());
    let running = ["--admin-url", admin.base(), "--admin-token", &token];
    System::bare(&[arguments, &running].concat())
}

/// Waits until every service has taken up everything; nothing may be parked.
pub(crate) async fn until_even(system: &System) {
    let began = Instant::now();
    loop {
        let output = bare(system, &["events", "lag", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let services: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(services.len(), SERVICES.len(), "{text}");
        let is_even = services.iter().all(|service| {
            let sources = service["sources"].as_array().expect("sources");
            service["published"] == service["recorded"]
                && sources.iter().all(|source| source["lag"] == json!(0))
        });
        assert!(services.iter().all(|service| service["parked"] == json!(0)), "{text}");
        if is_even {
            return;
        }
        assert!(began.elapsed() < EVEN_DEADLINE, "{text}\n{}", system.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Logs an attempt and its outcome; the id when it was acknowledged.
fn attempt(
    log: &mut Vec<Line>,
    key: String,
    stream: String,
    answer: anyhow::Result<Answer>,
    id: impl FnOnce(&Answer) -> Option<String>,
) -> Option<String> {
    log.push(Line::Attempt { key: key.clone(), stream });
    let (outcome, id) = match answer {
        Ok(answer) if answer.status.is_success() => match id(&answer) {
            Some(id) => (Outcome::Acknowledged(id.clone()), Some(id)),
            None => panic!("{}", answer.text()),
        },
        // A service that could not be reached, or gave up, may have done it all the same.
        Ok(answer) if answer.status.is_server_error() => (Outcome::Unknown, None),
        Ok(answer) => panic!("{key}: {} {}", answer.status, answer.text()),
        Err(_) => (Outcome::Unknown, None),
    };
    log.push(Line::Outcome { key, outcome });
    id
}

async fn get(client: &Client, path: &str, token: &str) -> Value {
    client.get(path).bearer(token).send().await.expect(200).json()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Counts by name, for the end of a test.
pub(crate) fn told(counts: &BTreeMap<&str, u32>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
