//! A service's own database: an `SQLite` file with one writer and several readers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::sqlite::{SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, Transaction};

use crate::problem::Problem;

/// Says in the file's header that it is ours: "Pill" in ASCII.
const APPLICATION_ID: i64 = 0x5069_6c6c;
/// Reads of one service at a time. `SQLite`'s readers never wait for each other or the writer;
/// more of them than cores only cost memory.
const READERS_MAX: u32 = 4;
/// How long a request waits for its turn at a connection, so that the caller learns of an
/// overload in time.
const TURN_TIME_MAX: Duration = Duration::from_secs(2);
/// How long `SQLite` itself waits for another process that holds the file's lock: a backup, or
/// the operator's shell.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);
/// The write-ahead log is cut to this after a checkpoint, or it would stay at its largest size.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The migrations that all services share, kept apart from a service's own by their table.
static SHARED: Migrator = sqlx::migrate!("migrations/sqlite");
const SHARED_TABLE: &str = "_chassis_migrations";

/// A service's own database. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Database {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
}

/// Why a database file cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its folder cannot be read and written.
    #[error(
        "cannot write the database {path}: its folder is missing, read-only or somebody else's; \
         make it writable or choose another with --data"
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What `SQLite` says.
        #[source]
        source: sqlx::Error,
    },
    /// The disk is full.
    #[error("the disk that holds the database {path} is full; make room and start again")]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The file is not an `SQLite` database, or one of another program.
    #[error(
        "{path} is not one of Pillion's databases; move it away or choose another folder with \
         --data"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The schema is from the future.
    #[error(
        "the database {path} was written by a newer version of Pillion (it has migration \
         {migration}); run that version, or restore a backup from before the update"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The number of the migration that this build does not have.
        migration: i64,
    },
    /// The schema is not the one that this build made.
    #[error(
        "the database {path} belongs to another service, or to a build in which migration \
         {migration} was different; move it away or restore the right one"
    )]
    Different {
        /// The file.
        path: PathBuf,
        /// The number of the migration that differs.
        migration: i64,
    },
    /// A setting that the promises rest on did not take hold.
    #[error("the database {path} has {setting} = {found} instead of {expected}")]
    Setting {
        /// The file.
        path: PathBuf,
        /// The pragma's name.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Anything else.
    #[error("cannot open the database {path}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What `SQLite` says.
        #[source]
        source: sqlx::Error,
    },
    /// A migration failed; the schema is as it was before it.
    #[error("cannot bring the database {path} up to date")]
    Migration {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: MigrateError,
    },
}

/// Why a running service's database did not do what it was asked. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Too many others are at it.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// The disk is full.
    #[error("the disk is full")]
    Full(#[source] sqlx::Error),
    /// The disk does not read or write.
    #[error("the database cannot be read or written")]
    Unavailable(#[source] sqlx::Error),
    /// Anything else: our own mistake, or a damaged file.
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
    /// A column holds what no column of ours should.
    #[error("the database holds {0}")]
    Corrupt(String),
}

impl Database {
    /// Opens the file, or makes it; its folder must exist. Call [`Database::migrate`] next.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let failed = |error| open_error(path, error);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIME_MAX)
            .pragma("trusted_schema", "OFF")
            .pragma("mmap_size", "0")
            .pragma("journal_size_limit", JOURNAL_BYTES_MAX.to_string())
            .disable_statement_logging();

        // Before anything is changed in a file that may be somebody else's.
        let mut connection = options.clone().connect().await.map_err(failed)?;
        claim(path, &mut connection).await?;
        connection.close().await.map_err(failed)?;

        let options = options.journal_mode(SqliteJournalMode::Wal);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(TURN_TIME_MAX)
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(is_at_rest(connection)))
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(TURN_TIME_MAX)
            .test_before_acquire(false)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(failed)?;
        let database = Self { path: path.to_owned(), writer, readers };
        database.check_settings().await?;
        Ok(database)
    }

    /// Brings the schema up to date: the tables that all services share, then the service's own.
    pub async fn migrate(&self, own: &Migrator) -> Result<(), OpenError> {
        let mut shared = Migrator::with_migrations(SHARED.iter().cloned().collect());
        shared.dangerous_set_table_name(SHARED_TABLE);
        for migrator in [&shared, own] {
            migrator.run(&self.writer).await.map_err(|error| migration_error(&self.path, error))?;
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a transaction that may write, when its turn comes. Writers come one after the
    /// other (`BEGIN IMMEDIATE`), so none fails because of another. Dropping it undoes all of it.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>, DatabaseError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// The connections for reading; a statement that writes fails on them.
    pub fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// Whether the database can be read.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    /// Lets what is under way end, then closes the file and folds the write-ahead log into it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn check_settings(&self) -> Result<(), OpenError> {
        const BOTH: [(&str, &str, &str); 6] = [
            ("journal_mode", "PRAGMA journal_mode", "wal"),
            ("synchronous", "PRAGMA synchronous", "2"),
            ("foreign_keys", "PRAGMA foreign_keys", "1"),
            ("trusted_schema", "PRAGMA trusted_schema", "0"),
            ("busy_timeout", "PRAGMA busy_timeout", "5000"),
            ("journal_size_limit", "PRAGMA journal_size_limit", "67108864"),
        ];
        const READERS: (&str, &str, &str) = ("query_only", "PRAGMA query_only", "1");
        let writer = BOTH.iter().map(|check| (&self.writer, check));
        let readers = BOTH.iter().chain([&READERS]).map(|check| (&self.readers, check));
        for (pool, (setting, pragma, expected)) in writer.chain(readers) {
            let row = sqlx::query(*pragma)
                .fetch_one(pool)
                .await
                .map_err(|error| open_error(&self.path, error))?;
            let found = text_of(&row).map_err(|error| open_error(&self.path, error))?;
            if found != *expected {
                let path = self.path.clone();
                return Err(OpenError::Setting { path, setting, found, expected });
            }
        }
        Ok(())
    }
}

