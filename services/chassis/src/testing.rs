//! What services' tests stand on: empty databases on both back ends, requests and answers, and
//! events of other services as a consumer would take them up.

pub mod certificates;
mod exchange;
mod plan;
mod statements;
mod step;
pub mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pillion_events::{Event, Timestamp};

pub use exchange::{Reply, by, caller, request, send};
pub use plan::{NOT_WHOLE, plan};
pub use statements::statements;
pub use step::{do_step, undo_step};

use crate::broker::{Broker as _, EmbeddedBroker};
use crate::caller::{Caller, Scopes};
use crate::clock::{Clock, FakeClock};
use crate::database::{Backend, Database, Migrations};
use crate::event_log::{Recorded, read_after};
use crate::ids::Ids;
use crate::journal::{Journal, Rebuilt};
use crate::peers::InProcessPeers;
use crate::random::SystemRandom;
use crate::service::Deps;
use crate::service_token::{self, ServiceKeys, ServiceTokens};
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

/// Runs a test on a service that is started on an empty database, of each kind in turn.
pub async fn on_each<H>(start: impl AsyncFn(TestDatabase) -> H, test: impl AsyncFn(H)) {
    for backend in BACKENDS {
        eprintln!("on {backend:?}");
        test(start(empty(backend).await).await).await;
    }
}

impl TestDatabase {
    /// The database as it is after the process has ended and begun anew.
    pub async fn reopen(&mut self) {
        if self.database.backend() == Backend::Sqlite {
            self.database.close().await;
            self.database = Database::open(self.database.place()).await.expect("the same file");
        }
    }
}

/// What a service is given in a test.
pub fn deps(database: &Database, clock: &Arc<FakeClock>, peers: &Arc<InProcessPeers>) -> Deps {
    Deps {
        clock: clock.clone(),
        ids: Arc::new(Ids::new(clock.clone(), 0).expect("a node")),
        random: Arc::new(SystemRandom),
        database: database.clone(),
        peers: peers.clone(),
        service_tokens: service_tokens("tests", clock.clone()),
    }
}

/// A service's tokens, under a key that nobody else has: see [`by_service`] for what the auth
/// plugin makes of one.
pub fn service_tokens(service: &str, clock: Arc<dyn Clock>) -> Arc<ServiceTokens> {
    let keys = ServiceKeys::passing(&SystemRandom).expect("randomness");
    let tokens = ServiceTokens::new(service, keys, "pillion", "pillion-api", clock, &SystemRandom);
    Arc::new(tokens.expect("randomness"))
}

/// The caller that another service's token stands for.
pub fn by_service(service: &str) -> Caller {
    let scopes = Scopes::parse(service_token::SCOPE);
    Caller { user_id: None, client_id: format!("service:{service}"), scopes }
}

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

/// Asserts that the tables are what a fold of all events makes of them: of the service's own, and
/// of those that were delivered.
///
/// # Panics
/// When they are not.
pub async fn assert_rebuilds(journal: &Journal, delivered: &[Recorded]) -> Rebuilt {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("broker.sqlite");
    let broker = EmbeddedBroker::open(path).await.expect("a new file");
    let mut sources: BTreeMap<&str, Vec<Recorded>> = BTreeMap::new();
    for event in delivered {
        sources.entry(&event.source).or_default().push(event.clone());
    }
    for (source, events) in sources {
        broker.publish(source, 0, &events).await.expect("a broker that takes them");
    }
    let rebuilt = journal.rebuild(&broker).await.expect("events that are taken up");
    assert!(rebuilt.is_identical(), "{rebuilt:?}");
    let own = read_after(journal.database(), journal.name(), 0, u32::MAX).await.expect("a log");
    assert_eq!(usize::try_from(rebuilt.events), Ok(own.len() + delivered.len()));
    rebuilt
}

/// Consumers do not look at versions; they only differ.
static NEXT_VERSION: AtomicI64 = AtomicI64::new(1);
