//! What the database promises: durability, turns, and refusals that leave everything alone. On
//! both back ends where it means something on both.

mod pooler;
mod starting;

use pillion_test_servers::{Postgres, PostgresOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::*;
use crate::problem::Problem;
use crate::sql::query;
use crate::testing::{BACKENDS, empty, migrated};

fn migrator(migrations: &[(i64, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|(version, sql)| {
        let name = "test".into();
        let sql = sqlx::SqlSafeStr::into_sql_str(*sql);
        Migration::new(*version, name, MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The same statements for both.
pub(crate) fn migrations(statements: &[(i64, &'static str)]) -> Migrations {
    Migrations { sqlite: migrator(statements), postgres: migrator(statements) }
}

async fn count(database: &Database, table: &str) -> i64 {
    let (count,) =
        query(format!("SELECT count(*) FROM {table}")).fetch_one(database).await.unwrap();
    count
}

#[tokio::test]
async fn what_was_committed_outlives_a_restart_and_what_was_not_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let url = pillion_test_servers::postgres().await.database().await;
    let own = migrations(&[(1, "CREATE TABLE t (a BIGINT)")]);
    for backend in BACKENDS {
        let open = async || match backend {
            Backend::Sqlite => Database::open(folder.path().join("test.sqlite")).await.unwrap(),
            Backend::Postgres => Database::connect(&url).await.unwrap(),
        };
        let database = open().await;
        database.migrate(&own).await.unwrap();
        let mut transaction = database.write().await.unwrap();
        query("INSERT INTO t VALUES ($1)").bind(1_i64).execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let mut dropped = database.write().await.unwrap();
        query("INSERT INTO t VALUES ($1)").bind(2_i64).execute(&mut dropped).await.unwrap();
        drop(dropped);
        database.close().await;

        let database = open().await;
        database.migrate(&own).await.unwrap();
        let rows: Vec<(i64,)> = query("SELECT a FROM t").fetch_all(&database).await.unwrap();
        assert_eq!(rows, [(1,)], "{backend:?}");
    }
}

#[tokio::test]
async fn readers_cannot_write() {
    for backend in BACKENDS {
        let test = migrated(backend, &migrations(&[])).await;
        let error = query("DELETE FROM secret").execute(&test.database).await.unwrap_err();
        let (DatabaseError::Failed(error) | DatabaseError::Unavailable(error)) = error else {
            panic!("{error:?}")
        };
        let told = error.to_string();
        assert!(told.contains("readonly") || told.contains("read-only"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_never_fail_because_of_each_other() {
    const WRITERS: i64 = 16;
    const WRITES: i64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let url = pillion_test_servers::postgres().await.database().await;
    for backend in BACKENDS {
        let open = async || match backend {
            Backend::Sqlite => Database::open(folder.path().join("test.sqlite")).await.unwrap(),
            Backend::Postgres => Database::connect(&url).await.unwrap(),
        };
        // Half of them come as another process would: past this one's queue, to the lock.
        let (database, other) = (open().await, open().await);
        database.migrate(&migrations(&[(1, "CREATE TABLE n (n BIGINT)")])).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let database = if writer % 2 == 0 { database.clone() } else { other.clone() };
            writers.spawn(async move {
                for _ in 0..WRITES {
                    let mut transaction = database.write().await?;
                    let (n,): (i64,) =
                        query("SELECT count(*) FROM n").fetch_one(&mut transaction).await?;
                    query("INSERT INTO n VALUES ($1)").bind(n).execute(&mut transaction).await?;
                    transaction.commit().await?;
                }
                Ok::<_, DatabaseError>(())
            });
        }
        for result in writers.join_all().await {
            result.unwrap();
        }
        let (distinct,): (i64,) =
            query("SELECT count(DISTINCT n) FROM n").fetch_one(&database).await.unwrap();
        assert_eq!(distinct, WRITERS * WRITES, "{backend:?}");
    }
}

#[tokio::test]
async fn a_turn_that_does_not_come_is_a_503_and_the_next_one_comes() {
    for backend in BACKENDS {
        let test = migrated(backend, &migrations(&[])).await;
        let turn = test.database.write().await.unwrap();
        let began = std::time::Instant::now();
        let error = test.database.write().await.unwrap_err();
        // Two seconds, and one for a busy machine.
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(matches!(error, DatabaseError::Busy(_)), "{error:?}");
        assert_eq!(Problem::from(error).status(), 503);
        drop(turn);
        test.database.write().await.unwrap().commit().await.unwrap();
    }
}

/// As when the way to it is cut under a worker, whom no request's deadline ends.
#[tokio::test]
async fn a_server_that_falls_silent_in_a_transaction_does_not_keep_the_turn() {
    let server = Postgres::start(PostgresOptions::default()).await;
    let database = Database::connect(&server.database().await).await.unwrap();
    let mut turn = database.write().await.unwrap();
    turn.answer_time = Duration::from_millis(300);
    query("SELECT 1").execute(&mut turn).await.unwrap();
    server.pause().await;
    let asked = query("SELECT 1").execute(&mut turn);
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.expect("an answer");
    assert!(matches!(answer, Err(DatabaseError::Unavailable(_))), "{answer:?}");
    drop(turn);
    server.resume().await;
    let back = std::time::Instant::now();
    while let Err(error) = database.write().await {
        assert!(error.is_passing() && back.elapsed() < Duration::from_secs(20), "{error:?}");
    }
}

#[tokio::test]
async fn a_turn_that_another_process_has_is_a_503_too() {
    let url = pillion_test_servers::postgres().await.database().await;
    let (database, other) =
        (Database::connect(&url).await.unwrap(), Database::connect(&url).await.unwrap());
    let turn = other.write().await.unwrap();
    let error = database.write().await.unwrap_err();
    assert!(matches!(error, DatabaseError::Busy(_)), "{error:?}");
    drop(turn);
    database.write().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_a_503_and_changes_nothing() {
    let own = migrations(&[(1, "CREATE TABLE big (b BLOB)")]);
    let test = empty(Backend::Sqlite).await;
    test.database.migrate(&own).await.unwrap();
    let mut transaction = test.database.write().await.unwrap();
    query("PRAGMA max_page_count = 20").execute(&mut transaction).await.unwrap();
    let error = query("INSERT INTO big VALUES (zeroblob(1000000))")
        .execute(&mut transaction)
        .await
        .unwrap_err();
    assert!(matches!(error, DatabaseError::Full(_)), "{error:?}");
    assert_eq!(Problem::from(error).status(), 503);
    drop(transaction);
    assert_eq!(count(&test.database, "big").await, 0);
}

#[tokio::test]
async fn a_transaction_that_the_database_undid_by_itself_does_not_spoil_the_next() {
    let test = migrated(Backend::Sqlite, &migrations(&[])).await;
    for _ in 0..3 {
        let mut transaction = test.database.write().await.unwrap();
        // As a disk that is full does it.
        query("ROLLBACK").execute(&mut transaction).await.unwrap();
        assert!(transaction.commit().await.is_err());
    }
    test.database.write().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_database_of_somebody_else_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "hello ".repeat(1_000)).unwrap();
    let error = Database::open(&text).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");

    let path = folder.path().join("other.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query("CREATE TABLE theirs (a)").execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Database::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("not one of Pillion's"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let url = pillion_test_servers::postgres().await.database().await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE theirs (a BIGINT)").execute(&pool).await.unwrap();
    let error = Database::connect(&url).await.unwrap_err();
    assert!(error.to_string().contains("not one of Pillion's"), "{error}");
    let (tables,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_place_that_is_not_there_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let error = Database::open(folder.path().join("none/x.sqlite")).await.unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("--data"), "{error}");

    let url = "postgres://somebody:secret@127.0.0.1:9/none";
    let error = Database::connect(url).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:9/none") && !text.contains("secret"), "{text}");
    for url in ["mysql://a@b/c", "127.0.0.1", "postgres://[::"] {
        let error = Database::connect(url).await.unwrap_err();
        assert!(matches!(error, OpenError::Url { .. }), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn a_server_without_tls_or_a_file_that_is_missing_is_told() {
    let url = pillion_test_servers::postgres().await.database().await;
    let error = Database::connect(&format!("{url}?sslmode=verify-full")).await.unwrap_err();
    assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("switch it on, or connect without"), "{error}");
    for (query, expected) in [
        ("sslmode=verify-full&sslrootcert=none.pem", "cannot read /certs/none.pem"),
        ("sslmode=require&sslcert=a.pem", "sslcert and sslkey belong together"),
    ] {
        let tls = ServerTls { base: "/certs".into(), ..ServerTls::default() };
        let url = format!("{url}?{query}");
        let error = Database::connect_with(&url, &tls, Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // What is not asked for is not looked at.
    let tls = ServerTls { ca: Some("/certs/none.pem".into()), ..ServerTls::default() };
    let url = format!("{url}?sslmode=disable");
    Database::connect_with(&url, &tls, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn one_services_role_cannot_enter_anothers_database() {
    let server = pillion_test_servers::postgres().await;
    let (users, tweets) = (server.database().await, server.database().await);
    let role = |url: &str| url.split('/').nth(2).unwrap().split('@').next().unwrap().to_owned();
    let stranger = tweets.replace(&role(&tweets), &role(&users));
    let error = Database::connect(&stranger).await.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(
        error.to_string().contains("permission denied") || source.contains("permission denied"),
        "{error:?}"
    );
    Database::connect(&tweets).await.unwrap();
}

#[tokio::test]
async fn a_schema_from_the_future_the_past_or_of_another_service_is_refused() {
    let one = (1, "CREATE TABLE a (a BIGINT)");
    let two = (2, "CREATE TABLE b (b BIGINT)");
    let other = migrations(&[(1, "CREATE TABLE c (c BIGINT)"), two]);
    for backend in BACKENDS {
        let test = empty(backend).await;
        let database = test.database.clone();
        let fixed = database.clone().with_fixed_schema();
        if backend == Backend::Postgres {
            let error = fixed.migrate(&migrations(&[one])).await.unwrap_err();
            assert!(matches!(error, OpenError::Older { migration: 1, .. }), "{error:?}");
            let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
            let (tables,): (i64,) = query(tables).fetch_one(&database).await.unwrap();
            assert_eq!(tables, 0, "a refusal leaves nothing behind");
        }
        database.migrate(&migrations(&[one])).await.unwrap();
        if backend == Backend::Postgres {
            let error = fixed.migrate(&migrations(&[one, two])).await.unwrap_err();
            assert!(matches!(error, OpenError::Older { migration: 2, .. }), "{error:?}");
        }
        database.migrate(&migrations(&[one, two])).await.unwrap();
        for database in [database, fixed] {
            database.migrate(&migrations(&[one, two])).await.unwrap();
            let newer = database.migrate(&migrations(&[one])).await.unwrap_err();
            assert!(matches!(newer, OpenError::Newer { migration: 2, .. }), "{newer:?}");
            let different = database.migrate(&other).await.unwrap_err();
            let is_first = matches!(different, OpenError::Different { migration: 1, .. });
            assert!(is_first, "{different:?}");
        }
    }
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_schema_as_it_was() {
    for backend in BACKENDS {
        let test = empty(backend).await;
        let broken = migrations(&[(1, "CREATE TABLE a (a BIGINT); CREATE TABLE a (a BIGINT)")]);
        let error = test.database.migrate(&broken).await.unwrap_err();
        assert!(matches!(error, OpenError::Migration { .. }), "{error:?}");
        let whole = migrations(&[(1, "CREATE TABLE a (a BIGINT)")]);
        test.database.migrate(&whole).await.unwrap();
    }
}
