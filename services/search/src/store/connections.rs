//! Which apps are connected to which streams, at whichever process.

use pillion_chassis::sql::query;
use pillion_chassis::{Database, DatabaseError};

use super::Store;

/// A connection of an app to a stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamConnection {
    pub(crate) client_id: String,
    pub(crate) kind: &'static str,
    pub(crate) id: i64,
    /// The process that has it, for as long as it runs.
    pub(crate) process: i64,
}

impl Store {
    /// Takes an app's only place at a stream, unless a connection at another process has it. This
    /// process knows that it has none itself. Times are microseconds since 1970.
    pub(crate) async fn connect(
        &self,
        connection: &StreamConnection,
        now: i64,
        lease_until: i64,
    ) -> Result<bool, DatabaseError> {
        let taken = query(
            "INSERT INTO stream_connection (client_id, kind, id, process, lease_until)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (client_id, kind) DO UPDATE
             SET id = excluded.id, process = excluded.process, lease_until = excluded.lease_until
             WHERE stream_connection.lease_until <= $6
                OR stream_connection.process = excluded.process",
        )
        .bind(&connection.client_id)
        .bind(connection.kind)
        .bind(connection.id)
        .bind(connection.process)
        .bind(lease_until)
        .bind(now);
        Ok(write(&self.database, taken).await? > 0)
    }

    /// Says that a connection is still there; whether its place is.
    pub(crate) async fn stay_connected(
        &self,
        connection: &StreamConnection,
        lease_until: i64,
    ) -> Result<bool, DatabaseError> {
        let kept = query(
            "UPDATE stream_connection SET lease_until = $4
             WHERE client_id = $1 AND kind = $2 AND id = $3",
        )
        .bind(&connection.client_id)
        .bind(connection.kind)
        .bind(connection.id)
        .bind(lease_until);
        Ok(write(&self.database, kept).await? > 0)
    }

    /// Gives the place of a connection back.
    pub(crate) async fn disconnect(
        &self,
        connection: &StreamConnection,
    ) -> Result<(), DatabaseError> {
        let left =
            query("DELETE FROM stream_connection WHERE client_id = $1 AND kind = $2 AND id = $3")
                .bind(&connection.client_id)
                .bind(connection.kind)
                .bind(connection.id);
        write(&self.database, left).await?;
        Ok(())
    }

    /// Forgets all connections: nobody else may have any.
    pub(crate) async fn forget_connections(&self) -> Result<(), DatabaseError> {
        write(&self.database, query("DELETE FROM stream_connection")).await?;
        Ok(())
    }
}

/// One statement by itself; the number of rows that it wrote.
async fn write(
    database: &Database,
    statement: pillion_chassis::sql::Query,
) -> Result<u64, DatabaseError> {
    let mut transaction = database.write().await?;
    let rows = statement.execute(&mut transaction).await?;
    transaction.commit().await?;
    Ok(rows)
}
