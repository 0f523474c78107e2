//! The trap of position cursors: numbers are given out when an event is written, readers see it
//! when it is committed. Where these orders differ, a reader that goes on from the highest number
//! it saw never sees the lower one that came later. First the trap itself, with a sequence as
//! everybody would do it; then the same interleavings with our event log.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use pillion_chassis::database::{Database, Migrations};
use pillion_chassis::event_log::{self, Recorded};
use pillion_chassis::{DatabaseError, Timestamp, UserId};
use pillion_events::{UserDeleted, UserEvent};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const SOURCE: &str = "users";
/// Long enough that whoever does not have to wait is done.
const MOMENT: Duration = Duration::from_millis(300);

fn event() -> UserEvent {
    UserEvent::Deleted(UserDeleted { user_id: UserId::new(7).unwrap(), deleted_at: AT })
}

/// The event log on its own.
async fn migrated(database: &Database) {
    let none = || Migrator::with_migrations(Vec::new());
    database.migrate(&Migrations { sqlite: none(), postgres: none() }).await.unwrap();
}

/// Two processes at the same database.
async fn two_on_postgres() -> [Database; 2] {
    let url = pillion_test_servers::postgres().await.database().await;
    let databases =
        [Database::connect(&url).await.unwrap(), Database::connect(&url).await.unwrap()];
    migrated(&databases[0]).await;
    databases
}

async fn two_on_sqlite(folder: &tempfile::TempDir) -> [Database; 2] {
    let path = folder.path().join("users.sqlite");
    let databases = [Database::open(&path).await.unwrap(), Database::open(&path).await.unwrap()];
    migrated(&databases[0]).await;
    databases
}

/// Reads as the relay does: what is beyond the last position it saw.
struct Reader {
    database: Database,
    cursor: i64,
    seen: Vec<Recorded>,
}

impl Reader {
    fn new(database: &Database) -> Self {
        Self { database: database.clone(), cursor: 0, seen: Vec::new() }
    }

    async fn read(&mut self) {
        let events =
            event_log::read_after(&self.database, SOURCE, self.cursor, 1_000).await.unwrap();
        self.cursor = events.last().map_or(self.cursor, |last| last.position);
        self.seen.extend(events);
    }

    fn positions(&self) -> Vec<i64> {
        self.seen.iter().map(|event| event.position).collect()
    }

    fn streams(&self) -> Vec<&str> {
        self.seen.iter().map(|event| event.stream_id.as_str()).collect()
    }
}