/// Whether the writer's connection may be used again, once its rollback has run. When the disk is
/// full `SQLite` undoes a transaction by itself, the rollback that follows fails, and sqlx goes on
/// counting the transaction as open: no other could ever begin on that connection.
async fn is_at_rest(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// The first column as text, whatever its type.
fn text_of(row: &sqlx::sqlite::SqliteRow) -> Result<String, sqlx::Error> {
    use sqlx::Row;
    row.try_get::<String, _>(0).or_else(|_| row.try_get::<i64, _>(0).map(|value| value.to_string()))
}

/// Makes an empty file ours, takes one that is, refuses any other.
async fn claim(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let failed = |error| open_error(path, error);
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
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    // A pragma takes no bound value; the number is `APPLICATION_ID`.
    sqlx::query("PRAGMA application_id = 0x50696c6c")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    Ok(())
}

/// `SQLite`'s primary result codes that call for an answer of their own.
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const IOERR: u32 = 10;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const NOTADB: u32 = 26;
}

/// The primary result code: the lower eight bits of what `SQLite` says.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

fn open_error(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match sqlite_code(&source) {
        Some(code::CANTOPEN | code::READONLY) => OpenError::NotWritable { path, source },
        Some(code::FULL) => OpenError::DiskFull { path },
        Some(code::NOTADB) => OpenError::Foreign { path },
        _ => OpenError::Other { path, source },
    }
}

fn migration_error(path: &Path, error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(migration) => {
            OpenError::Newer { path: path.to_owned(), migration }
        }
        MigrateError::VersionMismatch(migration) => {
            OpenError::Different { path: path.to_owned(), migration }
        }
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)
            if sqlite_code(&source).is_some_and(|code| {
                matches!(code, code::CANTOPEN | code::READONLY | code::FULL | code::NOTADB)
            }) =>
        {
            open_error(path, source)
        }
        source => OpenError::Migration { path: path.to_owned(), source },
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match (&error, sqlite_code(&error)) {
            (sqlx::Error::PoolTimedOut, _) | (_, Some(code::BUSY | code::LOCKED)) => {
                Self::Busy(error)
            }
            (_, Some(code::FULL)) => Self::Full(error),
            (sqlx::Error::PoolClosed | sqlx::Error::Io(_), _)
            | (_, Some(code::IOERR | code::CANTOPEN | code::READONLY)) => Self::Unavailable(error),
            _ => Self::Failed(error),
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        /// A turn comes soon.
        const BUSY_RETRY_AFTER_S: u32 = 1;
        /// Somebody has to make room first.
        const FULL_RETRY_AFTER_S: u32 = 30;
        match &error {
            DatabaseError::Busy(_) => {
                let detail = "The database is busy and nothing was changed; try again.";
                Self::unavailable(detail, BUSY_RETRY_AFTER_S)
            }
            DatabaseError::Full(_) => {
                let detail = "The disk is full and nothing was changed; try again later.";
                Self::unavailable(detail, FULL_RETRY_AFTER_S)
            }
            DatabaseError::Unavailable(_) => {
                let detail = "The database cannot be used now; try again later.";
                Self::unavailable(detail, FULL_RETRY_AFTER_S)
            }
            DatabaseError::Failed(_) | DatabaseError::Corrupt(_) => return Self::internal(&error),
        }
        .caused_by(&error)
    }
}

#[cfg(test)]
pub(crate) mod tests;
