//! Personal data from the log of one service to the tables of another, while there are keys and
//! when there are none any more.

mod asking;
mod erasing;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use pillion_events::{DecodeError, Event, Personal, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::broker::{Broker, EmbeddedBroker};
use crate::clock::FakeClock;
use crate::database::tests::migrations;
use crate::database::{Backend, Database, Transaction};
use crate::event_log::{self, AppendError, Recorded};
use crate::journal::{ApplyError, Journal, Projection, Status};
use crate::peers::InProcessPeers;
use crate::problem::Problem;
use crate::service::{Service, Shutdown};
use crate::sql::query;
use crate::testing::{
    BACKENDS, TestDatabase, by_service, caller, migrated, request, send, service_tokens,
};

const AT: Timestamp = Timestamp::from_micros(1_000_000);
/// What must be nowhere once it is sealed.
const SECRET: &str = "a rather private remark";

/// Somebody says something, or takes everything back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what")]
enum Talk {
    Said {
        user_id: UserId,
        #[serde(default)]
        text: String,
    },
    Left {
        user_id: UserId,
    },
}

impl Event for Talk {
    fn name(&self) -> &'static str {
        match self {
            Self::Said { .. } => "talk.said",
            Self::Left { .. } => "talk.left",
        }
    }
    fn version(&self) -> u16 {
        1
    }
    fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        serde_json::from_str(data).map_err(|source| DecodeError::Malformed {
            name: name.to_owned(),
            version,
            source,
        })
    }
    fn personal(&self) -> Option<Personal> {
        match self {
            Self::Said { user_id, .. } => Some(Personal { subject: *user_id, fields: &["text"] }),
            Self::Left { .. } => None,
        }
    }
}

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

/// What everybody said. As long as something stands in the table `mood`, nothing can be taken up.
#[derive(Debug)]
struct Sayings {
    follows: &'static [&'static str],
    opens: &'static [&'static str],
}

const TABLES: &str =
    "CREATE TABLE said (ordinal BIGINT PRIMARY KEY NOT NULL, user_id BIGINT NOT NULL, text TEXT NOT NULL);
    CREATE TABLE mood (mood TEXT NOT NULL)";

#[async_trait]
impl Projection for Sayings {
    fn follows(&self) -> &'static [&'static str] {
        self.follows
    }

    fn opens(&self) -> &'static [&'static str] {
        self.opens
    }

    fn tables(&self) -> &'static [&'static str] {
        &["said"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        let mood =
            query("SELECT mood FROM mood").fetch_optional::<(String,)>(&mut *transaction).await?;
        if mood.is_some() {
            return Err(ApplyError::poison("not in the mood"));
        }
        match event.decode()? {
            Talk::Said { user_id, text } => {
                query(
                    "INSERT INTO said (ordinal, user_id, text)
                     SELECT coalesce(max(ordinal), 0) + 1, $1, $2 FROM said",
                )
                .bind(user_id)
                .bind(&text)
                .execute(transaction)
                .await?;
            }
            Talk::Left { user_id } => {
                query("DELETE FROM said WHERE user_id = $1")
                    .bind(user_id)
                    .execute(transaction)
                    .await?;
            }
        }
        Ok(())
    }
}

/// A service, how it is reached and how often it was asked for keys.
struct Place {
    journal: Journal,
    router: Router,
    asked: Arc<AtomicUsize>,
    test: TestDatabase,
}

async fn place(
    backend: Backend,
    name: &'static str,
    follows: &'static [&'static str],
    peers: &Arc<InProcessPeers>,
) -> Place {
    let test = migrated(backend, &migrations(&[(1, TABLES)])).await;
    opened(test, name, Sayings { follows, opens: follows }, peers)
}

fn opened(
    test: TestDatabase,
    name: &'static str,
    projection: Sayings,
    peers: &Arc<InProcessPeers>,
) -> Place {
    let journal = Journal::new(name, test.database.clone(), Arc::new(projection));
    let service = Service {
        name,
        router: Router::new().fallback(crate::problem::no_such_route),
        routes: Vec::new(),
        workers: Vec::new(),
        journal: Some(journal),
        sagas: None,
    };
    let tokens = service_tokens(name, Arc::new(FakeClock::at(AT)));
    let service = exchange(service, peers.clone(), tokens);
    let routes: Vec<String> = service.routes.iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["GET /internal/personal-keys"]);
    let asked = Arc::new(AtomicUsize::new(0));
    Place { journal: service.journal.unwrap(), router: service.router, asked, test }
}

