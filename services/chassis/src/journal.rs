//! Event sourcing in one place: a service's events, its tables, which are a fold over them, and
//! its part in the traffic of events between services.
//!
//! A change is recorded ([`Journal::record`]): the event goes into the log and the tables take it
//! up, in one transaction. The relay then publishes it, from the log to the broker; the consumers
//! of the services that follow this one take it up in transactions of their own, each with its
//! cursor. Nobody ever commits to two places at once. The log is the truth: broker and tables can
//! be made from it again.

mod consume;
mod live;
mod parked;
mod rebuild;
mod relay;
mod shadow;
mod status;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use pillion_events::{DecodeError, Event, Timestamp, UserId};
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::database::{Database, DatabaseError, Transaction};
use crate::event_log::{self, AppendError, Recorded};
use crate::personal::{self, Cache, KeyPeers, Keys, PersonalKeysError, Unreadable};
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

    /// Of those that it follows, the services whose events' personal fields go into its tables.
    /// From the others it takes events without: it asks for no key that it does not need.
    fn opens(&self) -> &'static [&'static str] {
        self.follows()
    }

    /// Its tables; those that point at others come before them.
    fn tables(&self) -> &'static [&'static str];

    /// Takes up an event, in its plain form. What it does not know by name it leaves alone.
    /// Personal fields are missing where their user was erased.
    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError>;

    /// Is told of an event that was taken up and committed, or set aside, by this process or another
    /// one of the service; perhaps more than once. What is personal in it may be missing. Must be
    /// quick; must not fail.
    fn applied(&self, _event: &Recorded) {}

    /// Whether there are live streams behind [`Projection::applied`]: then it is also told of the
    /// service's own events that other processes of it recorded.
    fn is_live(&self) -> bool {
        false
    }
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

impl From<Unreadable> for ApplyError {
    fn from(error: Unreadable) -> Self {
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
    /// The keys of its own log.
    keys: Arc<Cache>,
    /// Whom it asks for those of others.
    key_peers: Option<KeyPeers>,
}

impl Journal {
    /// The journal of the service of that name, on its migrated database.
    pub fn new(name: &'static str, database: Database, projection: Arc<dyn Projection>) -> Self {
        let recorded = Arc::new(Notify::new());
        Self { name, database, projection, recorded, keys: Arc::default(), key_peers: None }
    }

    /// The same journal, which asks other services for the keys of personal data in their events.
    pub(crate) fn with_key_peers(self, key_peers: KeyPeers) -> Self {
        Self { key_peers: Some(key_peers), ..self }
    }

    /// The service's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The service's database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Records an event of a stream that is at `expected_version` (0: new): appends it to the log,
    /// its personal data sealed, and makes the tables take it up. It counts once the transaction
    /// has been committed.
    pub async fn record<E: Event>(
        &self,
        transaction: &mut Transaction,
        stream_id: &str,
        expected_version: i64,
        event: &E,
        at: Timestamp,
    ) -> Result<i64, AppendError> {
        let recorded =
            event_log::next(transaction, self.name, stream_id, expected_version, event, at).await?;
        if let Some(personal) = event.personal() {
            personal::append(transaction, &self.keys, &recorded, &personal).await?;
        } else if !event_log::insert(transaction, &recorded, None).await? {
            return Err(AppendError::conflict(&recorded));
        }
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

    /// Events of logs or the broker as the service's tables see them, for whoever reads them
    /// elsewhere than in [`Projection::apply`], once the service has taken them up.
    pub async fn plain(&self, events: &[Recorded]) -> Result<Vec<Recorded>, ApplyError> {
        let keys = Keys::of(&self.database, &self.sealed(events)).await?;
        events.iter().map(|event| Ok(self.open(&keys, event)?)).collect()
    }

    /// Whether the tables get what is personal in events of this source.
    fn opens(&self, source: &str) -> bool {
        source == self.name || self.projection.opens().contains(&source)
    }

    /// Those events that may take a key.
    fn sealed<'e>(&self, events: &'e [Recorded]) -> Vec<&'e Recorded> {
        events.iter().filter(|event| self.opens(&event.source)).collect()
    }

    /// The plain form of an event, as far as the tables get it.
    fn open(&self, keys: &Keys, event: &Recorded) -> Result<Recorded, Unreadable> {
        if self.opens(&event.source) {
            keys.open(event)
        } else {
            personal::open(event, |_| Ok(None))
        }
    }

    /// The keys that these events of one source take. Those that the database does not know are
    /// asked for, and kept in the transaction.
    async fn keys(
        &self,
        transaction: &mut Transaction,
        source: &str,
        events: &[&Recorded],
    ) -> Result<Keys, KeysError> {
        let keys = Keys::of(&mut *transaction, events).await?;
        let missing = keys.missing(events);
        if missing.is_empty() || source == self.name {
            return Ok(keys);
        }
        let told = self.ask(source, &missing).await?;
        personal::keep(transaction, source, &told).await?;
        Ok(Keys::of(transaction, events).await?)
    }

    /// Asks a source for keys of its log.
    async fn ask(&self, source: &str, users: &[UserId]) -> Result<Told, PersonalKeysError> {
        match &self.key_peers {
            Some(peers) => peers.ask(source, users).await,
            None => Err(PersonalKeysError::Nobody { source_name: source.to_owned() }),
        }
    }

    /// What carries the service's events to the broker, and those of others to its tables.
    pub fn workers(&self, broker: &Arc<dyn Broker>) -> Vec<Worker> {
        let relay = {
            let (journal, broker) = (self.clone(), broker.clone());
            Worker::new(format!("relay-{}", self.name), move |shutdown| {
                relay::run(journal.clone(), broker.clone(), shutdown)
            })
        };
        let consumers = self.projection.follows().iter().map(|source| {
            let (journal, broker) = (self.clone(), broker.clone());
            let name = format!("consumer-{}-of-{source}", self.name);
            Worker::stateful(name, None, move |told, shutdown| {
                Box::pin(consume::run(journal.clone(), source, broker.clone(), told, shutdown))
            })
        });
        let own = self.projection.is_live().then(|| {
            let (journal, broker) = (self.clone(), broker.clone());
            Worker::stateful(format!("own-events-{}", self.name), None, move |told, shutdown| {
                Box::pin(live::run(journal.clone(), broker.clone(), told, shutdown))
            })
        });
        std::iter::once(relay).chain(consumers).chain(own).collect()
    }

    /// Takes up events that follow on the cursor of their source, as a consumer does.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn take(&self, events: &[Recorded]) -> Result<i64, consume::TakeError> {
        consume::take(self, events, &mut 0).await
    }
}

/// What a source told of its keys.
type Told = Vec<(UserId, Option<personal::Key>)>;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Ask(#[from] PersonalKeysError),
}

impl From<KeysError> for ApplyError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Database(error) => Self::Database(error),
            KeysError::Ask(error) => Self::Poison(error.into()),
        }
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
