//! `kv` and `limiter` in an `SQLite` file, which survives restarts and may be shared by the
//! hosts of one machine.
//!
//! One task owns the connection. It puts whatever calls are waiting into one transaction, which
//! takes the file's write lock first: what is read in it is still true when it is written. The
//! time is the machine's, which all who share the file have in common, and unlike a steady clock
//! goes on over a restart. A crash of the process loses nothing; a power cut may lose the last
//! moments, because a commit does not wait for the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    Access, Accessed, Condition, Failure, FailureKind, IN_FLIGHT_MAX, Operation, Quota, Take,
    Taken, bounded_ttl,
};
use crate::error::HostError;
use crate::host_calls::now_us;
use crate::kv::cost;

const SCHEMA: &str = include_str!("sqlite.sql");

/// "PSTN": marks the file as one of plugin state. As in `sqlite.sql`.
const APPLICATION_ID: i64 = 1_347_638_350;

/// The version of the schema that this host reads and writes.
const SCHEMA_VERSION: i64 = 1;

/// Calls of one transaction. At about 30 µs each the lock is held for 2 ms.
const BATCH_CALLS_MAX: usize = 64;

/// Expired rows that each new one takes with it, so that they never pile up.
const SWEEP_ROWS: i64 = 10;

/// Expired rows that are taken away at once when a bound is reached.
const SWEEP_FULL_ROWS: i64 = 1_000;

/// How long another process may hold the lock, as a part of the bound of one call.
const LOCK_WAIT_PARTS: u32 = 2;

/// Between a panic of the task and its restart.
const RESTART_DELAY: Duration = Duration::from_secs(1);

type Answer<T> = oneshot::Sender<Result<T, Failure>>;

#[derive(Debug)]
enum Job {
    /// Whether to find out if the file can be written to.
    Probe(bool, Answer<()>),
    Take(Take, Answer<Taken>),
    Access(Access, Answer<Accessed>),
}

/// A job that is done and waits for its commit.
enum Done {
    Probe(Answer<()>),
    Take(Answer<Taken>, Taken),
    Access(Answer<Accessed>, Accessed),
}

#[derive(Debug)]
pub(super) struct Sqlite {
    jobs: mpsc::Sender<Job>,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(error) => {
                // The low byte is the primary result code.
                let code = error.code().and_then(|code| code.parse::<u32>().ok());
                let kind = match code.map(|code| code & 0xff) {
                    // SQLITE_BUSY
                    Some(5) => FailureKind::Slow,
                    // SQLITE_TOOBIG, _CONSTRAINT, _MISMATCH
                    Some(18..=20) => FailureKind::Call,
                    // The file or its disk: full, read-only, damaged, no permission.
                    _ => FailureKind::Refused,
                };
                Self { reason: error.message().to_owned(), kind }
            }
            error => Self { reason: error.to_string(), kind: FailureKind::Gone },
        }
    }
}

impl Sqlite {
    /// Opens the file, or makes it. One that belongs to something else, or to a newer host, is
    /// refused.
    pub(super) fn open(
        path: &Path,
        handle: &Handle,
        call_max: Duration,
    ) -> Result<Self, HostError> {
        let refused = |reason: String| {
            HostError::State(format!("cannot keep plugins' state in {}: {reason}", path.display()))
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| refused(error.to_string()))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(call_max / LOCK_WAIT_PARTS)
            .pragma("trusted_schema", "OFF");
        // In the same way as a call, for this may be the thread of another executor.
        let (opened, wait) = std::sync::mpsc::channel();
        let own = options.clone();
        drop(handle.spawn(async move { opened.send(open(&own).await) }));
        let connection = wait
            .recv()
            .map_err(|_| refused("the thread for it has ended".to_owned()))?
            .map_err(|failure| refused(failure.reason))?;
        let (jobs, queue) = mpsc::channel(IN_FLIGHT_MAX);
        drop(handle.spawn(supervise(options, connection, queue)));
        Ok(Self { jobs })
    }

    /// Waits for an answer. While the file is up it is enough to lock it; when it is down, because
    /// a write failed, another write shows whether that is over.
    pub(super) async fn probe(&self, is_up: bool) -> Result<(), Failure> {
        self.ask(|answer| Job::Probe(!is_up, answer)).await
    }

