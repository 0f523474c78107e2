//! What people do while something happens to the fleet, through both gateways, and what came of it.
//!
//! The client is what stands before gateways elsewhere: it asks each whether it is ready, goes to
//! one that is, and to another one when there is no connection. It repeats nothing that was sent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use pillion_tests::client::{Answer, Client};
use pillion_tests::history::{Line, Outcome};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::world::{Cast, Person};

/// How often a gateway is asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Between two things that one person does.
const PAUSE: Duration = Duration::from_millis(60);
/// Between two new accounts, two handles, two requests to follow.
const SAGA_PAUSE: Duration = Duration::from_secs(1);

/// The gateways, and which of them are ready.
#[derive(Clone, Debug)]
pub(crate) struct Gateways {
    all: Arc<Vec<(Client, AtomicBool)>>,
    turn: Arc<AtomicUsize>,
}

impl Gateways {
    pub(crate) fn new(urls: &[String]) -> Self {
        let all = urls.iter().map(|url| (Client::new(url), AtomicBool::new(true))).collect();
        let gateways = Self { all: Arc::new(all), turn: Arc::default() };
        for index in 0..urls.len() {
            let all = Arc::downgrade(&gateways.all);
            tokio::spawn(async move {
                while let Some(all) = all.upgrade() {
                    let (client, is_ready) = &all[index];
                    let answer = client.get("/readyz").try_send().await;
                    let ready = answer.is_ok_and(|answer| answer.status.is_success());
                    is_ready.store(ready, Ordering::Relaxed);
                    drop(all);
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            });
        }
        gateways
    }

    /// An answer of one that is ready, or why there is none.
    pub(crate) async fn ask(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut places: Vec<usize> =
            (0..self.all.len()).map(|step| (turn + step) % self.all.len()).collect();
        places.sort_by_key(|index| !self.all[*index].1.load(Ordering::Relaxed));
        let mut last = None;
        for index in places {
            let (client, is_ready) = &self.all[index];
            let mut call = client.call(method.clone(), path);
            if !token.is_empty() {
                call = call.bearer(token);
            }
            if !body.is_null() {
                call = call.json(body);
            }
            match call.try_send().await {
                Err(error) if is_no_connection(&error) => {
                    is_ready.store(false, Ordering::Relaxed);
                    last = Some(error);
                }
                answered => return answered,
            }
        }
        Err(last.expect("there are gateways"))
    }
}

fn is_no_connection(error: &anyhow::Error) -> bool {
    use hyper_util::client::legacy::Error;
    error.downcast_ref().is_some_and(Error::is_connect)
}

/// What was not answered with success.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) at: Instant,
    pub(crate) what: String,
}

/// What everybody did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) log: Vec<Line>,
    pub(crate) requests: u64,
    pub(crate) failures: Vec<Failure>,
    /// Handles that somebody asked for who may have them now, for all that they were told.
    pub(crate) handles: Vec<String>,
}

/// People at work until they are told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Done>>,
    tasks: Vec<JoinHandle<Vec<Line>>>,
    renaming: Option<JoinHandle<Vec<String>>>,
}

/// One of those people.
#[derive(Clone)]
struct Worker {
    gateways: Gateways,
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Done>>,
}

impl Load {
    /// Two who post, one who likes what the first posts, one who reads, and, if wanted, those who
    /// keep sagas going: new people, another handle, a request to follow. `serial` makes keys new.
    pub(crate) fn start(gateways: &Gateways, cast: &Cast, serial: u32, sagas: bool) -> Self {
        let Cast { anna, bert, rita, olga, frank, rena } = cast.clone();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let worker =
            Worker { gateways: gateways.clone(), stop: Arc::clone(&stop), done: Arc::clone(&done) };
        let (tell, posted) = mpsc::unbounded_channel();
        let mut tasks = vec![
            tokio::spawn(worker.clone().post(anna.clone(), serial, Some(tell))),
            tokio::spawn(worker.clone().post(bert, serial, None)),
            tokio::spawn(worker.clone().like(rita.clone(), posted)),
            tokio::spawn(worker.clone().read(rita, anna)),
        ];
        let mut renaming = None;
        if sagas {
            tasks.push(tokio::spawn(worker.clone().register(serial)));
            tasks.push(tokio::spawn(worker.clone().follow(frank, olga)));
            renaming = Some(tokio::spawn(worker.rename(rena, serial)));
        }
        Self { stop, done, tasks, renaming }
    }

