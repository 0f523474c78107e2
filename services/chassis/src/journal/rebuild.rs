//! Makes a service's tables again from the events, in the order in which they were taken up.
//!
//! Readers see the old tables until the new ones are complete, writers wait, and when anything
//! fails the tables are what they were.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::shadow::Shadow;
use super::{ApplyError, Journal, KeysError};
use crate::broker::{Broker, BrokerError, Subscription};
use crate::database::{Backend, DatabaseError, Transaction};
use crate::event_log::{self, Recorded};
use crate::personal::{Keys, PersonalKeysError};
use crate::sql::query;

/// Events that are read at once.
const PAGE_EVENTS_MAX: u32 = 1_000;
/// What one read of the broker may take: everything that is asked for was there before.
const BROKER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(30);

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Events that were taken up.
    pub events: u64,
    /// A SHA-256 digest of each table before and after.
    pub tables: Vec<Table>,
}

/// A table that was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its rows now.
    pub rows: i64,
    /// The digest of its rows before the rebuild.
    pub before: String,
    /// And after.
    pub after: String,
}

impl Rebuilt {
    /// Whether the tables were what the events make of them.
    pub fn is_identical(&self) -> bool {
        self.tables.iter().all(|table| table.before == table.after)
    }
}

/// Why tables were not rebuilt; they are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The broker failed.
    #[error("the broker does not give the events of {source_name}")]
    Broker {
        /// Whose events.
        source_name: String,
        /// Why.
        #[source]
        source: BrokerError,
    },
    /// The broker does not have an event that was taken up once.
    #[error("the broker does not have the event {position} of {source_name}")]
    Missing {
        /// Whose event.
        source_name: String,
        /// Which.
        position: i64,
    },
    /// The keys of personal data in the events are not there, and cannot be had.
    #[error(transparent)]
    Keys(#[from] PersonalKeysError),
    /// An event that was taken up once is refused now: this build's tables differ.
    #[error("the event {position} of {source_name} ({name}) cannot be taken up any more")]
    Apply {
        /// Whose event.
        source_name: String,
        /// Which.
        position: i64,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: ApplyError,
    },
}

impl Journal {
    /// Makes the tables again. Writes of the service wait meanwhile.
    pub async fn rebuild(&self, broker: &dyn Broker) -> Result<Rebuilt, RebuildError> {
        let mut transaction = self.database.write_alone().await?;
        let tables = self.projection.tables();
        let shadow = Shadow::of(tables, &mut transaction).await?;
        let mut before = Vec::new();
        for table in tables {
            before.push(digest(&mut transaction, table, &shadow.old(table)).await?.1);
        }
        shadow.make(&mut transaction).await?;
        let events = if self.projection.follows().is_empty() {
            self.replay_log(&mut transaction, &shadow).await?
        } else {
            self.replay_inbox(&mut transaction, &shadow, broker).await?
        };
        let mut rebuilt = Rebuilt { events, tables: Vec::new() };
        for (name, before) in tables.iter().zip(before) {
            let (rows, after) = digest(&mut transaction, name, &shadow.replacement(name)).await?;
            rebuilt.tables.push(Table { name, rows, before, after });
        }
        shadow.finish(&mut transaction).await?;
        transaction.commit().await?;
        Ok(rebuilt)
    }

