//! Copies `SQLite` files that are in use, all as of one moment.
//!
//! The services of a system know of each other's events: a copy of one that is newer than the
//! copy of another would have taken up what never happened there. So all are stopped for the
//! moment it takes to copy what is small: first each file itself is copied at leisure, while a
//! reader keeps its write-ahead log from being folded in or begun anew; then, with every writer
//! waiting, the logs, which hold all that was written meanwhile.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};

/// How long it waits for a writer to end; each of them is a single short transaction.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A database cannot be read.
    #[error("cannot read the database {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What `SQLite` says.
        #[source]
        source: sqlx::Error,
    },
    /// A file cannot be copied.
    #[error("cannot copy {path}: {source}")]
    Copy {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The copy is not a whole database: the disk fails, or the file was damaged before.
    #[error("the copy of {path} is damaged: {found}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What `SQLite` found.
        found: String,
    },
}

/// A database that is being copied.
struct Source {
    path: PathBuf,
    copy: PathBuf,
    reader: SqliteConnection,
    /// Closing any descriptor of a database would let go of this process's locks on it.
    open: Vec<File>,
}

/// Copies databases into a folder, under their own names; gives how long writers waited.
pub async fn copy(databases: &[PathBuf], folder: &Path) -> Result<Duration, BackupError> {
    let mut sources = Vec::new();
    for path in databases {
        sources.push(begin(path, folder).await?);
    }
    let mut writers = Vec::new();
    for source in &sources {
        writers.push(hold(&source.path).await?);
    }
    let stopped = Instant::now();
    for source in &mut sources {
        let wal = beside(&source.path, "-wal");
        let copied = copy_file(&wal, &beside(&source.copy, "-wal"));
        match copied {
            Ok(open) => source.open.push(open),
            // Nothing was written since its last end.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(BackupError::Copy { path: wal, source }),
        }
    }
    for writer in &mut writers {
        let failed = |source| BackupError::Read { path: folder.to_owned(), source };
        sqlx::query("ROLLBACK").execute(writer).await.map_err(failed)?;
    }
    let waited = stopped.elapsed();
    for source in sources {
        let Source { path, copy, reader, open } = source;
        drop(reader);
        drop(open);
        check(&copy).await.map_err(|found| BackupError::Damaged { path, found })?;
    }
    Ok(waited)
}

/// Pins a database's log and copies the file itself.
async fn begin(path: &Path, folder: &Path) -> Result<Source, BackupError> {
    let failed = |source| BackupError::Read { path: path.to_owned(), source };
    let mut reader = options(path).connect().await.map_err(failed)?;
    // Best effort: a shorter log is copied sooner.
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut reader).await.map_err(failed)?;
    sqlx::query("BEGIN").execute(&mut reader).await.map_err(failed)?;
    sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut reader).await.map_err(failed)?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let copy = folder.join(name);
    let (from, to) = (path.to_owned(), copy.clone());
    let copied = tokio::task::spawn_blocking(move || copy_file(&from, &to)).await;
    let copied = copied.unwrap_or_else(|error| Err(io::Error::other(error)));
    let open = copied.map_err(|source| BackupError::Copy { path: path.to_owned(), source })?;
    Ok(Source { path: path.to_owned(), copy, reader, open: vec![open] })
}

/// Keeps writers from a database until the connection is dropped or rolls back.
async fn hold(path: &Path) -> Result<SqliteConnection, BackupError> {
    let failed = |source| BackupError::Read { path: path.to_owned(), source };
    let mut writer = options(path).connect().await.map_err(failed)?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await.map_err(failed)?;
    Ok(writer)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY_TIME_MAX)
        .disable_statement_logging()
}

/// Copies a file to the disk; gives the source's descriptor.
fn copy_file(from: &Path, to: &Path) -> io::Result<File> {
    let mut source = File::open(from)?;
    let mut copy = File::create(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.sync_all()?;
    Ok(source)
}

/// Folds the copied log into the copied file and looks at every page of it.
async fn check(copy: &Path) -> Result<(), String> {
    let told = |error: sqlx::Error| error.to_string();
    let mut connection = options(copy).connect().await.map_err(told)?;
    let (found,): (String,) =
        sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut connection).await.map_err(told)?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.map_err(told)?;
    connection.close().await.map_err(told)?;
    if found == "ok" { Ok(()) } else { Err(found) }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::database::tests::migrations;
    use crate::database::{Database, Transaction};
    use crate::sql::query;

    use super::*;

    async fn add(transaction: &mut Transaction, n: i64) {
        query("INSERT INTO n (n, text) VALUES ($1, $2)")
            .bind(n)
            .bind("x".repeat(500))
            .execute(transaction)
            .await
            .unwrap();
    }

    async fn newest(database: &Database) -> i64 {
        let (newest,) =
            query("SELECT coalesce(max(n), 0) FROM n").fetch_one::<(i64,)>(database).await.unwrap();
        newest
    }

    /// The second database is always written after the first, as a consumer is: no copy may know
    /// more in it.
    #[tokio::test(flavor = "multi_thread")]
    async fn all_are_as_of_one_moment_while_writes_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let own = migrations(&[(1, "CREATE TABLE n (n BIGINT NOT NULL, text TEXT NOT NULL)")]);
        let paths = ["a.sqlite", "b.sqlite"].map(|name| folder.path().join(name));
        let mut databases = Vec::new();
        for path in &paths {
            let database = Database::open(path).await.unwrap();
            database.migrate(&own).await.unwrap();
            databases.push(database);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (databases, stop) = (databases.clone(), stop.clone());
            async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    for database in &databases {
                        let mut transaction = database.write().await.unwrap();
                        add(&mut transaction, n).await;
                        transaction.commit().await.unwrap();
                    }
                }
                n
            }
        });
        let mut last = 0;
        for round in 0..10 {
            while newest(&databases[1]).await < last + 20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let to = folder.path().join(format!("backup-{round}"));
            std::fs::create_dir(&to).unwrap();
            let before = newest(&databases[1]).await;
            copy(&paths, &to).await.unwrap();
            let mut copies = Vec::new();
            for path in &paths {
                let file = to.join(path.file_name().unwrap());
                assert!(!beside(&file, "-wal").exists());
                let database = Database::open(&file).await.unwrap();
                copies.push(newest(&database).await);
                database.close().await;
            }
            let (a, b) = (copies[0], copies[1]);
            assert!(a == b || a == b + 1, "{copies:?}");
            assert!(b >= before, "{b} is older than what was there before: {before}");
            last = a;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.await.unwrap() >= last);
    }

    #[tokio::test]
    async fn what_is_not_there_or_damaged_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("to");
        std::fs::create_dir(&to).unwrap();
        let error = copy(&[folder.path().join("none.sqlite")], &to).await.unwrap_err();
        assert!(matches!(error, BackupError::Read { .. }), "{error:?}");

        let path = folder.path().join("a.sqlite");
        let database = Database::open(&path).await.unwrap();
        let own = migrations(&[(1, "CREATE TABLE n (n BIGINT NOT NULL, text TEXT NOT NULL)")]);
        database.migrate(&own).await.unwrap();
        let mut transaction = database.write().await.unwrap();
        for n in 0..200 {
            add(&mut transaction, n).await;
        }
        transaction.commit().await.unwrap();
        database.close().await;
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4_096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let error = copy(&[path], &to).await.unwrap_err();
        assert!(matches!(error, BackupError::Damaged { .. }), "{error:?}");
    }
}