    pub(super) async fn take(&self, take: Take) -> Result<Taken, Failure> {
        self.ask(|answer| Job::Take(take, answer)).await
    }

    pub(super) async fn access(&self, access: Access) -> Result<Accessed, Failure> {
        self.ask(|answer| Job::Access(access, answer)).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Failure> {
        let ended = || Failure { reason: "its task has ended".to_owned(), kind: FailureKind::Gone };
        let (answer, wait) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| ended())?;
        wait.await.map_err(|_| ended())?
    }
}

async fn open(options: &SqliteConnectOptions) -> Result<SqliteConnection, Failure> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    // Two hosts may begin at the same time.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
    let (id, version, tables): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id),
                (SELECT user_version FROM pragma_user_version),
                (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(&mut connection)
    .await?;
    let refused = |reason: String| Err(Failure { reason, kind: FailureKind::Refused });
    match (id, version) {
        (0, 0) if tables == 0 => {
            sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        }
        (APPLICATION_ID, SCHEMA_VERSION) => {}
        (APPLICATION_ID, version) => {
            return refused(format!(
                "its schema has version {version}, this host has {SCHEMA_VERSION}; use the host \
                 that wrote it, or another file"
            ));
        }
        _ => return refused("it is the database of something else; name another file".to_owned()),
    }
    sqlx::query("COMMIT").execute(&mut connection).await?;
    Ok(connection)
}

/// Has the work done, also after a panic: that costs the calls of one batch their answers.
async fn supervise(
    options: SqliteConnectOptions,
    connection: SqliteConnection,
    queue: mpsc::Receiver<Job>,
) {
    let queue = Arc::new(Mutex::new(queue));
    let mut connection = Some(connection);
    while let Err(error) =
        tokio::spawn(work(options.clone(), connection.take(), Arc::clone(&queue))).await
    {
        if error.is_cancelled() {
            return;
        }
        tracing::error!("plugin state task panicked, restarting");
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

/// Does what is asked, in batches, until nobody is left who could ask.
async fn work(
    options: SqliteConnectOptions,
    mut connection: Option<SqliteConnection>,
    queue: Arc<Mutex<mpsc::Receiver<Job>>>,
) {
    let mut queue = queue.lock().await;
    let mut batch = Vec::with_capacity(BATCH_CALLS_MAX);
    while queue.recv_many(&mut batch, BATCH_CALLS_MAX).await > 0 {
        // They are taken from the end.
        batch.reverse();
        let mut done = Vec::with_capacity(batch.len());
        let result = match &mut connection {
            Some(connection) => transaction(connection, &mut batch, &mut done).await,
            None => match open(&options).await {
                Ok(opened) => transaction(connection.insert(opened), &mut batch, &mut done).await,
                Err(failure) => Err(failure),
            },
        };
        if result.is_err()
            && let Some(open) = &mut connection
            && sqlx::query("ROLLBACK").execute(open).await.is_err()
        {
            // There was no transaction, or it cannot be ended: begin anew with the next batch.
            connection = None;
        }
        for done in done {
            done.answer(result.as_ref().err());
        }
        if let Err(failure) = result {
            for job in batch.drain(..) {
                job.refuse(&failure);
            }
        }
        batch.clear();
    }
}

/// Does the batch in one transaction. Jobs that were not reached stay in the batch.
async fn transaction(
    connection: &mut SqliteConnection,
    batch: &mut Vec<Job>,
    done: &mut Vec<Done>,
) -> Result<(), Failure> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    while let Some(job) = batch.pop() {
        // Who asked may have given up.
        if job.is_abandoned() {
            continue;
        }
        match job {
            Job::Probe(writes, answer) => {
                let written = if writes { write(connection).await } else { Ok(()) };
                match written {
                    Ok(()) => done.push(Done::Probe(answer)),
                    Err(failure) => {
                        batch.push(Job::Probe(writes, answer));
                        return Err(failure);
                    }
                }
            }
            Job::Take(wanted, answer) => match take(connection, &wanted).await {
                Ok(taken) => done.push(Done::Take(answer, taken)),
                Err(failure) => {
                    batch.push(Job::Take(wanted, answer));
                    return Err(failure);
                }
            },
            Job::Access(wanted, answer) => match access(connection, &wanted).await {
                Ok(accessed) => done.push(Done::Access(answer, accessed)),
                Err(failure) => {
                    batch.push(Job::Access(wanted, answer));
                    return Err(failure);
                }
            },
        }
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(())
}

impl Job {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Probe(_, answer) => answer.is_closed(),
            Self::Take(_, answer) => answer.is_closed(),
            Self::Access(_, answer) => answer.is_closed(),
        }
    }

    fn refuse(self, failure: &Failure) {
        match self {
            Self::Probe(_, answer) => send(answer, Err(failure)),
            Self::Take(_, answer) => send(answer, Err(failure)),
            Self::Access(_, answer) => send(answer, Err(failure)),
        }
    }
}

