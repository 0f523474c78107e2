//! A database of a `PostgreSQL` server: one writer at a time over all processes, several readers,
//! and time-outs on both ends.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection as _, Postgres, Row as _, Transaction, raw_sql,
};

use super::TURN_TIME_MAX;
use super::error::{OpenError, open_error};
use crate::start::patiently;
use crate::tls::{ServerTls, TlsFiles};

/// Reads of one service at a time in one process. A server takes some hundred connections from
/// all processes together.
const READERS_MAX: u32 = 8;

/// What a session is bound by: a statement that hangs must not hold its locks for ever. A write
/// waits for its turn no longer than on `SQLite`.
///
/// A row read by its id costs what one read in sequence does, as on an SSD: by the default, made for
/// turning disks, the tweets of a page were read out of the whole table (docs/growing.md).
const SETTINGS: [(&str, &str); 6] = [
    ("random_page_cost", "1.1"),
    ("statement_timeout", "5s"),
    ("lock_timeout", "1800ms"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("synchronous_commit", "on"),
    ("client_encoding", "UTF8"),
];

/// A setting that has no meaning, by which sessions are told from each other.
const SESSION_MARK: &str = "pillion.session";

/// How long a connection that was used may take to show that it still works. One whose server is
/// out of reach says nothing for as long as TCP is patient, which is minutes, and would keep its
/// place that long.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(2);

/// How long a server may take for one try of a start, on a machine on which everything starts.
const TRY_TIME_MAX: Duration = Duration::from_secs(10);

/// The lock that a service's writer holds: "Pillion" in ASCII. Every service has a database of
/// its own, and so a lock of its own.
const WRITER_LOCK: i64 = 0x0050_696c_6c69_6f6e;

/// The connections to one database.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    pub(crate) writer: PgPool,
    pub(crate) readers: PgPool,
}

/// Connects to the database that the URL names; also its name for messages, without a password.
pub(super) async fn connect(
    url: &str,
    tls: &ServerTls,
    start_time_max: Duration,
) -> Result<(String, Pools), OpenError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let reason = "it does not begin with postgres://".to_owned();
        return Err(OpenError::Url { reason });
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| OpenError::Url { reason: error.to_string() })?;
    let options = secured(options, url, tls)?
        .application_name("pillion")
        .options(SETTINGS)
        .disable_statement_logging();
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    let place = format!("{}:{}/{database}", options.get_host(), options.get_port());
    let attempt = async || open(&place, &options).await;
    let pools = patiently(start_time_max, attempt, OpenError::is_passing).await?;
    Ok((place, pools))
}

/// The connections, of which one of each kind stands.
async fn open(place: &str, options: &PgConnectOptions) -> Result<Pools, OpenError> {
    let failed = |error| open_error(place, error);
    // By itself first: a pool that has no connection in time cannot say why.
    let looked = tokio::time::timeout(TRY_TIME_MAX, Box::pin(look(place, options))).await;
    looked.unwrap_or_else(|_| {
        let silence = format!("no answer within {TRY_TIME_MAX:?}");
        Err(failed(io::Error::new(io::ErrorKind::TimedOut, silence).into()))
    })?;
    let pool = || {
        PgPoolOptions::new()
            .min_connections(1)
            .acquire_timeout(TURN_TIME_MAX)
            .test_before_acquire(true)
            .after_release(|connection, _| {
                Box::pin(async move {
                    // Also ends a transaction that was dropped. An error closes the connection.
                    match tokio::time::timeout(RELEASE_TIME_MAX, connection.ping()).await {
                        Ok(answer) => answer.map(|()| true),
                        Err(late) => Err(sqlx::Error::Io(late.into())),
                    }
                })
            })
    };
    let writer = pool().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
    let readers = pool()
        .max_connections(READERS_MAX)
        .connect_with(options.clone().options([("default_transaction_read_only", "on")]))
        .await
        .map_err(failed)?;
    Ok(Pools { writer, readers })
}

/// Whether the database is one of ours, or may become one.
async fn look(place: &str, options: &PgConnectOptions) -> Result<(), OpenError> {
    let failed = |error| open_error(place, error);
    let mut connection = options.connect().await.map_err(failed)?;
    check_session(place, options, &mut connection).await?;
    claim(place, &mut connection).await?;
    check_settings(place, &mut connection).await?;
    connection.close().await.map_err(failed)
}

/// Refuses a pooler between us and the server that drops the settings of sessions or shares them:
/// statements would have no bound, and prepared ones be another's or gone.
async fn check_session(
    place: &str,
    options: &PgConnectOptions,
    connection: &mut PgConnection,
) -> Result<(), OpenError> {
    let refused = |reason: String| Err(OpenError::Pooler { place: place.to_owned(), reason });
    for (setting, expected) in SETTINGS {
        let found = shown(place, connection, setting).await?;
        if found != expected {
            return refused(format!("drops the settings of a session ({setting} is {found})"));
        }
    }
    // What this session alone knows, unless it is another's as well. Connections of a pooler that
    // are idle get the same one.
    let mark = format!("{}-{:p}", std::process::id(), &raw const *connection);
    let set = format!("SET {SESSION_MARK} = '{mark}'");
    raw_sql(AssertSqlSafe(set))
        .execute(&mut *connection)
        .await
        .map_err(|it| open_error(place, it))?;
    let mut other = options.connect().await.map_err(|error| open_error(place, error))?;
    let of_other = shown(place, &mut other, SESSION_MARK).await?;
    let own = shown(place, connection, SESSION_MARK).await?;
    other.close().await.map_err(|error| open_error(place, error))?;
    if of_other == mark || own != mark {
        return refused("shares sessions between connections (pool_mode)".to_owned());
    }
    Ok(())
}