#[tokio::test]
async fn a_sequence_and_a_cursor_lose_an_event() {
    const WRITE: &str = "INSERT INTO naive_log (name) VALUES ($1) RETURNING position";
    const READ: &str = "SELECT position, name FROM naive_log WHERE position > $1 ORDER BY position";

    let url = pillion_test_servers::postgres().await.database().await;
    let mut first = PgConnection::connect(&url).await.unwrap();
    let mut second = PgConnection::connect(&url).await.unwrap();
    let mut reader = PgConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE naive_log (position BIGSERIAL PRIMARY KEY, name TEXT NOT NULL)")
        .execute(&mut reader)
        .await
        .unwrap();

    let mut early = first.begin().await.unwrap();
    let (early_position,): (i64,) =
        sqlx::query_as(WRITE).bind("early").fetch_one(&mut *early).await.unwrap();
    let mut late = second.begin().await.unwrap();
    let (late_position,): (i64,) =
        sqlx::query_as(WRITE).bind("late").fetch_one(&mut *late).await.unwrap();
    assert_eq!((early_position, late_position), (1, 2));

    // The later number is committed first, and a reader comes by.
    late.commit().await.unwrap();
    let seen: Vec<(i64, String)> =
        sqlx::query_as(READ).bind(0_i64).fetch_all(&mut reader).await.unwrap();
    assert_eq!(seen, [(2, "late".to_owned())]);
    early.commit().await.unwrap();

    // Both are in the log, and the reader never learns of one of them.
    let (count,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM naive_log").fetch_one(&mut reader).await.unwrap();
    assert_eq!(count, 2);
    let rest: Vec<(i64, String)> =
        sqlx::query_as(READ).bind(2_i64).fetch_all(&mut reader).await.unwrap();
    assert_eq!(rest, []);
}

/// The interleaving that the sequence fails at.
async fn the_later_one_waits_for_the_earlier(databases: [Database; 2]) {
    let [first, second] = databases;
    let mut reader = Reader::new(&first);

    let mut early = first.write().await.unwrap();
    let recorded =
        event_log::append(&mut early, SOURCE, "user/early", 0, &event(), AT).await.unwrap();
    assert_eq!(recorded.position, 1);
    let late = tokio::spawn(async move {
        let mut late = second.write().await.unwrap();
        let recorded =
            event_log::append(&mut late, SOURCE, "user/late", 0, &event(), AT).await.unwrap();
        late.commit().await.unwrap();
        recorded.position
    });
    tokio::time::sleep(MOMENT).await;
    assert!(!late.is_finished(), "the later one did not wait");
    reader.read().await;
    assert!(reader.seen.is_empty(), "{:?}", reader.seen);

    early.commit().await.unwrap();
    assert_eq!(late.await.unwrap(), 2);
    reader.read().await;
    assert_eq!(reader.positions(), [1, 2]);
    assert_eq!(reader.streams(), ["user/early", "user/late"]);
}

/// The one that was given up leaves no gap, which a reader would take for a loss.
async fn what_is_given_up_leaves_no_gap(databases: [Database; 2]) {
    let [first, second] = databases;
    let mut early = first.write().await.unwrap();
    event_log::append(&mut early, SOURCE, "user/early", 0, &event(), AT).await.unwrap();
    let late = tokio::spawn(async move {
        let mut late = second.write().await.unwrap();
        event_log::append(&mut late, SOURCE, "user/late", 0, &event(), AT).await.unwrap();
        late.commit().await.unwrap();
    });
    tokio::time::sleep(MOMENT).await;
    drop(early);
    late.await.unwrap();
    let mut reader = Reader::new(&first);
    reader.read().await;
    assert_eq!(reader.positions(), [1]);
    assert_eq!(reader.streams(), ["user/late"]);
}

/// Many writers on two processes, who take their time between writing and committing or give up,
/// and a reader who reads all the while.
async fn a_reader_misses_nothing_of_many(databases: [Database; 2]) {
    const WRITERS: u64 = 6;
    const EVENTS_EACH: u64 = 25;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let database = databases.iter().cycle().nth(usize::try_from(writer).unwrap());
        let database = database.unwrap().clone();
        writers.spawn(async move {
            let mut committed = Vec::new();
            for number in 0..EVENTS_EACH {
                let stream = format!("user/{writer}-{number}");
                // A busy database is asked again, as a client does.
                let mut transaction = loop {
                    match database.write().await {
                        Ok(transaction) => break transaction,
                        Err(DatabaseError::Busy(_)) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                };
                event_log::append(&mut transaction, SOURCE, &stream, 0, &event(), AT)
                    .await
                    .unwrap();
                // Without a pattern that the writers share.
                let pause = (writer * 7 + number * 11) % 5;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if (writer + number) % 4 == 0 {
                    drop(transaction);
                } else {
                    transaction.commit().await.unwrap();
                    committed.push(stream);
                }
            }
            committed
        });
    }
    let mut reader = Reader::new(&databases[1]);
    let mut committed = BTreeSet::new();
    while let Some(done) = tokio::select! {
        done = writers.join_next() => done.map(Some),
        () = reader.read() => Some(None),
    } {
        committed.extend(done.into_iter().flat_map(Result::unwrap));
    }
    reader.read().await;
    let count = i64::try_from(committed.len()).unwrap();
    assert!(count > 100, "{count}");
    assert_eq!(reader.positions(), (1..=count).collect::<Vec<_>>());
    let seen: BTreeSet<String> = reader.seen.iter().map(|event| event.stream_id.clone()).collect();
    assert_eq!(seen, committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_the_later_one_waits_for_the_earlier() {
    the_later_one_waits_for_the_earlier(two_on_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_the_later_one_waits_for_the_earlier() {
    let folder = tempfile::tempdir().unwrap();
    the_later_one_waits_for_the_earlier(two_on_sqlite(&folder).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_what_is_given_up_leaves_no_gap() {
    what_is_given_up_leaves_no_gap(two_on_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_what_is_given_up_leaves_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    what_is_given_up_leaves_no_gap(two_on_sqlite(&folder).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_reader_misses_nothing_of_many() {
    a_reader_misses_nothing_of_many(two_on_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_a_reader_misses_nothing_of_many() {
    let folder = tempfile::tempdir().unwrap();
    a_reader_misses_nothing_of_many(two_on_sqlite(&folder).await).await;
}
