//! Events that a service could not take up: kept aside until somebody has them tried again.

use serde::Serialize;

use super::consume::apply;
use super::{ApplyError, Journal};
use crate::database::{DatabaseError, Transaction};
use crate::event_log::{Recorded, Row};
use crate::sql::query;

/// Parked events that are listed or replayed at once.
const LISTED_MAX: u32 = 1_000;

/// An event that is kept aside.
#[derive(Debug, Clone, Serialize)]
pub struct Parked {
    /// The event.
    #[serde(flatten)]
    pub event: Recorded,
    /// Why it could not be taken up; `None` when it only waits behind another of its stream.
    pub error: Option<String>,
}

/// What became of parked events that were tried again.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Replayed {
    /// So many were taken up.
    pub taken_up: u64,
    /// Those that failed again, each with the reason.
    pub failed: Vec<Parked>,
    /// So many still wait behind one that failed.
    pub waiting: u64,
}

#[derive(sqlx::FromRow)]
struct ParkedRow {
    source: String,
    error: Option<String>,
    #[sqlx(flatten)]
    row: Row,
}

/// Keeps an event aside.
pub(super) async fn park(
    transaction: &mut Transaction,
    event: &Recorded,
    error: Option<&str>,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO parked (source, position, stream_id, version, name, wire_version, data,
                             recorded_at, error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&event.source)
    .bind(event.position)
    .bind(&event.stream_id)
    .bind(event.version)
    .bind(&event.name)
    .bind(i64::from(event.wire_version))
    .bind(&event.data)
    .bind(event.recorded_at)
    .bind(error)
    .execute(transaction)
    .await?;
    Ok(())
}

impl Journal {
    /// The parked events, the oldest first; at most a thousand.
    pub async fn parked(&self) -> Result<Vec<Parked>, DatabaseError> {
        let rows: Vec<ParkedRow> = query(
            "SELECT source, error, position, stream_id, version, name, wire_version, data,
                    recorded_at
             FROM parked ORDER BY source, position LIMIT $1",
        )
        .bind(LISTED_MAX)
        .fetch_all(&self.database)
        .await?;
        rows.into_iter()
            .map(|row| Ok(Parked { event: row.row.recorded(&row.source)?, error: row.error }))
            .collect()
    }

    /// Tries the parked events again, each stream in its order. One that fails again stays, and
    /// those behind it.
    pub async fn replay(&self) -> Result<Replayed, DatabaseError> {
        let mut replayed = Replayed::default();
        let mut stuck: Vec<(String, String)> = Vec::new();
        for parked in self.parked().await? {
            let stream = (parked.event.source.clone(), parked.event.stream_id.clone());
            if stuck.contains(&stream) {
                replayed.waiting += 1;
                continue;
            }
            let mut transaction = self.database.write().await?;
            let tried = match self.try_again(&mut transaction, &parked.event).await {
                Ok(()) => {
                    query("DELETE FROM parked WHERE source = $1 AND position = $2")
                        .bind(&parked.event.source)
                        .bind(parked.event.position)
                        .execute(&mut transaction)
                        .await?;
                    Ok(())
                }
                Err(ApplyError::Database(error)) if error.is_passing() => return Err(error),
                Err(error) => {
                    let error = error.to_string();
                    query("UPDATE parked SET error = $3 WHERE source = $1 AND position = $2")
                        .bind(&parked.event.source)
                        .bind(parked.event.position)
                        .bind(&error)
                        .execute(&mut transaction)
                        .await?;
                    Err(error)
                }
            };
            transaction.commit().await?;
            match tried {
                Ok(()) => {
                    self.projection.applied(&parked.event);
                    replayed.taken_up += 1;
                }
                Err(error) => {
                    stuck.push(stream);
                    replayed.failed.push(Parked { error: Some(error), ..parked });
                }
            }
        }
        Ok(replayed)
    }

    /// Takes up an event; its key was kept when it was parked, unless an older build did that.
    async fn try_again(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        let sealed = self.sealed(std::slice::from_ref(event));
        let keys = self.keys(transaction, &event.source, &sealed).await?;
        apply(self, transaction, &keys, event).await
    }
}
