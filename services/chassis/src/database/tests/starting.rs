//! Servers that are not there yet at a start, and those that will never let us in.

use std::time::Instant;

use super::*;
use crate::start::START_TIME_MAX;

const LATE: Duration = Duration::from_secs(3);

/// As a process connects at its start.
async fn start(url: &str) -> Result<Database, OpenError> {
    Database::connect_with(url, &ServerTls::default(), START_TIME_MAX).await
}

/// All that a log would tell.
fn told(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_server_that_comes_late_is_waited_for() {
    let server = Postgres::start(PostgresOptions::default()).await;
    let url = server.database().await;
    server.stop().await;
    let began = Instant::now();
    let (database, ()) = tokio::join!(start(&url), async {
        tokio::time::sleep(LATE).await;
        server.start_again().await;
    });
    let database = database.unwrap();
    assert!(began.elapsed() >= LATE, "{:?}", began.elapsed());
    database.migrate(&migrations(&[])).await.unwrap();
    database.check().await.unwrap();
}

#[tokio::test]
async fn a_server_that_has_no_time_is_waited_for() {
    let server = Postgres::start(PostgresOptions::default()).await;
    let url = server.database().await;
    server.pause().await;
    let (database, ()) = tokio::join!(start(&url), async {
        tokio::time::sleep(LATE).await;
        server.resume().await;
    });
    let database = database.unwrap();
    // Also between opening a database and bringing its schema up to date.
    server.pause().await;
    let (database, own) = (database.with_fixed_schema(), migrations(&[]));
    let (migrated, ()) = tokio::join!(database.migrate(&own), async {
        tokio::time::sleep(LATE).await;
        server.resume().await;
    });
    assert!(matches!(migrated, Err(OpenError::Older { .. })), "{migrated:?}");
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_a_start_at_once() {
    let url = pillion_test_servers::postgres().await.database().await;
    let (authority, database) = url.rsplit_once('/').unwrap();
    let (role, rest) = authority.strip_prefix("postgres://").unwrap().split_once(':').unwrap();
    let (password, server) = rest.split_once('@').unwrap();
    let place = format!("{server}/{database}");
    for (url, expected) in [
        (format!("postgres://{role}:wrong@{place}"), "(SQLSTATE 28P01); correct the role and"),
        (format!("postgres://nobody:wrong@{place}"), "(SQLSTATE 28P01); correct the role and"),
        (format!("{authority}/none"), "(SQLSTATE 3D000); make the database"),
        (format!("{authority}/postgres"), "(SQLSTATE 42501); make the role the owner"),
        (format!("{url}?sslmode=verify-full"), "the server does not speak TLS there"),
    ] {
        let began = Instant::now();
        let error = start(&url).await.unwrap_err();
        assert!(began.elapsed() < START_TIME_MAX / 3, "{:?}", began.elapsed());
        let told = told(&error);
        assert!(told.contains(expected) && told.contains(server), "{told}");
        assert!(!told.contains("at line") && !told.contains(password), "{told}");
    }
}

#[tokio::test]
async fn what_is_given_up_is_told_with_the_server_and_the_way_out() {
    let url = "postgres://somebody:secret@127.0.0.1:9/none";
    let began = Instant::now();
    let patience = Duration::from_millis(1_500);
    let error = Database::connect_with(url, &ServerTls::default(), patience).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_secs(1), "tried again: {:?}", began.elapsed());
    let told = told(&error);
    assert!(told.contains("cannot reach the database 127.0.0.1:9/none"), "{told}");
    assert!(told.contains("refused") && told.contains("see that the server runs"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[tokio::test]
async fn what_a_server_says_is_told_without_lines_of_its_source() {
    let test = migrated(Backend::Postgres, &migrations(&[])).await;
    let error = query("SELECT a FROM nowhere").execute(&test.database).await.unwrap_err();
    for told in [told(&error), format!("{error:?}")] {
        assert!(told.contains("relation \"nowhere\" does not exist (SQLSTATE 42P01)"), "{told}");
        assert!(!told.contains("line") && !told.contains(".c\""), "{told}");
    }
    assert_eq!(Problem::from(error).status(), 500);
}
