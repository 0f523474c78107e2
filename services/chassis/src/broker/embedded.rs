//! The broker of a single machine: a file of its own, and a wake-up for those who wait in the same
//! process.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteSynchronous;
use tokio::sync::watch;

use super::{Broker, BrokerError, Subscription, check_consecutive, check_name, decode, encode};
use crate::database::{DatabaseError, file_error, migration_error, sqlite};
use crate::event_log::Recorded;

/// How late an event may be seen that another process has published. In the same process nobody
/// waits for it. One short read per subscription and half second costs nothing to speak of.
const POLL_TIME_MAX: Duration = Duration::from_millis(500);
/// Events in one answer, whatever the caller would take: some hundred kilobytes.
const READ_COUNT_MAX: usize = 1_000;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/broker/sqlite");

/// A broker in an `SQLite` file. Clones are the same broker. Processes of one machine may open the
/// file at the same time; while none has it open it may be deleted, and is filled again.
#[derive(Debug, Clone)]
pub struct EmbeddedBroker {
    pools: sqlite::Pools,
    /// For each source, what wakes its subscriptions.
    published: Arc<Mutex<HashMap<String, watch::Sender<()>>>>,
}

impl EmbeddedBroker {
    /// Opens the file, or makes it; its folder must exist.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, BrokerError> {
        let path = path.as_ref();
        // Of processes that start together one makes the file; the migrations lock nothing.
        let _turn = turn(path).await?;
        // NORMAL syncs at checkpoints only: a power cut may take the last events, but leaves the
        // file whole. They are in the services' logs, which do sync, and the relay publishes
        // them again. With FULL every event would cost one more sync for nothing.
        let pools = sqlite::open(path, SqliteSynchronous::Normal).await?;
        MIGRATIONS
            .run(&pools.writer)
            .await
            .map_err(|error| migration_error(&path.display().to_string(), error))?;
        Ok(Self { pools, published: Arc::default() })
    }

    /// Lets what is under way end, then closes the file and folds the write-ahead log into it.
    pub async fn close(&self) {
        self.pools.readers.close().await;
        self.pools.writer.close().await;
    }

    /// What wakes the subscriptions of a source.
    fn published(&self, source: &str) -> watch::Sender<()> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.entry(source.to_owned()).or_default().clone()
    }
}

/// Waits until no other process is opening the file. The kernel ends the turn of one that dies.
async fn turn(path: &Path) -> Result<File, BrokerError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::create(beside)?;
        file.lock()?;
        Ok(file)
    });
    let locked = locked.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    locked.map_err(|error| file_error(&path.display().to_string(), error).into())
}

const LAST_POSITION: &str = "SELECT coalesce(max(position), 0) FROM broker_log WHERE source = $1";

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn last_position(&self, source: &str) -> Result<i64, BrokerError> {
        check_name(source)?;
        let (last,) =
            sqlx::query_as(LAST_POSITION).bind(source).fetch_one(&self.pools.readers).await?;
        Ok(last)
    }

    async fn event(&self, source: &str, position: i64) -> Result<Option<Recorded>, BrokerError> {
        check_name(source)?;
        let found: Option<(String,)> =
            sqlx::query_as("SELECT event FROM broker_log WHERE source = $1 AND position = $2")
                .bind(source)
                .bind(position)
                .fetch_optional(&self.pools.readers)
                .await?;
        found.map(|(event,)| decode(source, position, event.as_bytes())).transpose()
    }

    async fn publish(
        &self,
        source: &str,
        after: i64,
        events: &[Recorded],
    ) -> Result<(), BrokerError> {
        check_consecutive(source, after, events)?;
        let encoded = events.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        // One statement for all of them, whatever their number.
        let encoded =
            serde_json::to_string(&encoded).map_err(|error| BrokerError::Failed(error.into()))?;
        let mut transaction = self.pools.writer.begin_with("BEGIN IMMEDIATE").await?;
        let (last,): (i64,) =
            sqlx::query_as(LAST_POSITION).bind(source).fetch_one(&mut *transaction).await?;
        if last != after {
            return Err(BrokerError::OutOfOrder { last });
        }
        sqlx::query(
            "INSERT INTO broker_log (source, position, event)
             SELECT $1, $2 + 1 + key, value FROM json_each($3)",
        )
        .bind(source)
        .bind(after)
        .bind(encoded)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.published(source).send_replace(());
        Ok(())
    }

    async fn subscribe(
        &self,
        source: &str,
        after: i64,
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        check_name(source)?;
        let published = self.published(source);
        Ok(Box::new(EmbeddedSubscription {
            pools: self.pools.clone(),
            source: source.to_owned(),
            position: after,
            published,
        }))
    }

    async fn check(&self) -> Result<(), BrokerError> {
        sqlx::query("SELECT 1 FROM broker_log LIMIT 1").execute(&self.pools.readers).await?;
        Ok(())
    }
}

#[derive(Debug)]
struct EmbeddedSubscription {
    pools: sqlite::Pools,
    source: String,
    /// Of the last event that was given out.
    position: i64,
    published: watch::Sender<()>,
}

impl EmbeddedSubscription {
    /// The events after the position, as far as they are there.
    async fn read(&self, max: usize) -> Result<Vec<Recorded>, BrokerError> {
        let max = i64::try_from(max.clamp(1, READ_COUNT_MAX)).unwrap_or(i64::MAX);
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT position, event FROM broker_log
             WHERE source = $1 AND position > $2 ORDER BY position LIMIT $3",
        )
        .bind(&self.source)
        .bind(self.position)
        .bind(max)
        .fetch_all(&self.pools.readers)
        .await?;
        let mut events = Vec::with_capacity(rows.len());
        for ((position, event), expected) in rows.iter().zip(self.position + 1..) {
            if *position != expected {
                let name = self.source.clone();
                return Err(BrokerError::Gap { name, after: expected - 1, found: *position });
            }
            events.push(decode(&self.source, *position, event.as_bytes())?);
        }
        Ok(events)
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self, max: usize) -> Result<Vec<Recorded>, BrokerError> {
        loop {
            // Before the read: what is published after it is news.
            let mut news = self.published.subscribe();
            let events = self.read(max).await?;
            if let Some(last) = events.last() {
                self.position = last.position;
                return Ok(events);
            }
            // Whether woken or out of time, it reads again.
            let _ = tokio::time::timeout(POLL_TIME_MAX, news.changed()).await;
        }
    }
}

impl From<sqlx::Error> for BrokerError {
    fn from(error: sqlx::Error) -> Self {
        match DatabaseError::from(error) {
            error @ (DatabaseError::Busy(_)
            | DatabaseError::Unavailable(_)
            | DatabaseError::NoNode) => Self::Unavailable(error.into()),
            error @ DatabaseError::Full(_) => Self::Full(error.into()),
            error @ (DatabaseError::Failed(_) | DatabaseError::Corrupt(_) | DatabaseError::Nul) => {
                Self::Failed(error.into())
            }
        }
    }
}