    /// Digests of the tables as they are, by their names.
    pub async fn digests(&self) -> Result<BTreeMap<&'static str, String>, DatabaseError> {
        let mut transaction = self.database.write().await?;
        let mut digests = BTreeMap::new();
        for table in self.projection.tables() {
            digests.insert(*table, digest(&mut transaction, table, table).await?.1);
        }
        Ok(digests)
    }

    pub(super) async fn replay_log(
        &self,
        transaction: &mut Transaction,
        shadow: &Shadow,
    ) -> Result<u64, RebuildError> {
        let mut events = 0;
        let mut last = 0;
        loop {
            let page =
                event_log::read_after(&mut *transaction, self.name, last, PAGE_EVENTS_MAX).await?;
            let Some(newest) = page.last() else { return Ok(events) };
            last = newest.position;
            events += self.reapply(transaction, shadow, &page).await?;
        }
    }

    async fn replay_inbox(
        &self,
        transaction: &mut Transaction,
        shadow: &Shadow,
        broker: &dyn Broker,
    ) -> Result<u64, RebuildError> {
        let mut sources: HashMap<String, Source> = HashMap::new();
        let mut events = self.replay_before_inbox(transaction, shadow).await?;
        let mut ordinal = 0;
        loop {
            let page = query(
                "SELECT ordinal, source, position FROM inbox WHERE ordinal > $1
                 ORDER BY ordinal LIMIT $2",
            )
            .bind(ordinal)
            .bind(PAGE_EVENTS_MAX)
            .fetch_all::<(i64, String, i64)>(&mut *transaction)
            .await?;
            let Some((newest, ..)) = page.last() else { return Ok(events) };
            ordinal = *newest;
            let mut taken = Vec::with_capacity(page.len());
            for (_, name, position) in page {
                let source = sources.entry(name.clone()).or_default();
                taken.push(if name == self.name {
                    source.own(transaction, self.name, position).await?
                } else {
                    source.foreign(broker, &name, position).await?
                });
            }
            events += self.reapply(transaction, shadow, &taken).await?;
        }
    }

    /// The service's own events from before it had an inbox, when it followed nobody yet.
    async fn replay_before_inbox(
        &self,
        transaction: &mut Transaction,
        shadow: &Shadow,
    ) -> Result<u64, RebuildError> {
        let (first,) = query("SELECT min(position) FROM inbox WHERE source = $1")
            .bind(self.name)
            .fetch_one::<(Option<i64>,)>(&mut *transaction)
            .await?;
        let mut last = 0;
        let mut events = 0;
        loop {
            let page =
                event_log::read_after(&mut *transaction, self.name, last, PAGE_EVENTS_MAX).await?;
            let is_after = |event: &Recorded| first.is_some_and(|it| event.position >= it);
            let count = page.iter().position(is_after).unwrap_or(page.len());
            let before = page.get(..count).unwrap_or_default();
            events += self.reapply(transaction, shadow, before).await?;
            last = before.last().map_or(last, |event| event.position);
            if count < PAGE_EVENTS_MAX as usize {
                return Ok(events);
            }
        }
    }

    /// Takes up a page of events; gives their number.
    async fn reapply(
        &self,
        transaction: &mut Transaction,
        shadow: &Shadow,
        events: &[Recorded],
    ) -> Result<u64, RebuildError> {
        let failed = |event: &Recorded, source| RebuildError::Apply {
            source_name: event.source.clone(),
            position: event.position,
            name: event.name.clone(),
            source,
        };
        let mut sealed: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
        for event in self.sealed(events) {
            sealed.entry(&event.source).or_default().push(event);
        }
        let mut keys: HashMap<&str, Keys> = HashMap::new();
        for (source, events) in sealed {
            let of_source = self.keys(transaction, source, &events).await;
            keys.insert(source, of_source.map_err(RebuildError::from)?);
        }
        let none = Keys::default();
        let mut count = 0;
        for event in events {
            let keys = keys.get(event.source.as_str()).unwrap_or(&none);
            let plain = self.open(keys, event).map_err(|error| failed(event, error.into()))?;
            let applied = self.projection.apply(transaction, &plain).await;
            applied.map_err(|error| failed(event, error))?;
            count += 1;
        }
        shadow.forget(transaction).await?;
        Ok(count)
    }
}

impl From<KeysError> for RebuildError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Database(error) => Self::Database(error),
            KeysError::Ask(error) => Self::Keys(error),
        }
    }
}

/// The events of one service, read ahead in their order.
#[derive(Default)]
struct Source {
    subscription: Option<Box<dyn Subscription>>,
    last: i64,
    /// The last one that the broker had at first.
    end: i64,
    /// Read and not yet asked for: the page at hand, and events that were parked at first and
    /// taken up later.
    ahead: BTreeMap<i64, Recorded>,
}

