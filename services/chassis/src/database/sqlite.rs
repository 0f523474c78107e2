//! A database that is an `SQLite` file: one writer, several readers, and the settings that the
//! promises rest on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Tries to empty the write-ahead log after something was erased, and the pause between them. Who
/// reads in it meanwhile is done within seconds, but for a backup.
const SWEEPS_MAX: u32 = 120;
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// How long a try waits, and with it whoever wants to write.
const SWEEP_TIME_MAX: Duration = Duration::from_millis(20);

/// The connections of one file.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    /// Whether somebody is about to empty the write-ahead log.
    sweep_due: Arc<AtomicBool>,
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
        // What is deleted is overwritten, or an erased key would stay in the file.
        .pragma("secure_delete", "ON")
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
    let pools = Pools { writer, readers, sweep_due: Arc::default() };
    check_settings(&place, &pools, synchronous).await?;
    // What a crash left: pages from before something was erased. The disk may be full.
    if let Err(error) = fold(&pools).await {
        tracing::warn!(database = place, %error, "the write-ahead log was not emptied");
    }
    Ok(pools)
}

impl Pools {
    /// Folds the write-ahead log into the file and empties it, soon.
    pub(crate) fn sweep(self) {
        if !self.sweep_due.swap(true, Ordering::SeqCst) {
            tokio::spawn(sweep(self));
        }
    }
}

/// Tries until the log is empty. A file that is closed is done with it.
async fn sweep(pools: Pools) {
    for _ in 0..SWEEPS_MAX {
        if pools.writer.is_closed() {
            return;
        }
        // What is erased from here on may come too late for this time.
        pools.sweep_due.store(false, Ordering::SeqCst);
        match fold(&pools).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the write-ahead log was not emptied"),
        }
        pools.sweep_due.store(true, Ordering::SeqCst);
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
    pools.sweep_due.store(false, Ordering::SeqCst);
    tracing::warn!(
        "a write-ahead log could not be emptied for a minute, since something goes on reading in \
         it: an erased key may be in it until the next start"
    );
}

/// Whether the log could be emptied now. On a connection of its own, which gives up at once: no
/// writer is to wait for a slow reader.
async fn fold(pools: &Pools) -> Result<bool, sqlx::Error> {
    let options = pools.writer.connect_options();
    let options =
        SqliteConnectOptions::clone(&options).create_if_missing(false).busy_timeout(SWEEP_TIME_MAX);
    let mut connection = options.connect().await?;
    let folded = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await;
    connection.close().await?;
    let (busy, _, _): (i64, i64, i64) = folded?;
    Ok(busy == 0)
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
        ("secure_delete", "PRAGMA secure_delete", "1"),
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
