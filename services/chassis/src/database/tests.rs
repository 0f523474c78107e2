//! What the database promises: durability, turns, and refusals that leave files alone.

use super::*;

use sqlx::migrate::{Migration, MigrationType};

fn migrator(migrations: &[(i64, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|(version, sql)| {
        let name = "test".into();
        let sql = sqlx::SqlSafeStr::into_sql_str(*sql);
        Migration::new(*version, name, MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// A migrated database without tables of a service, and the folder that holds it.
pub(crate) async fn database() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("test.sqlite")).await.unwrap();
    database.migrate(&migrator(&[])).await.unwrap();
    (folder, database)
}

#[tokio::test]
async fn what_was_committed_outlives_a_restart_and_what_was_not_does_not() {
    let (folder, database) = database().await;
    let own = migrator(&[(1, "CREATE TABLE t (a BIGINT)")]);
    database.migrate(&own).await.unwrap();
    let mut transaction = database.write().await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let mut dropped = database.write().await.unwrap();
    sqlx::query("INSERT INTO t VALUES (2)").execute(&mut *dropped).await.unwrap();
    drop(dropped);
    database.close().await;

    let database = Database::open(folder.path().join("test.sqlite")).await.unwrap();
    database.migrate(&own).await.unwrap();
    let rows: Vec<(i64,)> =
        sqlx::query_as("SELECT a FROM t").fetch_all(database.read()).await.unwrap();
    assert_eq!(rows, [(1,)]);
}

#[tokio::test]
async fn readers_cannot_write() {
    let (_folder, database) = database().await;
    let error = sqlx::query("DELETE FROM secret").execute(database.read()).await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_never_fail_because_of_each_other() {
    const WRITERS: i64 = 32;
    const WRITES: i64 = 10;
    let (folder, database) = database().await;
    database.migrate(&migrator(&[(1, "CREATE TABLE n (n BIGINT)")])).await.unwrap();
    // Half of them come as another process would: past this one's queue, to the file's lock.
    let other = Database::open(folder.path().join("test.sqlite")).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let database = if writer % 2 == 0 { database.clone() } else { other.clone() };
        writers.spawn(async move {
            for _ in 0..WRITES {
                let mut transaction = database.write().await?;
                let (n,): (i64,) =
                    sqlx::query_as("SELECT count(*) FROM n").fetch_one(&mut *transaction).await?;
                sqlx::query("INSERT INTO n VALUES (?)").bind(n).execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
            Ok::<_, DatabaseError>(())
        });
    }
    for result in writers.join_all().await {
        result.unwrap();
    }
    let (distinct,): (i64,) =
        sqlx::query_as("SELECT count(DISTINCT n) FROM n").fetch_one(database.read()).await.unwrap();
    assert_eq!(distinct, WRITERS * WRITES);
}

#[tokio::test]
async fn a_turn_that_does_not_come_is_a_503() {
    let (_folder, database) = database().await;
    let _turn = database.write().await.unwrap();
    tokio::time::pause();
    let error = database.write().await.unwrap_err();
    assert!(matches!(error, DatabaseError::Busy(_)), "{error:?}");
    let problem = Problem::from(error);
    assert_eq!(problem.status(), 503);
}

#[tokio::test]
async fn a_full_disk_is_a_503_and_changes_nothing() {
    let (_folder, database) = database().await;
    database.migrate(&migrator(&[(1, "CREATE TABLE big (b BLOB)")])).await.unwrap();
    let mut transaction = database.write().await.unwrap();
    sqlx::query("PRAGMA max_page_count = 20").execute(&mut *transaction).await.unwrap();
    let error = sqlx::query("INSERT INTO big VALUES (zeroblob(1000000))")
        .execute(&mut *transaction)
        .await
        .unwrap_err();
    let error = DatabaseError::from(error);
    assert!(matches!(error, DatabaseError::Full(_)), "{error:?}");
    assert_eq!(Problem::from(error).status(), 503);
    drop(transaction);
    let (rows,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM big").fetch_one(database.read()).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_transaction_that_the_database_undid_by_itself_does_not_spoil_the_next() {
    let (_folder, database) = database().await;
    for _ in 0..3 {
        let mut transaction = database.write().await.unwrap();
        // As a disk that is full does it.
        sqlx::query("ROLLBACK").execute(&mut *transaction).await.unwrap();
        assert!(transaction.commit().await.is_err());
    }
    let transaction = database.write().await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "hello ".repeat(1_000)).unwrap();
    let error = Database::open(&text).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");

    let path = folder.path().join("other.sqlite");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE theirs (a)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Database::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("not one of Pillion's"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let error = Database::open(folder.path().join("none/x.sqlite")).await.unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("--data"), "{error}");
}

#[tokio::test]
async fn a_schema_from_the_future_or_of_another_service_is_refused() {
    let (_folder, database) = database().await;
    let one = (1, "CREATE TABLE a (a)");
    database.migrate(&migrator(&[one, (2, "CREATE TABLE b (b)")])).await.unwrap();
    let error = database.migrate(&migrator(&[one])).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { migration: 2, .. }), "{error:?}");
    let other = migrator(&[(1, "CREATE TABLE c (c)"), (2, "CREATE TABLE b (b)")]);
    let error = database.migrate(&other).await.unwrap_err();
    assert!(matches!(error, OpenError::Different { migration: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_schema_as_it_was() {
    let (_folder, database) = database().await;
    let broken = migrator(&[(1, "CREATE TABLE a (a); CREATE TABLE a (a)")]);
    let error = database.migrate(&broken).await.unwrap_err();
    assert!(matches!(error, OpenError::Migration { .. }), "{error:?}");
    database.migrate(&migrator(&[(1, "CREATE TABLE a (a)")])).await.unwrap();
}