/// A setting of the session. Without a prepared statement, for those are what may be shared.
async fn shown(
    place: &str,
    connection: &mut PgConnection,
    setting: &'static str,
) -> Result<String, OpenError> {
    let sql = format!("SELECT coalesce(current_setting('{setting}', TRUE), '')");
    let row = raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await;
    row.and_then(|row| row.try_get(0)).map_err(|error| open_error(place, error))
}

/// With the files for TLS, if the URL asks for it: those that it names, else the configured ones.
fn secured(
    mut options: PgConnectOptions,
    url: &str,
    tls: &ServerTls,
) -> Result<PgConnectOptions, OpenError> {
    let is_verified = match options.get_ssl_mode() {
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => true,
        PgSslMode::Require => false,
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => return Ok(options),
    };
    let (_, query) = url.split_once('?').unwrap_or_default();
    let named = |keys: &[&str]| -> Option<PathBuf> {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let (_, path) = pairs.find(|(name, _)| keys.contains(&&**name))?;
        Some(tls.base.join(&*path))
    };
    let client = match (named(&["sslcert", "ssl-cert"]), named(&["sslkey", "ssl-key"])) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => tls.client.clone(),
        _ => {
            let reason = "sslcert and sslkey belong together; one of them is missing".to_owned();
            return Err(OpenError::Url { reason });
        }
    };
    let ca = named(&["sslrootcert", "ssl-root-cert", "ssl-ca"]);
    let ca = ca.or_else(|| tls.ca.clone()).filter(|_| is_verified);
    let files = ServerTls { ca, client, base: PathBuf::new() };
    files.check().map_err(OpenError::Certificates)?;
    if let Some(ca) = &files.ca {
        options = options.ssl_root_cert(ca);
    }
    if let Some(TlsFiles { certificate, key }) = &files.client {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    Ok(options)
}

/// Takes a database that is empty or ours, refuses any other.
async fn claim(place: &str, connection: &mut PgConnection) -> Result<(), OpenError> {
    let (ours, tables): (bool, i64) = sqlx::query_as(
        "SELECT coalesce(bool_or(tablename = '_chassis_migrations'), FALSE), count(*)
         FROM pg_catalog.pg_tables WHERE schemaname = current_schema()",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| open_error(place, error))?;
    if ours || tables == 0 { Ok(()) } else { Err(OpenError::Foreign { place: place.to_owned() }) }
}

/// What only the server's owner can set is said aloud, for without it an acknowledged write does
/// not outlive a power cut.
async fn check_settings(place: &str, connection: &mut PgConnection) -> Result<(), OpenError> {
    for (setting, show) in [("fsync", "SHOW fsync"), ("full_page_writes", "SHOW full_page_writes")]
    {
        let shown = sqlx::query_as(show).fetch_one(&mut *connection).await;
        let (found,): (String,) = shown.map_err(|error| open_error(place, error))?;
        if found != "on" {
            tracing::warn!(
                database = place,
                setting,
                found,
                "the database server may lose acknowledged writes in a power cut; set it to on"
            );
        }
    }
    Ok(())
}

/// Begins a transaction whose turn it is. Writers of a service come one after the other, as on
/// `SQLite`: a lock in the transaction, taken before anything else and held until its commit, so
/// that positions in the event log are handed out in the order of the commits. Without it a
/// reader with a cursor would pass by an event that got its number early and was committed late.
pub(super) async fn begin(writer: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = writer.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(WRITER_LOCK)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

/// Begins a transaction on a connection of its own, whose turn it is until [`end_alone`] and the
/// commit after it: the lock is the session's. No statement has a bound.
pub(super) async fn begin_alone(
    writer: &PgPool,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let options = PgConnectOptions::clone(&writer.connect_options());
    // What is dropped here is closed as soon as its connection comes back.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(TURN_TIME_MAX)
        .connect_with(options)
        .await?;
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(WRITER_LOCK).execute(&mut *transaction).await?;
    for set in [
        "SET statement_timeout = 0",
        "SET idle_in_transaction_session_timeout = 0",
        // A plan that was made while a table was empty is none for a full one.
        "SET plan_cache_mode = force_custom_plan",
    ] {
        sqlx::query(set).execute(&mut *transaction).await?;
    }
    Ok(transaction)
}

/// The turn ends with the commit.
pub(super) async fn end_alone(
    transaction: &mut Transaction<'static, Postgres>,
) -> Result<(), sqlx::Error> {
    for sql in ["SELECT pg_advisory_xact_lock($1)", "SELECT pg_advisory_unlock($1)"] {
        sqlx::query(sql).bind(WRITER_LOCK).execute(&mut **transaction).await?;
    }
    Ok(())
}
