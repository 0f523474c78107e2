//! A service's own database: an `SQLite` file, or a database of a `PostgreSQL` server. What is
//! promised is the same on both: one writer at a time, several readers, and a commit that is on
//! disk before it is acknowledged.

mod error;
mod postgres;
mod queue;
mod said;
pub(crate) mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{AppliedMigration, Migrate, Migrator};
use sqlx::sqlite::SqliteSynchronous;
use sqlx::{Postgres, Sqlite};

use error::open_error;
pub use error::{DatabaseError, OpenError};
pub(crate) use error::{file_error, migration_error};
use queue::Queue;
pub use said::Said;

use crate::start::patiently;
use crate::tls::ServerTls;

/// How long a request waits for its turn at a connection, so that the caller learns of an
/// overload, or of a server that is gone, within two seconds.
const TURN_TIME_MAX: Duration = Duration::from_millis(1_800);
/// A server that does not answer is given up on after this. `SQLite` answers or fails by itself.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(1_900);
/// The same in a transaction: more than the server gives a statement, so that a server in reach
/// says itself what is wrong. One out of reach would keep the writer's place for as long as TCP is
/// patient, also when it is back.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(7);
/// The same for work that takes as long as it takes.
const LONG_STATEMENT_TIME_MAX: Duration = Duration::from_mins(30);

/// The migrations that all services share, kept apart from a service's own by their table.
static SHARED: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};
const SHARED_TABLE: &str = "_chassis_migrations";

/// What makes a service's tables: the same file names on both sides.
#[derive(Debug)]
pub struct Migrations {
    /// For a file.
    pub sqlite: Migrator,
    /// For a server.
    pub postgres: Migrator,
}

/// Which kind of database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A file of this process.
    Sqlite,
    /// A database of a server.
    Postgres,
}

/// A service's own database. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Database {
    place: String,
    has_fixed_schema: bool,
    /// For how long it is waited for the server at the start.
    start_time_max: Duration,
    pub(crate) pools: Pools,
    pub(crate) queue: Arc<Queue>,
}

#[derive(Debug, Clone)]
pub(crate) enum Pools {
    Sqlite(sqlite::Pools),
    Postgres(postgres::Pools),
}

/// Changes that are made together or not at all. Dropping it undoes them.
pub struct Transaction {
    pub(crate) inner: Inner,
    /// How long a server may take for a statement.
    pub(crate) answer_time: Duration,
    after_commit: Vec<Box<dyn FnOnce() + Send + Sync>>,
    pools: Pools,
}