impl Done {
    fn answer(self, failure: Option<&Failure>) {
        match self {
            Self::Probe(answer) => send(answer, failure.map_or(Ok(()), Err)),
            Self::Take(answer, taken) => send(answer, failure.map_or(Ok(taken), Err)),
            Self::Access(answer, accessed) => send(answer, failure.map_or(Ok(accessed), Err)),
        }
    }
}

fn send<T>(answer: Answer<T>, result: Result<T, &Failure>) {
    let result =
        result.map_err(|failure| Failure { reason: failure.reason.clone(), kind: failure.kind });
    // Who asked may have given up waiting.
    drop(answer.send(result));
}

/// Writes a page without changing anything.
async fn write(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let statement = format!("PRAGMA user_version = {SCHEMA_VERSION}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Nanoseconds since 1970, as `SQLite` keeps them.
fn now() -> i64 {
    i64::try_from(now_us().saturating_mul(1_000)).unwrap_or(i64::MAX)
}

async fn take(connection: &mut SqliteConnection, take: &Take) -> Result<Taken, Failure> {
    let now = now();
    let kind: i64 = match take.quota {
        Quota::Bucket(_) => 0,
        Quota::Window(_) => 1,
    };
    let cell: Option<(i64, i64)> =
        sqlx::query_as("SELECT at, taken FROM cells WHERE plugin = ? AND kind = ? AND key = ?")
            .bind(&*take.plugin)
            .bind(kind)
            .bind(&take.key)
            .fetch_optional(&mut *connection)
            .await?;
    let keys = if cell.is_none() {
        match room(connection, take, now).await? {
            Some(keys) => keys + 1,
            None => return Ok(Taken::Full),
        }
    } else {
        sums(connection, &take.plugin).await?.0
    };
    let cell =
        cell.map(|(at, taken)| (at.unsigned_abs(), u32::try_from(taken).unwrap_or(u32::MAX)));
    let now = now.unsigned_abs();
    // A clock that was set back locks nobody out and makes no window longer: no cell is later
    // than it could have become by now, and one that is gets corrected, also by a refused take.
    let latest = match take.quota {
        Quota::Bucket(bucket) => now.saturating_add(bucket.capacity),
        Quota::Window(_) => now,
    };
    let corrected = cell.map(|(at, taken)| (at.min(latest), taken));
    let (verdict, changed) = match take.quota {
        Quota::Bucket(bucket) => {
            let (verdict, due) = bucket.take(corrected.map(|(at, _)| at), now);
            (verdict, due.map(|due| (due, 0)))
        }
        Quota::Window(window) => window.take(corrected, now),
    };
    if let Some((at, taken)) = changed.or(corrected.filter(|_| corrected != cell)) {
        let expires = match take.quota {
            Quota::Bucket(_) => at,
            Quota::Window(window) => at.saturating_add(window.length),
        };
        sqlx::query(
            "INSERT INTO cells (plugin, kind, key, at, taken, expires) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET
                 at = excluded.at, taken = excluded.taken, expires = excluded.expires",
        )
        .bind(&*take.plugin)
        .bind(kind)
        .bind(&take.key)
        .bind(i64::try_from(at).unwrap_or(i64::MAX))
        .bind(i64::from(taken))
        .bind(i64::try_from(expires).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    }
    Ok(Taken::Judged { verdict, keys: keys.unsigned_abs() })
}

/// The plugin's cells if there is room for another one.
async fn room(
    connection: &mut SqliteConnection,
    take: &Take,
    now: i64,
) -> Result<Option<i64>, Failure> {
    let keys_max = i64::try_from(take.keys_max).unwrap_or(i64::MAX);
    let mut rows_max = SWEEP_ROWS;
    loop {
        let swept = sqlx::query(
            "DELETE FROM cells WHERE (plugin, kind, key) IN (
                 SELECT plugin, kind, key FROM cells WHERE plugin = ? AND expires <= ? LIMIT ?)",
        )
        .bind(&*take.plugin)
        .bind(now)
        .bind(rows_max)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        let (keys, _) = sums(connection, &take.plugin).await?;
        if keys < keys_max {
            return Ok(Some(keys));
        }
        if swept == 0 {
            return Ok(None);
        }
        rows_max = SWEEP_FULL_ROWS;
    }
}

/// The plugin's cells, and the bytes that its entries count.
async fn sums(connection: &mut SqliteConnection, plugin: &str) -> Result<(i64, i64), Failure> {
    let sums: Option<(i64, i64)> = sqlx::query_as("SELECT cells, bytes FROM sums WHERE plugin = ?")
        .bind(plugin)
        .fetch_optional(connection)
        .await?;
    Ok(sums.unwrap_or_default())
}

async fn access(connection: &mut SqliteConnection, access: &Access) -> Result<Accessed, Failure> {
    let Access { plugin, key, operation } = access;
    let now = now();
    let present: Option<(Vec<u8>, i64, Option<i64>)> =
        sqlx::query_as("SELECT value, cost, expires FROM entries WHERE plugin = ? AND key = ?")
            .bind(&**plugin)
            .bind(key)
            .fetch_optional(&mut *connection)
            .await?;
    let counted = present.as_ref().map_or(0, |(_, cost, _)| *cost);
    let live = present.filter(|(_, _, expires)| expires.is_none_or(|at| at > now));
    let live = live.map(|(value, ..)| value);
    let done = match operation {
        Operation::Get => return Ok(Accessed::Value(live)),
        Operation::Delete => {
            sqlx::query("DELETE FROM entries WHERE plugin = ? AND key = ?")
                .bind(&**plugin)
                .bind(key)
                .execute(&mut *connection)
                .await?;
            live.is_some()
        }
        Operation::Set { value, ttl_ms, bytes_max, condition } => {
            let holds = match condition {
                Condition::Anything => true,
                Condition::Nothing => live.is_none(),
                Condition::Equal(expected) => live.as_ref() == Some(expected),
            };
            if holds {
                let cost = i64::try_from(cost(key, value)).unwrap_or(i64::MAX);
                let bytes_max = i64::try_from(*bytes_max).unwrap_or(i64::MAX);
                if !has_room(connection, (plugin, key), cost - counted, bytes_max, now).await? {
                    return Ok(Accessed::Full);
                }
                let expires = bounded_ttl(*ttl_ms)
                    .map(|ttl_ms| now.saturating_add_unsigned(ttl_ms.saturating_mul(1_000_000)));
                set(connection, (plugin, key), value, cost, expires).await?;
            }
            holds
        }
    };
    let (_, bytes) = sums(connection, plugin).await?;
    Ok(Accessed::Changed { done, bytes: bytes.unsigned_abs() })
}

async fn set(
    connection: &mut SqliteConnection,
    (plugin, key): (&str, &str),
    value: &[u8],
    cost: i64,
    expires: Option<i64>,
) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO entries (plugin, key, value, cost, expires) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET
             value = excluded.value, cost = excluded.cost, expires = excluded.expires",
    )
    .bind(plugin)
    .bind(key)
    .bind(value)
    .bind(cost)
    .bind(expires)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the plugin's entries may count so many bytes more. Takes expired ones away, but not
/// the one that is about to be replaced.
async fn has_room(
    connection: &mut SqliteConnection,
    (plugin, key): (&str, &str),
    more: i64,
    bytes_max: i64,
    now: i64,
) -> Result<bool, Failure> {
    let mut rows_max = SWEEP_ROWS;
    loop {
        let swept = sqlx::query(
            "DELETE FROM entries WHERE (plugin, key) IN (
                 SELECT plugin, key FROM entries
                 WHERE plugin = ? AND expires <= ? AND key <> ? LIMIT ?)",
        )
        .bind(plugin)
        .bind(now)
        .bind(key)
        .bind(rows_max)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        let (_, bytes) = sums(connection, plugin).await?;
        if bytes.saturating_add(more) <= bytes_max {
            return Ok(true);
        }
        if swept == 0 {
            return Ok(false);
        }
        rows_max = SWEEP_FULL_ROWS;
    }
}
