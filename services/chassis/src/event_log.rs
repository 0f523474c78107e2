//! The event log: what happened, appended in the transaction that changes the state.
//!
//! Positions are 1, 2, 3, … in the order of the commits: writers of a service come one after the
//! other, and what is undone leaves no gap. So whoever reads on from a position misses nothing,
//! and sees at once when something is missing.

use pillion_events::{DecodeError, Event, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::database::{Database, DatabaseError, Transaction};
use crate::personal::{Key, SealError};
use crate::problem::Problem;
use crate::sql::{On, query};

/// An event as logs, the broker and consumers hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The service in whose log it is.
    pub source: String,
    /// Where it stands among all events of that service: 1, 2, 3, without gaps.
    pub position: i64,
    /// What it happened to: `tweet/1460323737035677698`.
    pub stream_id: String,
    /// Which of that thing's events it is; 1, 2, 3, without gaps.
    pub version: i64,
    /// Its name: `tweet.posted`.
    pub name: String,
    /// The version of its wire form.
    pub wire_version: u16,
    /// Its wire form, a JSON object: sealed, in logs and the broker; plain, where tables take it
    /// up. See [`crate::personal`].
    pub data: String,
    /// When it was recorded, in microseconds since 1970.
    pub recorded_at: i64,
}

impl Recorded {
    /// Whether it is of this service's log.
    pub fn is_of(&self, source: &str) -> bool {
        self.source == source
    }

    /// The event itself. In its sealed form it lacks what is personal.
    pub fn decode<E: Event>(&self) -> Result<E, DecodeError> {
        E::decode(&self.name, self.wire_version, &self.data)
    }
}

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream has gone on since its version was read. Whoever reads it in the transaction in
    /// which they append never sees this: writers take turns.
    #[error("the stream {stream_id} is not at version {expected_version} any more")]
    Conflict {
        /// Which stream.
        stream_id: String,
        /// Where it was thought to be.
        expected_version: i64,
    },
    /// The event cannot be written as JSON.
    #[error("an event cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// Its personal data cannot be sealed.
    #[error("an event's personal data cannot be sealed")]
    Seal(#[from] SealError),
    /// It would say something of somebody whose data were erased for good.
    #[error("the user {0} was erased here and says nothing any more")]
    Erased(UserId),
    /// The service's own tables did not take it.
    #[error("the service's own tables cannot take up an event")]
    Apply(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl AppendError {
    pub(crate) fn conflict(event: &Recorded) -> Self {
        let stream_id = event.stream_id.clone();
        Self::Conflict { stream_id, expected_version: event.version - 1 }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } => {
                Self::conflict("Somebody else changed this at the same moment; try again.")
            }
            AppendError::Erased(user_id) => Self::account_gone(user_id),
            AppendError::Encode(error) => Self::internal(&error),
            AppendError::Seal(_) | AppendError::Apply(_) => Self::internal(&error),
            AppendError::Database(error) => error.into(),
        }
    }
}

/// Appends an event of `source` to a stream that is at `expected_version` (0: the stream does not
/// exist yet), in its plain form. It counts only once the transaction has been committed.
pub async fn append<E: Event>(
    transaction: &mut Transaction,
    source: &str,
    stream_id: &str,
    expected_version: i64,
    event: &E,
    at: Timestamp,
) -> Result<Recorded, AppendError> {
    let event = next(transaction, source, stream_id, expected_version, event, at).await?;
    if insert(transaction, &event, None).await? {
        return Ok(event);
    }
    Err(AppendError::conflict(&event))
}

/// An event as it would come next in a log.
pub(crate) async fn next<E: Event>(
    transaction: &mut Transaction,
    source: &str,
    stream_id: &str,
    expected_version: i64,
    event: &E,
    at: Timestamp,
) -> Result<Recorded, AppendError> {
    Ok(Recorded {
        source: source.to_owned(),
        position: last_position(transaction).await? + 1,
        stream_id: stream_id.to_owned(),
        version: expected_version + 1,
        name: event.name().to_owned(),
        wire_version: event.version(),
        data: event.encode()?,
        recorded_at: at.as_micros(),
    })
}

