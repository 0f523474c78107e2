//! What services' tests stand on: empty databases on both back ends, and events of other
//! services as a consumer would take them up.

use std::sync::atomic::{AtomicI64, Ordering};

use pillion_events::{Event, Timestamp};

use crate::database::{Backend, Database, Migrations};
use crate::event_log::Recorded;
use crate::journal::Journal;
use crate::sql::query;

/// An empty, migrated database, and what has to live as long as it.
#[derive(Debug)]
pub struct TestDatabase {
    /// The database.
    pub database: Database,
    _folder: Option<tempfile::TempDir>,
}

/// Both back ends: run the same test on each.
pub const BACKENDS: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

/// An empty database without tables; a service migrates it itself.
pub async fn empty(backend: Backend) -> TestDatabase {
    match backend {
        Backend::Sqlite => {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("test.sqlite");
            let database = Database::open(path).await.expect("a new file");
            TestDatabase { database, _folder: Some(folder) }
        }
        Backend::Postgres => {
            let url = pillion_test_servers::postgres().await.database().await;
            let database = Database::connect(&url).await.expect("a new database");
            TestDatabase { database, _folder: None }
        }
    }
}

/// A database with a service's tables.
pub async fn migrated(backend: Backend, migrations: &Migrations) -> TestDatabase {
    let test = empty(backend).await;
    test.database.migrate(migrations).await.expect("migrations that work");
    test
}

/// Makes a journal take up an event of another service, as the next one of that source.
///
/// # Panics
/// When the event cannot be taken up.
pub async fn deliver<E: Event>(
    journal: &Journal,
    source: &str,
    stream_id: &str,
    event: &E,
    at: Timestamp,
) -> Recorded {
    let last = query("SELECT position FROM cursor WHERE source = $1")
        .bind(source)
        .fetch_optional::<(i64,)>(journal.database())
        .await
        .expect("a migrated database");
    let recorded = Recorded {
        source: source.to_owned(),
        position: last.map_or(0, |(position,)| position) + 1,
        stream_id: stream_id.to_owned(),
        version: NEXT_VERSION.fetch_add(1, Ordering::Relaxed),
        name: event.name().to_owned(),
        wire_version: event.version(),
        data: event.encode().expect("events are JSON"),
        recorded_at: at.as_micros(),
    };
    journal.take(std::slice::from_ref(&recorded)).await.expect("an event that is taken up");
    recorded
}

/// Consumers do not look at versions; they only differ.
static NEXT_VERSION: AtomicI64 = AtomicI64::new(1);