pub(crate) enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Database {
    /// Opens the file, or makes it; its folder must exist. Call [`Database::migrate`] next.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let pools = Pools::Sqlite(sqlite::open(path, SqliteSynchronous::Full).await?);
        let place = path.display().to_string();
        Ok(Self {
            place,
            has_fixed_schema: false,
            start_time_max: Duration::ZERO,
            pools,
            queue: Arc::default(),
        })
    }

    /// Connects to `postgres://ROLE:PASSWORD@HOST:PORT/DATABASE`, which the role must own, or fails
    /// at once. Call [`Database::migrate`] next.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::connect_with(url, &ServerTls::default(), Duration::ZERO).await
    }

    /// [`Database::connect`], with what the server must show where the URL says nothing of it. By
    /// `?sslmode=verify-full` it is asked for.
    ///
    /// Here and in [`Database::migrate`] a server that is not there yet, or too busy to answer, is
    /// waited for, `start_time_max` at most. One that refuses the role, the database or the
    /// certificate is not.
    pub async fn connect_with(
        url: &str,
        tls: &ServerTls,
        start_time_max: Duration,
    ) -> Result<Self, OpenError> {
        let (place, pools) = postgres::connect(url, tls, start_time_max).await?;
        let pools = Pools::Postgres(pools);
        Ok(Self { place, has_fixed_schema: false, start_time_max, pools, queue: Arc::default() })
    }

    /// The same database, whose schema [`Database::migrate`] only checks when it is a server's:
    /// other processes may be at it that do not know the newer one.
    #[must_use]
    pub fn with_fixed_schema(self) -> Self {
        Self { has_fixed_schema: true, ..self }
    }

    /// Which kind it is.
    pub fn backend(&self) -> Backend {
        match self.pools {
            Pools::Sqlite(_) => Backend::Sqlite,
            Pools::Postgres(_) => Backend::Postgres,
        }
    }

    /// The file, or the server and database; for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Brings the schema up to date: the tables that all services share, then the service's own.
    pub async fn migrate(&self, own: &Migrations) -> Result<(), OpenError> {
        let once = async || self.migrate_once(own).await;
        patiently(self.start_time_max, once, OpenError::is_passing).await
    }

    async fn migrate_once(&self, own: &Migrations) -> Result<(), OpenError> {
        if self.has_fixed_schema && self.backend() == Backend::Postgres {
            return self.check_schema(own).await;
        }
        for migrator in self.migrators(own) {
            match &self.pools {
                Pools::Sqlite(pools) => migrator.run(&pools.writer).await,
                Pools::Postgres(pools) => migrator.run(&pools.writer).await,
            }
            .map_err(|error| migration_error(&self.place, error))?;
        }
        Ok(())
    }

    /// Refuses a schema that a migration would change, and changes nothing.
    async fn check_schema(&self, own: &Migrations) -> Result<(), OpenError> {
        for migrator in self.migrators(own) {
            let applied = self.applied(&migrator).await?;
            let place = || self.place.clone();
            for migration in &applied {
                let known = migrator.iter().find(|known| known.version == migration.version);
                match known {
                    None => {
                        let migration = migration.version;
                        return Err(OpenError::Newer { place: place(), migration });
                    }
                    Some(known) if known.checksum != migration.checksum => {
                        let migration = migration.version;
                        return Err(OpenError::Different { place: place(), migration });
                    }
                    Some(_) => {}
                }
            }
            let missing = migrator
                .iter()
                .find(|known| applied.iter().all(|migration| migration.version != known.version));
            if let Some(missing) = missing {
                return Err(OpenError::Older { place: place(), migration: missing.version });
            }
        }
        Ok(())
    }

    /// The migrations that the database has.
    async fn applied(&self, migrator: &Migrator) -> Result<Vec<AppliedMigration>, OpenError> {
        let Pools::Postgres(pools) = &self.pools else {
            // Files are always brought up to date.
            return Ok(Vec::new());
        };
        let failed = |error| open_error(&self.place, error);
        let table = migrator.table_name.as_ref();
        let mut connection = pools.writer.acquire().await.map_err(failed)?;
        let (exists,): (bool,) = sqlx::query_as("SELECT to_regclass($1) IS NOT NULL")
            .bind(table)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        if !exists {
            return Ok(Vec::new());
        }
        let applied = connection.list_applied_migrations(table).await;
        applied.map_err(|error| migration_error(&self.place, error))
    }

    fn migrators(&self, own: &Migrations) -> [Migrator; 2] {
        let of = |migrations: &Migrations| {
            let migrator = match self.backend() {
                Backend::Sqlite => &migrations.sqlite,
                Backend::Postgres => &migrations.postgres,
            };
            Migrator::with_migrations(migrator.iter().cloned().collect())
        };
        let mut shared = of(&SHARED);
        shared.dangerous_set_table_name(SHARED_TABLE);
        [shared, of(own)]
    }

    /// Begins a transaction that may write, when its turn comes. Writers of a service come one
    /// after the other, so what one reads stays true until its commit, and none fails because of
    /// another.
    pub async fn write(&self) -> Result<Transaction, DatabaseError> {
        let inner = match &self.pools {
            Pools::Sqlite(pools) => {
                let begun = pools.writer.begin_with("BEGIN IMMEDIATE");
                Inner::Sqlite(self.queue.write(begun).await?)
            }
            Pools::Postgres(pools) => {
                let begun = in_time(postgres::begin(&pools.writer));
                Inner::Postgres(self.queue.write(begun).await?)
            }
        };
        Ok(Transaction {
            inner,
            answer_time: STATEMENT_TIME_MAX,
            after_commit: Vec::new(),
            pools: self.pools.clone(),
        })
    }

    /// Begins a transaction that may write for as long as it takes, on a connection of its own: all
    /// that is set or made for the session ends with it. Its turn lasts until the last commit, also
    /// when there are some in between.
    pub(crate) async fn write_alone(&self) -> Result<Transaction, DatabaseError> {
        let Pools::Postgres(pools) = &self.pools else {
            return self.write().await;
        };
        Ok(Transaction {
            inner: Inner::Postgres(in_time(postgres::begin_alone(&pools.writer)).await?),
            answer_time: LONG_STATEMENT_TIME_MAX,
            after_commit: Vec::new(),
            pools: self.pools.clone(),
        })
    }

    /// Whether the database can be read.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        crate::sql::query("SELECT 1").execute(self).await?;
        Ok(())
    }

    /// Returns whether most statements since the last call waited long for a connection: requests
    /// queue here. For one caller, which asks now and then.
    pub fn was_queue_standing(&self) -> bool {
        self.queue.was_standing()
    }

    /// Lets what is under way end, then closes the file and folds the write-ahead log into it,
    /// or leaves the server.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite(pools) => {
                pools.readers.close().await;
                pools.writer.close().await;
            }
            Pools::Postgres(pools) => {
                pools.readers.close().await;
                pools.writer.close().await;
            }
        }
    }
}