/// Puts an event into the log. False, and nothing was done, when its stream is not at the version
/// before, or when the key is not that user's any more: to ask first would cost a statement.
pub(crate) async fn insert(
    transaction: &mut Transaction,
    event: &Recorded,
    sealed_with: Option<(UserId, &Key)>,
) -> Result<bool, DatabaseError> {
    let written = query(
        "INSERT INTO event_log
             (position, stream_id, version, name, wire_version, data, recorded_at)
         SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE $3 - 1 = (SELECT coalesce(max(version), 0) FROM event_log WHERE stream_id = $2)
             AND ($10 IS NULL OR EXISTS
                 (SELECT 1 FROM personal_key WHERE user_id = $8 AND source = $9 AND key = $10))",
    )
    .bind(event.position)
    .bind(&event.stream_id)
    .bind(event.version)
    .bind(&event.name)
    .bind(i64::from(event.wire_version))
    .bind(&event.data)
    .bind(event.recorded_at)
    .bind(sealed_with.map(|(user_id, _)| user_id))
    .bind(&event.source)
    .bind(sealed_with.map(|(_, key)| key.bytes().to_vec()))
    .execute(transaction)
    .await?;
    Ok(written > 0)
}

/// How many events a stream has; 0 when there is no such stream.
pub async fn version<'c>(on: impl Into<On<'c>>, stream_id: &str) -> Result<i64, DatabaseError> {
    let (version,) = query("SELECT coalesce(max(version), 0) FROM event_log WHERE stream_id = $1")
        .bind(stream_id)
        .fetch_one::<(i64,)>(on)
        .await?;
    Ok(version)
}

/// The position of the last event; 0 when there is none.
pub async fn last_position<'c>(on: impl Into<On<'c>>) -> Result<i64, DatabaseError> {
    let (last,) =
        query("SELECT coalesce(max(position), 0) FROM event_log").fetch_one::<(i64,)>(on).await?;
    Ok(last)
}

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) position: i64,
    pub(crate) stream_id: String,
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) wire_version: i64,
    pub(crate) data: String,
    pub(crate) recorded_at: i64,
}

impl Row {
    pub(crate) fn recorded(self, source: &str) -> Result<Recorded, DatabaseError> {
        let wire_version = self.wire_version.try_into().map_err(|_| {
            DatabaseError::Corrupt(format!("an event with the wire version {}", self.wire_version))
        })?;
        Ok(Recorded {
            source: source.to_owned(),
            position: self.position,
            stream_id: self.stream_id,
            version: self.version,
            name: self.name,
            wire_version,
            data: self.data,
            recorded_at: self.recorded_at,
        })
    }
}

/// The events after a position (0: from the first), in order, at most `count_max` of them.
pub async fn read_after<'c>(
    on: impl Into<On<'c>>,
    source: &str,
    position: i64,
    count_max: u32,
) -> Result<Vec<Recorded>, DatabaseError> {
    let rows: Vec<Row> = query(
        "SELECT position, stream_id, version, name, wire_version, data, recorded_at
         FROM event_log WHERE position > $1 ORDER BY position LIMIT $2",
    )
    .bind(position)
    .bind(count_max)
    .fetch_all(on)
    .await?;
    rows.into_iter().map(|row| row.recorded(source)).collect()
}

/// The events of a stream, in order.
pub async fn read_stream(
    database: &Database,
    source: &str,
    stream_id: &str,
) -> Result<Vec<Recorded>, DatabaseError> {
    let rows: Vec<Row> = query(
        "SELECT position, stream_id, version, name, wire_version, data, recorded_at
         FROM event_log WHERE stream_id = $1 ORDER BY version",
    )
    .bind(stream_id)
    .fetch_all(database)
    .await?;
    rows.into_iter().map(|row| row.recorded(source)).collect()
}