impl Source {
    fn keep(&mut self, page: Vec<Recorded>) {
        for event in page {
            self.last = event.position;
            self.ahead.insert(event.position, event);
        }
    }

    async fn own(
        &mut self,
        transaction: &mut Transaction,
        name: &str,
        position: i64,
    ) -> Result<Recorded, RebuildError> {
        while self.last < position {
            let page =
                event_log::read_after(&mut *transaction, name, self.last, PAGE_EVENTS_MAX).await?;
            if page.is_empty() {
                break;
            }
            self.keep(page);
        }
        self.found(name, position)
    }

    async fn foreign(
        &mut self,
        broker: &dyn Broker,
        name: &str,
        position: i64,
    ) -> Result<Recorded, RebuildError> {
        let failed = |source| RebuildError::Broker { source_name: name.to_owned(), source };
        while self.last < position {
            let subscription = match &mut self.subscription {
                Some(subscription) => subscription,
                none => {
                    self.end = broker.last_position(name).await.map_err(failed)?;
                    none.insert(broker.subscribe(name, 0).await.map_err(failed)?)
                }
            };
            if self.end < position {
                break;
            }
            let next = subscription.next(PAGE_EVENTS_MAX as usize);
            let Ok(page) = tokio::time::timeout(BROKER_TIME_MAX, next).await else {
                let silent = format!("it has sent nothing for {BROKER_TIME_MAX:?}");
                return Err(failed(BrokerError::Unavailable(silent.into())));
            };
            self.keep(page.map_err(failed)?);
        }
        self.found(name, position)
    }

    fn found(&mut self, name: &str, position: i64) -> Result<Recorded, RebuildError> {
        let source_name = name.to_owned();
        self.ahead.remove(&position).ok_or(RebuildError::Missing { source_name, position })
    }
}

/// The number of rows, and a digest over all rows as text in their order. `place` is the table's
/// name where there is more than one of that name.
async fn digest(
    transaction: &mut Transaction,
    table: &str,
    place: &str,
) -> Result<(i64, String), DatabaseError> {
    /// Rows that are read at once.
    const PAGE_ROWS_MAX: i64 = 5_000;
    let columns: Vec<(String,)> = match transaction.backend() {
        Backend::Sqlite => query("SELECT name FROM pragma_table_info($1) ORDER BY cid"),
        Backend::Postgres => query(
            "SELECT CAST(column_name AS TEXT) FROM information_schema.columns
             WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position",
        ),
    }
    .bind(table)
    .fetch_all(&mut *transaction)
    .await?;
    let quoted = match transaction.backend() {
        Backend::Sqlite => "quote",
        Backend::Postgres => "quote_nullable",
    };
    let quoted: Vec<String> =
        columns.iter().map(|(column,)| format!("{quoted}({column})")).collect();
    let order: Vec<String> = (1..=columns.len()).map(|column| column.to_string()).collect();
    let columns: Vec<&str> = columns.iter().map(|(column,)| column.as_str()).collect();
    // Sorted by the values themselves, which is the same order for the same rows.
    let sql = format!(
        "SELECT {} FROM (SELECT {} FROM {place} ORDER BY {} LIMIT $1 OFFSET $2) AS page",
        quoted.join(" || ',' || "),
        columns.join(", "),
        order.join(", "),
    );
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut rows = 0;
    loop {
        let page: Vec<(String,)> =
            query(sql.clone()).bind(PAGE_ROWS_MAX).bind(rows).fetch_all(&mut *transaction).await?;
        for (row,) in &page {
            context.update(row.as_bytes());
            context.update(b"\n");
        }
        rows += i64::try_from(page.len()).unwrap_or(PAGE_ROWS_MAX);
        if page.is_empty() {
            break;
        }
    }
    let digest = context.finish().as_ref().iter().fold(String::new(), |mut hex, byte| {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok((rows, digest))
}