/// [`within`] the time that a server has for what is done at once.
pub(crate) fn in_time<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> impl Future<Output = Result<T, DatabaseError>> {
    within(ANSWER_TIME_MAX, answer)
}

/// Waits for a server, but not for ever: one that is stopped in the middle of an answer looks
/// like one that thinks. What it was asked to do may have been done or not.
pub(crate) fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> impl Future<Output = Result<T, DatabaseError>> {
    // Boxed, for it would be twice in the future of every statement.
    let answer = tokio::time::timeout(time, Box::pin(answer));
    async {
        if let Ok(answer) = answer.await {
            return Ok(answer?);
        }
        let late = std::io::ErrorKind::TimedOut;
        let error = std::io::Error::new(late, "the database server did not answer in time");
        Err(sqlx::Error::Io(error).into())
    }
}

impl Transaction {
    /// Makes the changes last, then wakes who waits for them.
    pub async fn commit(self) -> Result<(), DatabaseError> {
        crate::crash::crash_point!("commit.before");
        match self.inner {
            Inner::Sqlite(transaction) => transaction.commit().await?,
            Inner::Postgres(transaction) => in_time(transaction.commit()).await?,
        }
        crate::crash::crash_point!("commit.after");
        for wake in self.after_commit {
            wake();
        }
        Ok(())
    }

    /// What is to be done once the changes last: something short that does not fail.
    pub fn after_commit(&mut self, wake: impl FnOnce() + Send + Sync + 'static) {
        self.after_commit.push(Box::new(wake));
    }

    /// Sees to it, once the changes last, that what they deleted is nowhere in the files any more:
    /// an `SQLite` write-ahead log keeps older pages until it is begun anew.
    pub(crate) fn sweep_after_commit(&mut self) {
        if let Pools::Sqlite(pools) = &self.pools {
            let pools = pools.clone();
            self.after_commit(move || pools.sweep());
        }
    }

    /// Lifts the bound on a statement's time to the end of the transaction, for work that takes as
    /// long as it takes and that no caller waits for. `SQLite` has no such bound.
    pub async fn take_time(&mut self) -> Result<(), DatabaseError> {
        if self.backend() == Backend::Postgres {
            crate::sql::query("SET LOCAL statement_timeout = 0").execute(&mut *self).await?;
            self.answer_time = LONG_STATEMENT_TIME_MAX;
        }
        Ok(())
    }

    /// The turn of one that was begun with [`Database::write_alone`] ends with the commit.
    pub(crate) async fn end_alone(&mut self) -> Result<(), DatabaseError> {
        match &mut self.inner {
            Inner::Sqlite(_) => Ok(()),
            Inner::Postgres(transaction) => Ok(postgres::end_alone(transaction).await?),
        }
    }

    /// Which kind of database it is in.
    pub fn backend(&self) -> Backend {
        match self.inner {
            Inner::Sqlite(_) => Backend::Sqlite,
            Inner::Postgres(_) => Backend::Postgres,
        }
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("backend", &self.backend()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
