//! The event log: what happened, appended in the transaction that changes the state.

use pillion_events::{DecodeError, Event};
use sqlx::SqliteConnection;

use crate::clock::Timestamp;
use crate::database::{Database, DatabaseError};
use crate::problem::Problem;

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Recorded {
    /// Where it stands among all events of the service; grows, with gaps.
    pub position: i64,
    /// What it happened to: `tweet/1460323737035677698`.
    pub stream_id: String,
    /// Which of that thing's events it is; 1, 2, 3, without gaps.
    pub version: i64,
    /// Its name: `tweet.posted`.
    pub name: String,
    /// The version of its wire form.
    pub wire_version: u16,
    /// Its wire form, a JSON object.
    pub data: String,
    /// When it was recorded, in microseconds since 1970.
    pub recorded_at: i64,
}

impl Recorded {
    /// The event itself.
    pub fn decode<E: Event>(&self) -> Result<E, DecodeError> {
        E::decode(&self.name, self.wire_version, &self.data)
    }
}

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended to that stream meanwhile: read the state again and decide anew.
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
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for AppendError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } => {
                Self::conflict("Somebody else changed this at the same moment; try again.")
            }
            AppendError::Encode(error) => Self::internal(&error),
            AppendError::Database(error) => error.into(),
        }
    }
}

/// Appends an event to a stream that is at `expected_version` (0: the stream does not exist
/// yet), and gives its position. It counts only once the transaction that `connection` is in
/// has been committed.
pub async fn append<E: Event>(
    connection: &mut SqliteConnection,
    stream_id: &str,
    expected_version: i64,
    event: &E,
    at: Timestamp,
) -> Result<i64, AppendError> {
    let position = sqlx::query_as::<_, (i64,)>(
        "INSERT INTO event_log (stream_id, version, name, wire_version, data, recorded_at)
         SELECT ?1, ?2 + 1, ?3, ?4, ?5, ?6
         WHERE ?2 = (SELECT coalesce(max(version), 0) FROM event_log WHERE stream_id = ?1)
         RETURNING position",
    )
    .bind(stream_id)
    .bind(expected_version)
    .bind(event.name())
    .bind(event.version())
    .bind(event.encode()?)
    .bind(at.as_micros())
    .fetch_optional(connection)
    .await?;
    position
        .map(|(position,)| position)
        .ok_or_else(|| AppendError::Conflict { stream_id: stream_id.to_owned(), expected_version })
}

/// The events after a position (0: from the first), in order, at most `count_max` of them.
pub async fn read_after(
    database: &Database,
    position: i64,
    count_max: u32,
) -> Result<Vec<Recorded>, DatabaseError> {
    Ok(sqlx::query_as(
        "SELECT position, stream_id, version, name, wire_version, data, recorded_at
         FROM event_log WHERE position > ? ORDER BY position LIMIT ?",
    )
    .bind(position)
    .bind(count_max)
    .fetch_all(database.read())
    .await?)
}

/// The events of a stream, in order.
pub async fn read_stream(
    database: &Database,
    stream_id: &str,
) -> Result<Vec<Recorded>, DatabaseError> {
    Ok(sqlx::query_as(
        "SELECT position, stream_id, version, name, wire_version, data, recorded_at
         FROM event_log WHERE stream_id = ? ORDER BY version",
    )
    .bind(stream_id)
    .fetch_all(database.read())
    .await?)
}

#[cfg(test)]
mod tests {
    use pillion_events::{UserDeleted, UserEvent, UserId};

    use super::*;
    use crate::database::tests::database;

    const AT: Timestamp = Timestamp::from_micros(1_000_000);

    fn event(user_id: u64) -> UserEvent {
        let user_id = UserId::new(user_id).unwrap();
        UserEvent::Deleted(UserDeleted { user_id, deleted_at: AT })
    }

    async fn append_alone(database: &Database, stream: &str, at_version: i64) -> Option<i64> {
        let mut transaction = database.write().await.unwrap();
        match append(&mut transaction, stream, at_version, &event(1), AT).await {
            Ok(position) => {
                transaction.commit().await.unwrap();
                Some(position)
            }
            Err(AppendError::Conflict { stream_id, expected_version }) => {
                assert_eq!((stream_id.as_str(), expected_version), (stream, at_version));
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    #[tokio::test]
    async fn a_stream_takes_an_event_only_at_its_version() {
        let (_folder, database) = database().await;
        assert_eq!(append_alone(&database, "a", 1).await, None);
        assert_eq!(append_alone(&database, "a", 0).await, Some(1));
        assert_eq!(append_alone(&database, "a", 0).await, None);
        assert_eq!(append_alone(&database, "b", 0).await, Some(2));
        assert_eq!(append_alone(&database, "a", 1).await, Some(3));
        let versions: Vec<_> =
            read_stream(&database, "a").await.unwrap().iter().map(|e| e.version).collect();
        assert_eq!(versions, [1, 2]);
    }

    #[tokio::test]
    async fn events_come_back_as_they_went_in_and_in_order() {
        let (_folder, database) = database().await;
        let mut transaction = database.write().await.unwrap();
        for id in 1..=5 {
            append(&mut transaction, &format!("user/{id}"), 0, &event(id), AT).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let page = read_after(&database, 0, 3).await.unwrap();
        assert_eq!(page.iter().map(|e| e.position).collect::<Vec<_>>(), [1, 2, 3]);
        let rest = read_after(&database, 3, 3).await.unwrap();
        assert_eq!(
            rest.iter().map(|e| e.stream_id.as_str()).collect::<Vec<_>>(),
            ["user/4", "user/5"]
        );
        assert_eq!(rest[0].decode::<UserEvent>().unwrap(), event(4));
        assert_eq!(rest[0].recorded_at, AT.as_micros());
    }

    #[tokio::test]
    async fn what_is_undone_leaves_no_event() {
        let (_folder, database) = database().await;
        let mut transaction = database.write().await.unwrap();
        append(&mut transaction, "a", 0, &event(1), AT).await.unwrap();
        drop(transaction);
        assert!(read_after(&database, 0, 10).await.unwrap().is_empty());
        assert_eq!(append_alone(&database, "a", 0).await, Some(1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_writers_at_the_same_version_exactly_one_wins() {
        let (_folder, database) = database().await;
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let database = database.clone();
            writers.spawn(async move { append_alone(&database, "a", 0).await });
        }
        let won = writers.join_all().await.into_iter().flatten().count();
        assert_eq!(won, 1);
    }
}