    /// What failed since a moment.
    pub(crate) fn failures_since(&self, moment: Instant) -> Vec<Failure> {
        let done = self.done.lock().expect("no panic");
        done.failures.iter().filter(|failure| failure.at >= moment).cloned().collect()
    }

    /// Ends it; what everybody did.
    pub(crate) async fn stop(self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let mut log = Vec::new();
        for task in self.tasks {
            log.extend(task.await.expect("no panic"));
        }
        let mut done = std::mem::take(&mut *self.done.lock().expect("no panic"));
        done.log = log;
        if let Some(renaming) = self.renaming {
            done.handles = renaming.await.expect("no panic");
        }
        done
    }
}

impl Worker {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Asks, and counts what is not a success.
    async fn ask(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> anyhow::Result<Answer> {
        let answer = self.gateways.ask(token, method.clone(), path, &body).await;
        let at = Instant::now();
        let mut done = self.done.lock().expect("no panic");
        done.requests += 1;
        if let Ok(answer) = &answer {
            // Whatever happens to the shared limiter, callers know where they stand.
            let left = answer.header("x-rate-limit-remaining");
            assert!(!left.is_empty(), "{method} {path}: {} without limits", answer.status);
        }
        let what = match &answer {
            Ok(answer) if answer.status.is_success() => return Ok(answer.clone()),
            Ok(answer) => format!("{method} {path}: {} {}", answer.status, answer.text()),
            Err(error) => format!("{method} {path}: {error:#}"),
        };
        done.failures.push(Failure { at, what });
        drop(done);
        answer
    }

    /// A write that is logged; its id when it was acknowledged.
    async fn write(
        &self,
        log: &mut Vec<Line>,
        (key, stream): (String, &str),
        asked: impl Future<Output = anyhow::Result<Answer>>,
        id: impl FnOnce(&Answer) -> Option<String>,
    ) -> Option<String> {
        log.push(Line::Attempt { key: key.clone(), stream: stream.to_owned() });
        let (outcome, id) = match asked.await {
            Ok(answer) if answer.status.is_success() => {
                let id = id(&answer).unwrap_or_else(|| panic!("{}", answer.text()));
                (Outcome::Acknowledged(id.clone()), Some(id))
            }
            // A service that could not be reached, or gave up, may have done it all the same.
            Ok(answer) if answer.status.is_server_error() => (Outcome::Unknown, None),
            Ok(answer) => panic!("{key}: {} {}", answer.status, answer.text()),
            Err(_) => (Outcome::Unknown, None),
        };
        log.push(Line::Outcome { key, outcome });
        id
    }

    async fn post(
        self,
        author: Person,
        serial: u32,
        tell: Option<mpsc::UnboundedSender<String>>,
    ) -> Vec<Line> {
        let mut log = Vec::new();
        let stream = format!("tweets of {}", author.username);
        for n in 0_u32.. {
            if !self.goes_on() {
                break;
            }
            let key = format!("{} {serial} {n}", author.username);
            let body = json!({ "text": key });
            let asked = self.ask(&author.token, Method::POST, "/2/tweets", body);
            let id = self
                .write(&mut log, (key, &stream), asked, |answer| {
                    answer.json()["data"]["id"].as_str().map(str::to_owned)
                })
                .await;
            if let (Some(tell), Some(id)) = (&tell, id) {
                // Whoever likes ends when this does.
                tell.send(id).ok();
            }
            tokio::time::sleep(PAUSE).await;
        }
        log
    }

    async fn like(self, who: Person, mut posted: mpsc::UnboundedReceiver<String>) -> Vec<Line> {
        let mut log = Vec::new();
        let path = format!("/2/users/{}/likes", who.id);
        while let Some(id) = posted.recv().await {
            if !self.goes_on() {
                break;
            }
            let body = json!({ "tweet_id": id });
            let asked = self.ask(&who.token, Method::POST, &path, body);
            self.write(&mut log, (format!("like {id}"), "likes"), asked, |answer| {
                (answer.json()["data"]["liked"] == json!(true)).then(|| id.clone())
            })
            .await;
        }
        log
    }

    async fn read(self, who: Person, whom: Person) -> Vec<Line> {
        let paths = [
            format!("/2/users/{}/timelines/reverse_chronological?expansions=author_id", who.id),
            format!("/2/users/{}/tweets?max_results=20&tweet.fields=public_metrics", whom.id),
            "/2/users/me?user.fields=public_metrics".to_owned(),
            format!("/2/users/{}/followers", whom.id),
            "/2/tweets/search/recent?query=anna".to_owned(),
            "/pillion/v1/notifications".to_owned(),
        ];
        for path in paths.iter().cycle() {
            if !self.goes_on() {
                break;
            }
            // What fails is counted.
            self.ask(&who.token, Method::GET, path, Value::Null).await.ok();
            tokio::time::sleep(PAUSE).await;
        }
        Vec::new()
    }

    /// New accounts; their keys are their names.
    async fn register(self, serial: u32) -> Vec<Line> {
        let mut log = Vec::new();
        for n in 0_u32.. {
            if !self.goes_on() {
                break;
            }
            let username = format!("new_{serial}_{n}");
            let body = json!({
                "username": username, "name": username, "password": "correct horse battery"
            });
            let asked = self.ask("", Method::POST, "/pillion/v1/accounts", body);
            self.write(&mut log, (username.clone(), &username), asked, |answer| {
                answer.json()["data"]["id"].as_str().map(str::to_owned)
            })
            .await;
            tokio::time::sleep(SAGA_PAUSE).await;
        }
        log
    }

    /// Asks a protected account, who accepts and denies in turn, and takes it back. What fails is
    /// counted; what came of it is in the databases.
    async fn follow(self, who: Person, whom: Person) -> Vec<Line> {
        let following = format!("/2/users/{}/following", who.id);
        let target = json!({ "target_user_id": whom.id });
        for verb in ["accept", "deny"].iter().cycle() {
            if !self.goes_on() {
                break;
            }
            let asked = self.ask(&who.token, Method::POST, &following, target.clone()).await;
            let is_pending = |answer: Answer| {
                answer.status.is_success() && answer.json()["data"]["pending_follow"] == json!(true)
            };
            if asked.is_ok_and(is_pending) {
                let path = format!("/pillion/v1/follow-requests/{}/{verb}", who.id);
                self.ask(&whom.token, Method::POST, &path, Value::Null).await.ok();
            }
            tokio::time::sleep(SAGA_PAUSE).await;
            let path = format!("{following}/{}", whom.id);
            self.ask(&who.token, Method::DELETE, &path, Value::Null).await.ok();
        }
        Vec::new()
    }

    /// One handle after the other: the one acknowledged last and those of which nobody was told
    /// what became of them.
    async fn rename(self, who: Person, serial: u32) -> Vec<String> {
        let (mut last, mut perhaps) = (who.username.clone(), Vec::new());
        for n in 0_u32.. {
            if !self.goes_on() {
                break;
            }
            let handle = format!("rena_{serial}_{n}");
            let body = json!({ "username": handle });
            let path = "/pillion/v1/account/username";
            match self.ask(&who.token, Method::POST, path, body).await {
                Ok(answer) if answer.status.is_success() => last = handle,
                // The change before is not over.
                Ok(answer) if answer.status == 409 => {}
                Ok(answer) if !answer.status.is_server_error() => {
                    panic!("{handle}: {} {}", answer.status, answer.text())
                }
                Ok(_) | Err(_) => perhaps.push(handle),
            }
            tokio::time::sleep(SAGA_PAUSE).await;
        }
        perhaps.push(last);
        perhaps
    }
}
