//! Event sourcing in one place: a service's events, its tables, which are a fold over them, and
//! its part in the traffic of events between services.
//!
//! A change is recorded ([`Journal::record`]): the event goes into the log and the tables take it
//! up, in one transaction. The relay then publishes it, from the log to the broker; the consumers
//! of the services that follow this one take it up in transactions of their own, each with its
//! cursor. Nobody ever commits to two places at once. The log is the truth: broker and tables can
//! be made from it again.

mod consume;
mod parked;
mod rebuild;
mod relay;
mod status;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use pillion_events::{DecodeError, Event, Timestamp};
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::database::{Database, DatabaseError, Transaction};
use crate::event_log::{self, AppendError, Recorded};
use crate::service::Worker;
use crate::sql::query;

pub use parked::{Parked, Replayed};
pub use rebuild::{RebuildError, Rebuilt};
pub use status::{SourceStatus, Status};

/// What makes a service's tables of events: its own, and those of the services that it follows.
///
/// The tables depend on nothing but the events and the order in which they are taken up, which is
/// kept: no clock, no randomness, no calls. So a rebuild makes the same tables, byte for byte.
#[async_trait]
pub trait Projection: Send + Sync + Debug + 'static {
    /// The other services whose events it takes up.
    fn follows(&self) -> &'static [&'static str];

    /// Its tables; those that point at others come before them.
    fn tables(&self) -> &'static [&'static str];

    /// Takes up an event. What it does not know by name it leaves alone.
    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError>;

    /// Is told of an event that was taken up and committed. Must be quick; must not fail.
    fn applied(&self, _event: &Recorded) {}
}

/// Why tables did not take up an event.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event is not what it must be, and will not be the next time either.
    #[error(transparent)]
    Poison(Box<dyn std::error::Error + Send + Sync>),
}

impl ApplyError {
    /// The event is at fault.
    pub fn poison(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Poison(why.into())
    }

    /// Whether the same may go well later without anybody's doing.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_passing())
    }
}

impl From<DecodeError> for ApplyError {
    fn from(error: DecodeError) -> Self {
        Self::Poison(error.into())
    }
}

impl From<ApplyError> for AppendError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Database(error) => Self::Database(error),
            ApplyError::Poison(error) => Self::Apply(error),
        }
    }
}

/// A service's events and tables. Clones are the same journal.
#[derive(Debug, Clone)]
pub struct Journal {
    name: &'static str,
    database: Database,
    projection: Arc<dyn Projection>,
    /// Wakes the relay when something was recorded.
    recorded: Arc<Notify>,
}

impl Journal {
    /// The journal of the service of that name, on its migrated database.
    pub fn new(name: &'static str, database: Database, projection: Arc<dyn Projection>) -> Self {
        Self { name, database, projection, recorded: Arc::new(Notify::new()) }
    }

    /// The service's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The service's database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Records an event of a stream that is at `expected_version` (0: new): appends it to the log
    /// and makes the tables take it up. It counts once the transaction has been committed.
    pub async fn record<E: Event>(
        &self,
        transaction: &mut Transaction,
        stream_id: &str,
        expected_version: i64,
        event: &E,
        at: Timestamp,
    ) -> Result<i64, AppendError> {
        let recorded =
            event_log::append(transaction, self.name, stream_id, expected_version, event, at)
                .await?;
        self.projection.apply(transaction, &recorded).await?;
        // A service that follows nobody takes its own events up in the order of their positions.
        if !self.projection.follows().is_empty() {
            note(transaction, &recorded).await?;
        }
        let position = recorded.position;
        let (projection, relay) = (self.projection.clone(), self.recorded.clone());
        transaction.after_commit(move || {
            projection.applied(&recorded);
            relay.notify_one();
        });
        Ok(position)
    }

    /// The version of a stream, as [`Journal::record`] expects it.
    pub async fn version(
        &self,
        transaction: &mut Transaction,
        stream_id: &str,
    ) -> Result<i64, DatabaseError> {
        event_log::version(transaction, stream_id).await
    }

    /// What carries the service's events to the broker, and those of others to its tables.
    pub fn workers(&self, broker: &Arc<dyn Broker>) -> Vec<Worker> {
        let relay = {
            let (journal, broker) = (self.clone(), broker.clone());
            Worker::new("relay", |shutdown| relay::run(journal, broker, shutdown))
        };
        let consumers = self.projection.follows().iter().map(|source| {
            let (journal, broker) = (self.clone(), broker.clone());
            Worker::new("consumer", |shutdown| consume::run(journal, source, broker, shutdown))
        });
        std::iter::once(relay).chain(consumers).collect()
    }

    /// Takes up events that follow on the cursor of their source, as a consumer does.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn take(&self, events: &[Recorded]) -> Result<i64, consume::TakeError> {
        consume::take(self, events).await
    }
}

/// Keeps the order in which events are taken up.
async fn note(transaction: &mut Transaction, event: &Recorded) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO inbox (ordinal, source, position)
         SELECT coalesce(max(ordinal), 0) + 1, $1, $2 FROM inbox",
    )
    .bind(&event.source)
    .bind(event.position)
    .execute(transaction)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