impl Place {
    /// Can be asked from now on, as the auth plugin lets services in.
    fn listens(&self, peers: &InProcessPeers) {
        let asked = self.asked.clone();
        let authorized = map_request(move |mut request: Request| {
            let asked = asked.clone();
            async move {
                let token = request.headers().get("authorization").unwrap().to_str().unwrap();
                assert!(token.starts_with("Bearer ey"), "{token}");
                request.extensions_mut().insert(by_service("ears"));
                asked.fetch_add(1, Ordering::Relaxed);
                request
            }
        });
        peers.register(self.journal.name(), self.router.clone().layer(authorized));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn database(&self) -> &Database {
        &self.test.database
    }

    async fn record(&self, user_id: u64, event: &Talk) -> Result<i64, AppendError> {
        let mut transaction = self.database().write().await?;
        let stream = format!("user/{user_id}");
        let version = self.journal.version(&mut transaction, &stream).await?;
        let position = self.journal.record(&mut transaction, &stream, version, event, AT).await?;
        transaction.commit().await?;
        Ok(position)
    }

    async fn say(&self, user_id: u64, text: &str) {
        let event = Talk::Said { user_id: user(user_id), text: text.to_owned() };
        self.record(user_id, &event).await.unwrap();
    }

    /// As a purge does: the last event, and the keys, at once.
    async fn erase(&self, user_id: u64) {
        let mut transaction = self.database().write().await.unwrap();
        let stream = format!("user/{user_id}");
        let version = self.journal.version(&mut transaction, &stream).await.unwrap();
        let event = Talk::Left { user_id: user(user_id) };
        self.journal.record(&mut transaction, &stream, version, &event, AT).await.unwrap();
        shred(&mut transaction, user(user_id)).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn shred(&self, user_id: u64) {
        let mut transaction = self.database().write().await.unwrap();
        shred(&mut transaction, user(user_id)).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn log(&self) -> Vec<Recorded> {
        event_log::read_after(self.database(), self.journal.name(), 0, 10_000).await.unwrap()
    }

    async fn said(&self) -> Vec<(i64, String)> {
        query("SELECT user_id, text FROM said ORDER BY ordinal")
            .fetch_all(self.database())
            .await
            .unwrap()
    }

    /// Users, sources, and whether the key is gone.
    async fn keys(&self) -> Vec<(i64, String, bool)> {
        let rows: Vec<(i64, String, Vec<u8>)> =
            query("SELECT user_id, source, key FROM personal_key ORDER BY user_id, source")
                .fetch_all(self.database())
                .await
                .unwrap();
        rows.into_iter().map(|(user_id, source, key)| (user_id, source, key == [0; 32])).collect()
    }

    async fn key(&self, user_id: u64) -> Vec<u8> {
        let sql = "SELECT key FROM personal_key WHERE user_id = $1";
        let key = query(sql).bind(user(user_id)).fetch_one::<(Vec<u8>,)>(self.database()).await;
        key.unwrap().0
    }

    async fn sql(&self, sql: &'static str) {
        let mut transaction = self.database().write().await.unwrap();
        query(sql).execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn rebuilds(&self, broker: &Arc<dyn Broker>) {
        let rebuilt = self.journal.rebuild(&**broker).await.unwrap();
        assert!(rebuilt.is_identical(), "{rebuilt:?}");
    }
}

fn said(of: &[(i64, &str)]) -> Vec<(i64, String)> {
    of.iter().map(|(user_id, text)| (*user_id, (*text).to_owned())).collect()
}

async fn broker(folder: &Path) -> Arc<dyn Broker> {
    Arc::new(EmbeddedBroker::open(folder.join("broker.sqlite")).await.unwrap())
}

/// Runs the workers of these places until the last of them is as said.
async fn until(
    places: &[&Place],
    broker: &Arc<dyn Broker>,
    is_done: impl AsyncFn(&Status) -> bool,
) {
    let (trigger, shutdown) = Shutdown::new();
    let workers = places.iter().flat_map(|place| place.journal.workers(broker));
    let tasks: Vec<_> = workers.map(|worker| tokio::spawn(worker.run(shutdown.clone()))).collect();
    let began = Instant::now();
    let last = places.last().unwrap();
    loop {
        let status = last.journal.status(Some(&**broker)).await.unwrap();
        if is_done(&status).await {
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    trigger.request();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Until the second place has taken up all that the first recorded.
async fn until_even(from: &Place, to: &Place, broker: &Arc<dyn Broker>) {
    let recorded = event_log::last_position(from.database()).await.unwrap();
    until(&[from, to], broker, async |status| status.sources[0].position == recorded).await;
}

/// Whether bytes are in one of the files of an `SQLite` database.
fn is_in(path: &Path, bytes: &[u8]) -> bool {
    let found = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let file = std::fs::read(name).unwrap_or_default();
        file.windows(bytes.len()).any(|window| window == bytes)
    };
    found("") || found("-wal")
}

/// Waits until an `SQLite` database's write-ahead log is empty.
async fn swept(path: &Path) {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let began = Instant::now();
    while std::fs::metadata(&wal).unwrap().len() > 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "the log is not emptied");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
