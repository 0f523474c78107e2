//! A database that is an `SQLite` file: one writer, several readers, and the settings that the
//! promises rest on.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use super::TURN_TIME_MAX;
use super::error::{OpenError, open_error};

/// Says in the file's header that it is ours: "Pill" in ASCII.
const APPLICATION_ID: i64 = 0x5069_6c6c;
/// Reads of one service at a time. `SQLite`'s readers never wait for each other or the writer;
/// more of them than cores only cost memory.
const READERS_MAX: u32 = 4;
/// How long `SQLite` itself waits for another process that holds the file's lock: a backup, or
/// the operator's shell.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);
/// The write-ahead log is cut to this after a checkpoint, or it would stay at its largest size.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The connections of one file.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
}

/// Opens the file, or makes it. `synchronous` is `Full` wherever a commit is acknowledged to
/// somebody.
pub(crate) async fn open(path: &Path, synchronous: SqliteSynchronous) -> Result<Pools, OpenError> {
    let place = path.display().to_string();
    let failed = |error| open_error(&place, error);
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIME_MAX)
        .pragma("trusted_schema", "OFF")
        .pragma("mmap_size", "0")
        .pragma("journal_size_limit", JOURNAL_BYTES_MAX.to_string())
        .disable_statement_logging();

    // Before anything is changed in a file that may be somebody else's.
    let mut connection = options.clone().connect().await.map_err(failed)?;
    claim(&place, &mut connection).await?;
    connection.close().await.map_err(failed)?;

    let options = options.journal_mode(SqliteJournalMode::Wal);
    let pool = || {
        SqlitePoolOptions::new()
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(TURN_TIME_MAX)
            .test_before_acquire(false)
    };
    let writer = pool()
        .max_connections(1)
        .after_release(|connection, _| Box::pin(is_at_rest(connection)))
        .connect_with(options.clone())
        .await
        .map_err(failed)?;
    let readers = pool()
        .max_connections(READERS_MAX)
        .connect_with(options.pragma("query_only", "ON"))
        .await
        .map_err(failed)?;
    let pools = Pools { writer, readers };
    check_settings(&place, &pools, synchronous).await?;
    Ok(pools)
}

/// Whether the writer's connection may be used again, once its rollback has run. When the disk is
/// full `SQLite` undoes a transaction by itself, the rollback that follows fails, and sqlx goes on
/// counting the transaction as open: no other could ever begin on that connection.
async fn is_at_rest(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

async fn check_settings(
    place: &str,
    pools: &Pools,
    synchronous: SqliteSynchronous,
) -> Result<(), OpenError> {
    const READERS: (&str, &str, &str) = ("query_only", "PRAGMA query_only", "1");
    let synchronous = match synchronous {
        SqliteSynchronous::Off => "0",
        SqliteSynchronous::Normal => "1",
        SqliteSynchronous::Full => "2",
        SqliteSynchronous::Extra => "3",
    };
    let both = [
        ("journal_mode", "PRAGMA journal_mode", "wal"),
        ("synchronous", "PRAGMA synchronous", synchronous),
        ("foreign_keys", "PRAGMA foreign_keys", "1"),
        ("trusted_schema", "PRAGMA trusted_schema", "0"),
        ("busy_timeout", "PRAGMA busy_timeout", "5000"),
        ("journal_size_limit", "PRAGMA journal_size_limit", "67108864"),
    ];
    let writer = both.iter().map(|check| (&pools.writer, check));
    let readers = both.iter().chain([&READERS]).map(|check| (&pools.readers, check));
    for (pool, (setting, pragma, expected)) in writer.chain(readers) {
        let failed = |error| open_error(place, error);
        let row = sqlx::query(*pragma).fetch_one(pool).await.map_err(failed)?;
        let found = text_of(&row).map_err(failed)?;
        if found != *expected {
            let place = place.to_owned();
            return Err(OpenError::Setting { place, setting, found, expected });
        }
    }
    Ok(())
}

/// The first column as text, whatever its type.
fn text_of(row: &SqliteRow) -> Result<String, sqlx::Error> {
    use sqlx::Row;
    row.try_get::<String, _>(0).or_else(|_| row.try_get::<i64, _>(0).map(|value| value.to_string()))
}

/// Makes an empty file ours, takes one that is, refuses any other.
async fn claim(place: &str, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let failed = |error| open_error(place, error);
    let (id,): (i64,) = sqlx::query_as("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if id == APPLICATION_ID {
        return Ok(());
    }
    let (tables,): (i64,) = sqlx::query_as("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if id != 0 || tables != 0 {
        return Err(OpenError::Foreign { place: place.to_owned() });
    }
    // A pragma takes no bound value; the number is `APPLICATION_ID`.
    sqlx::query("PRAGMA application_id = 0x50696c6c")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    Ok(())
}
