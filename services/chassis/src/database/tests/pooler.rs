//! Poolers between a process and its database.

use std::time::Instant;

use pillion_test_servers::{PgBouncer, PoolMode};

use super::*;
use crate::start::START_TIME_MAX;

/// How long it may take to say what is wrong.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(2);

/// Settings that the server gives sessions itself.
const OF_ROLE: [&str; 6] = [
    "random_page_cost = 1.1",
    "statement_timeout = '5s'",
    "lock_timeout = '1800ms'",
    "idle_in_transaction_session_timeout = '10s'",
    "synchronous_commit = on",
    "client_encoding = 'UTF8'",
];

async fn refused(url: &str) -> String {
    let began = Instant::now();
    let opened = Database::connect_with(url, &ServerTls::default(), START_TIME_MAX).await;
    let error = opened.expect_err("a pooler");
    assert!(began.elapsed() < REFUSAL_TIME_MAX, "{:?}: {error}", began.elapsed());
    assert!(matches!(error, OpenError::Pooler { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("PgBouncer") && told.contains("connect to PostgreSQL itself"), "{told}");
    told
}

#[tokio::test]
async fn d05_a_pooler_is_refused_at_once_with_the_cause() {
    let server = pillion_test_servers::postgres().await;
    let url = server.database().await;
    // As it comes, it takes no settings of sessions.
    let strict = PgBouncer::start(&url, PoolMode::Transaction, &[]).await;
    assert!(refused(strict.url()).await.contains("refuses the settings of a session"));
    // As many set it up, it takes them and drops them.
    let ignored = ["extra_float_digits", "options"];
    for mode in [PoolMode::Transaction, PoolMode::Session] {
        let lax = PgBouncer::start(&url, mode, &ignored).await;
        let told = refused(lax.url()).await;
        assert!(told.contains("drops the settings of a session (random_page_cost is 4)"), "{told}");
    }
    // Where the server has the settings by itself, what is left is that sessions are shared.
    let role = url.strip_prefix("postgres://").and_then(|rest| rest.split_once(':')).unwrap().0;
    for setting in OF_ROLE {
        server.sql(&url, &format!("ALTER ROLE {role} SET {setting}")).await;
    }
    let shared = PgBouncer::start(&url, PoolMode::Transaction, &ignored).await;
    let told = refused(shared.url()).await;
    assert!(told.contains("shares sessions between connections"), "{told}");
    // A pooler that gives each connection a session of its own does no harm then.
    let own = PgBouncer::start(&url, PoolMode::Session, &ignored).await;
    let database = Database::connect(own.url()).await.unwrap();
    database.migrate(&migrations(&[])).await.unwrap();
    database.check().await.unwrap();
}
