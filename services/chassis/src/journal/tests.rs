//! Events from the log of one service to the tables of another, and back from the log to tables.

mod restored;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pillion_events::{DecodeError, Event, Timestamp};
use serde::{Deserialize, Serialize};

use super::consume::TakeError;
use super::shadow::Shadow;
use super::*;
use crate::broker::EmbeddedBroker;
use crate::database::tests::migrations;
use crate::service::Shutdown;
use crate::testing::{BACKENDS, TestDatabase, migrated};

const AT: Timestamp = Timestamp::from_micros(1_000_000);

/// An amount is added to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Added {
    account: String,
    amount: i64,
}

impl Event for Added {
    fn name(&self) -> &'static str {
        "account.added"
    }
    fn version(&self) -> u16 {
        1
    }
    fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError> {
        match (name, version) {
            ("account.added", 1) => serde_json::from_str(data).map_err(|source| {
                DecodeError::Malformed { name: name.to_owned(), version, source }
            }),
            _ => Err(DecodeError::Unknown { name: name.to_owned(), version }),
        }
    }
}

fn added(account: &str, amount: i64) -> Added {
    Added { account: account.to_owned(), amount }
}

/// Sums, and the order of what was added: two things that depend on every event and its place.
/// An amount of 13 is refused as long as `refuses_13` stands in the table `mood`.
#[derive(Debug)]
struct Sums(&'static [&'static str]);

const TABLES: &str = "CREATE TABLE sum (account TEXT PRIMARY KEY NOT NULL, total BIGINT NOT NULL);
    CREATE TABLE added (ordinal BIGINT PRIMARY KEY NOT NULL, account TEXT NOT NULL, amount BIGINT NOT NULL CHECK (amount <> 99));
    CREATE TABLE mood (mood TEXT NOT NULL)";

#[async_trait]
impl Projection for Sums {
    fn follows(&self) -> &'static [&'static str] {
        self.0
    }

    fn tables(&self) -> &'static [&'static str] {
        &["sum", "added"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        let Added { account, amount } = event.decode()?;
        query(
            "INSERT INTO sum (account, total) VALUES ($1, $2)
             ON CONFLICT (account) DO UPDATE SET total = sum.total + $2",
        )
        .bind(&account)
        .bind(amount)
        .execute(&mut *transaction)
        .await?;
        query(
            "INSERT INTO added (ordinal, account, amount)
             SELECT coalesce(max(ordinal), 0) + 1, $1, $2 FROM added",
        )
        .bind(&account)
        .bind(amount)
        .execute(&mut *transaction)
        .await?;
        let mood = query("SELECT mood FROM mood").fetch_optional::<(String,)>(transaction).await?;
        if amount == 13 && mood.is_some() {
            return Err(ApplyError::poison("13 is not liked"));
        }
        Ok(())
    }
}

struct Place {
    journal: Journal,
    _database: TestDatabase,
}

async fn place(
    backend: crate::Backend,
    name: &'static str,
    follows: &'static [&'static str],
) -> Place {
    let database = migrated(backend, &migrations(&[(1, TABLES)])).await;
    let journal = Journal::new(name, database.database.clone(), Arc::new(Sums(follows)));
    Place { journal, _database: database }
}

impl Place {
    async fn record(&self, stream: &str, expected: i64, event: &Added) -> Result<i64, AppendError> {
        let mut transaction = self.journal.database.write().await?;
        let position = self.journal.record(&mut transaction, stream, expected, event, AT).await?;
        transaction.commit().await?;
        Ok(position)
    }

    async fn sql(&self, sql: &'static str) {
        let mut transaction = self.journal.database.write().await.unwrap();
        query(sql).execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn sums(&self) -> Vec<(String, i64)> {
        query("SELECT account, total FROM sum ORDER BY account")
            .fetch_all(&self.journal.database)
            .await
            .unwrap()
    }
}

/// As it would come from the broker.
fn delivered(position: i64, stream: &str, amount: i64) -> Recorded {
    Recorded {
        source: "bank".to_owned(),
        position,
        stream_id: stream.to_owned(),
        version: position,
        name: "account.added".to_owned(),
        wire_version: 1,
        data: added(stream, amount).encode().unwrap(),
        recorded_at: 1,
    }
}

fn sums(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|(account, total)| ((*account).to_owned(), *total)).collect()
}

async fn broker() -> (tempfile::TempDir, Arc<dyn Broker>) {
    let folder = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::open(folder.path().join("broker.sqlite")).await.unwrap();
    (folder, Arc::new(broker))
}

/// Runs both places' workers until the second has taken up everything of the first.
async fn until_even(from: &Place, to: &Place, broker: &Arc<dyn Broker>) {
    let (trigger, shutdown) = Shutdown::new();
    let workers = [&from.journal, &to.journal].map(|journal| journal.workers(broker));
    let tasks: Vec<_> = workers
        .into_iter()
        .flatten()
        .map(|worker| tokio::spawn(worker.run(shutdown.clone())))
        .collect();
    let began = Instant::now();
    loop {
        let status = to.journal.status(Some(&**broker)).await.unwrap();
        let recorded = event_log::last_position(&from.journal.database).await.unwrap();
        if status.sources[0].position == recorded && status.sources[0].lag == Some(0) {
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    trigger.request();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn positions_are_without_gaps_and_streams_take_events_at_their_version_only() {
    for backend in BACKENDS {
        let bank = place(backend, "bank", &[]).await;
        assert_eq!(bank.record("a", 0, &added("a", 1)).await.unwrap(), 1);
        for wrong in [0, 2] {
            let error = bank.record("a", wrong, &added("a", 1)).await.unwrap_err();
            assert!(matches!(error, AppendError::Conflict { .. }), "{error:?}");
            assert_eq!(crate::Problem::from(error).status(), 409);
        }
        assert_eq!(bank.record("b", 0, &added("b", 2)).await.unwrap(), 2);
        assert_eq!(bank.record("a", 1, &added("a", 3)).await.unwrap(), 3);
        assert_eq!(bank.sums().await, sums(&[("a", 4), ("b", 2)]));
        let stream = event_log::read_stream(&bank.journal.database, "bank", "a").await.unwrap();
        assert_eq!(
            stream.iter().map(|e| (e.position, e.version)).collect::<Vec<_>>(),
            [(1, 1), (3, 2)]
        );
        let mut transaction = bank.journal.database.write().await.unwrap();
        assert_eq!(bank.journal.version(&mut transaction, "a").await.unwrap(), 2);
        assert_eq!(bank.journal.version(&mut transaction, "c").await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_at_the_same_version_exactly_one_wins() {
    for backend in BACKENDS {
        let bank = Arc::new(place(backend, "bank", &[]).await);
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let bank = bank.clone();
            writers.spawn(async move { bank.record("a", 0, &added("a", 1)).await.is_ok() });
        }
        let won = writers.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1);
        assert_eq!(bank.sums().await, sums(&[("a", 1)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_get_to_those_who_follow_in_order_and_once() {
    for backend in BACKENDS {
        let (_folder, broker) = broker().await;
        let bank = place(backend, "bank", &[]).await;
        let fans = place(backend, "fans", &["bank"]).await;
        for number in 0..200 {
            let account = format!("a{}", number % 7);
            bank.record(&account, number / 7, &added(&account, 1_000 + number)).await.unwrap();
        }
        until_even(&bank, &fans, &broker).await;
        assert_eq!(fans.sums().await, bank.sums().await);
        let digests = |place: &Place| {
            let journal = place.journal.clone();
            async move { journal.digests().await.unwrap() }
        };
        assert_eq!(digests(&fans).await, digests(&bank).await);
        // Delivered again, nothing changes.
        let again = event_log::read_after(&bank.journal.database, "bank", 0, 1_000).await.unwrap();
        fans.journal.take(&again).await.unwrap();
        assert_eq!(digests(&fans).await, digests(&bank).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_everything_is_filled_again_and_nothing_is_taken_up_twice() {
    let bank = place(crate::Backend::Sqlite, "bank", &[]).await;
    let fans = place(crate::Backend::Sqlite, "fans", &["bank"]).await;
    for number in 0..3 {
        let (_folder, broker) = broker().await;
        bank.record("a", number, &added("a", 1)).await.unwrap();
        until_even(&bank, &fans, &broker).await;
        assert_eq!(fans.sums().await, sums(&[("a", number + 1)]));
        assert_eq!(broker.last_position("bank").await.unwrap(), number + 1);
    }
}

#[tokio::test]
async fn a_missing_event_stops_the_source() {
    for backend in BACKENDS {
        let fans = place(backend, "fans", &["bank"]).await;
        fans.journal.take(&[delivered(1, "a", 1)]).await.unwrap();
        let error = fans.journal.take(&[delivered(3, "a", 3)]).await.unwrap_err();
        let TakeError::Gap { cursor: 1, delivered: 3, .. } = error else { panic!("{error:?}") };
        assert_eq!(fans.sums().await, sums(&[("a", 1)]));
    }
}

#[tokio::test]
async fn a_poison_event_is_parked_with_its_stream_and_replayed_in_order() {
    for backend in BACKENDS {
        let fans = place(backend, "fans", &["bank"]).await;
        fans.sql("INSERT INTO mood VALUES ('bad')").await;
        // 99 breaks a constraint, 13 is refused: both are the event's own fault.
        let events = [
            delivered(1, "a", 1),
            delivered(2, "b", 13),
            delivered(3, "b", 3),
            delivered(4, "c", 4),
            delivered(5, "d", 99),
            delivered(6, "c", 6),
        ];
        let mut refused = 0;
        loop {
            match fans.journal.take(&events).await {
                Ok(6) => break,
                Ok(_) => {}
                Err(TakeError::Poison { .. }) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
            assert!(refused < 100);
        }
        assert_eq!(refused, 2 * (super::consume::ATTEMPTS_MAX - 1));
        assert_eq!(fans.sums().await, sums(&[("a", 1), ("c", 10)]), "{backend:?}");
        let parked = fans.journal.parked().await.unwrap();
        let parked: Vec<_> =
            parked.iter().map(|parked| (parked.event.position, parked.error.is_some())).collect();
        assert_eq!(parked, [(2, true), (3, false), (5, true)]);

        let replayed = fans.journal.replay().await.unwrap();
        assert_eq!((replayed.taken_up, replayed.failed.len(), replayed.waiting), (0, 2, 1));
        fans.sql("DELETE FROM mood").await;
        let replayed = fans.journal.replay().await.unwrap();
        assert_eq!((replayed.taken_up, replayed.failed.len(), replayed.waiting), (2, 1, 0));
        assert_eq!(fans.sums().await, sums(&[("a", 1), ("b", 16), ("c", 10)]));
        let order: Vec<(i64,)> = query("SELECT position FROM inbox ORDER BY ordinal")
            .fetch_all(&fans.journal.database)
            .await
            .unwrap();
        assert_eq!(order, [(1,), (4,), (6,), (2,), (3,)]);

        // Taken up in that order again, the tables are the same.
        let (_folder, broker) = broker().await;
        broker.publish("bank", 0, &events).await.unwrap();
        let rebuilt = fans.journal.rebuild(&*broker).await.unwrap();
        assert!(rebuilt.is_identical() && rebuilt.events == 5, "{rebuilt:?}");
    }
}

#[tokio::test]
async fn tables_are_made_again_of_the_events() {
    for backend in BACKENDS {
        let (_folder, broker) = broker().await;
        let fans = place(backend, "fans", &["bank"]).await;
        let events: Vec<_> = (1..=50).map(|n| delivered(n, &format!("a{}", n % 5), n)).collect();
        broker.publish("bank", 0, &events).await.unwrap();
        // Its own and the others' in turns.
        for (number, event) in events.iter().enumerate() {
            fans.journal.take(std::slice::from_ref(event)).await.unwrap();
            let number = i64::try_from(number).unwrap();
            fans.record("own", number, &added("own", number)).await.unwrap();
        }
        let before = fans.journal.digests().await.unwrap();
        let rebuilt = fans.journal.rebuild(&*broker).await.unwrap();
        assert!(rebuilt.is_identical() && rebuilt.events == 100, "{rebuilt:?}");
        assert_eq!(fans.journal.digests().await.unwrap(), before);

        // Tables that somebody meddled with are noticed and mended.
        fans.sql("UPDATE sum SET total = total + 1 WHERE account = 'own'").await;
        let rebuilt = fans.journal.rebuild(&*broker).await.unwrap();
        assert!(!rebuilt.is_identical());
        assert_eq!(fans.journal.digests().await.unwrap(), before);

        // A broker that lacks an event leaves everything as it was.
        let empty = self::broker().await;
        empty.1.publish("bank", 0, &events[..49]).await.unwrap();
        let error = fans.journal.rebuild(&*empty.1).await.unwrap_err();
        assert!(matches!(error, RebuildError::Missing { position: 50, .. }), "{error:?}");
        assert_eq!(fans.journal.digests().await.unwrap(), before);

        // Events of a service that followed nobody when they were recorded come first.
        let bank = place(backend, "bank", &[]).await;
        bank.record("a", 0, &added("a", 1)).await.unwrap();
        bank.record("a", 1, &added("a", 2)).await.unwrap();
        let rebuilt = bank.journal.rebuild(&*broker).await.unwrap();
        assert!(rebuilt.is_identical() && rebuilt.events == 2, "{rebuilt:?}");
        let database = bank.journal.database.clone();
        let later = Journal::new("bank", database, Arc::new(Sums(&["other"])));
        for versions in [2_i64, 3] {
            let rebuilt = later.rebuild(&*broker).await.unwrap();
            assert!(rebuilt.is_identical(), "{rebuilt:?}");
            assert_eq!(rebuilt.events, versions.unsigned_abs());
            let mut transaction = later.database.write().await.unwrap();
            later.record(&mut transaction, "a", versions, &added("a", 7), AT).await.unwrap();
            transaction.commit().await.unwrap();
        }
    }
}

/// Notes what it is told of.
#[derive(Debug)]
struct Listening {
    sums: Sums,
    told: Arc<std::sync::Mutex<Vec<(String, i64)>>>,
}

#[async_trait]
impl Projection for Listening {
    fn follows(&self) -> &'static [&'static str] {
        self.sums.follows()
    }

    fn tables(&self) -> &'static [&'static str] {
        self.sums.tables()
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        self.sums.apply(transaction, event).await
    }

    fn is_live(&self) -> bool {
        true
    }

    fn applied(&self, event: &Recorded) {
        self.told.lock().unwrap().push((event.source.clone(), event.position));
    }
}

#[tokio::test]
async fn every_process_of_a_service_is_told_of_what_any_of_them_took_up_or_recorded() {
    for backend in BACKENDS {
        let (_folder, broker) = broker().await;
        let bank = place(backend, "bank", &[]).await;
        let database = migrated(backend, &migrations(&[(1, TABLES)])).await;
        let process = || {
            let told = Arc::<std::sync::Mutex<Vec<(String, i64)>>>::default();
            let listening = Listening { sums: Sums(&["bank"]), told: Arc::clone(&told) };
            (Journal::new("fans", database.database.clone(), Arc::new(listening)), told)
        };
        let (first, second) = (process(), process());
        let (trigger, shutdown) = Shutdown::new();
        let journals = [&bank.journal, &first.0, &second.0];
        let tasks: Vec<_> = journals
            .into_iter()
            .flat_map(|journal| journal.workers(&broker))
            .map(|worker| tokio::spawn(worker.run(shutdown.clone())))
            .collect();
        // They begin to follow at some moment, and from then on miss nothing.
        let of = |told: &std::sync::Mutex<Vec<(String, i64)>>, source: &str| -> Vec<i64> {
            let told = told.lock().unwrap();
            let of = told.iter().filter(|(name, _)| name == source);
            of.map(|(_, position)| *position).collect()
        };
        let both = [&first.1, &second.1];
        let began = Instant::now();
        let mut last = 0;
        while last < 20 || both.iter().any(|told| of(told, "bank").last() != Some(&last)) {
            assert!(began.elapsed() < Duration::from_secs(30), "{both:?}");
            if last < 20 || both.iter().any(|told| of(told, "bank").is_empty()) {
                last = bank.record("a", last, &added("a", 1)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for told in both {
            let seen = of(told, "bank");
            assert_eq!(seen, (seen[0]..=last).collect::<Vec<_>>());
        }
        let mut own = 0;
        while both.iter().any(|told| of(told, "fans").is_empty()) {
            assert!(began.elapsed() < Duration::from_secs(30), "{both:?}");
            let mut transaction = database.database.write().await.unwrap();
            let event = added("own", 1);
            first.0.record(&mut transaction, "own", own, &event, AT).await.unwrap();
            transaction.commit().await.unwrap();
            own += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        trigger.request();
        for task in tasks {
            task.await.unwrap();
        }
        // Each event was taken up once.
        let (total,): (i64,) = query("SELECT CAST(sum(total) AS BIGINT) FROM sum")
            .fetch_one(&database.database)
            .await
            .unwrap();
        assert_eq!(total, last + own);
    }
}

/// The texts of tweets.
#[derive(Debug)]
struct Texts;

#[async_trait]
impl Projection for Texts {
    fn follows(&self) -> &'static [&'static str] {
        &[]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["wording"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        let pillion_events::TweetEvent::Posted(posted) = event.decode()? else { return Ok(()) };
        query("INSERT INTO wording (text) VALUES ($1)")
            .bind(&posted.text)
            .execute(transaction)
            .await?;
        Ok(())
    }
}

/// Whoever looks for a row that changes with every event reads through the versions that some events
/// made, not through those of all.
#[tokio::test]
async fn a_rebuild_does_not_drag_along_what_a_counter_was() {
    /// 20 pages. The versions that one of them makes are in 7 blocks, those of all in 110.
    const EVENTS: i64 = 20_000;
    const BLOCKS_READ_MAX: u32 = 20;
    let (_folder, broker) = broker().await;
    let bank = place(crate::Backend::Postgres, "bank", &[]).await;
    bank.record("a", 0, &added("a", 1)).await.unwrap();
    bank.sql(
        "INSERT INTO event_log (position, stream_id, version, name, wire_version, data, recorded_at)
         SELECT n, stream_id, n, name, wire_version, data, recorded_at
         FROM event_log, generate_series(2, 20000) AS n",
    )
    .await;
    let mut transaction = bank.journal.database.write_alone().await.unwrap();
    let shadow = Shadow::of(bank.journal.projection.tables(), &mut transaction).await.unwrap();
    shadow.make(&mut transaction).await.unwrap();
    let events = bank.journal.replay_log(&mut transaction, &shadow).await.unwrap();
    assert_eq!(events, EVENTS.unsigned_abs());
    let look = query("EXPLAIN (ANALYZE, BUFFERS) SELECT total FROM sum WHERE account = 'a'");
    let plan: Vec<(String,)> = look.fetch_all(&mut transaction).await.unwrap();
    let hit =
        |(line,): &(String,)| line.split_once("local hit=")?.1.split(' ').next()?.parse().ok();
    let blocks: u32 = plan.iter().find_map(hit).unwrap();
    assert!(blocks <= BLOCKS_READ_MAX, "{plan:#?}");
    // Given up, nothing has changed.
    drop(transaction);
    assert_eq!(bank.sums().await, sums(&[("a", 1)]));

    let rebuilt = bank.journal.rebuild(&*broker).await.unwrap();
    assert_eq!((rebuilt.events, rebuilt.tables[0].rows), (EVENTS.unsigned_abs(), 1));
    assert_eq!(bank.sums().await, sums(&[("a", EVENTS)]));
    // Its turn is over, and nothing of the session is left.
    bank.record("a", EVENTS, &added("a", 1)).await.unwrap();
    assert_eq!(bank.sums().await, sums(&[("a", EVENTS + 1)]));
}

/// `SQLite` kept U+0000 in texts once, `PostgreSQL` keeps it in none.
#[tokio::test]
async fn a_nul_of_an_early_build_is_no_obstacle_to_a_rebuild() {
    const DATA: &str = r#"{"tweet_id":"20","author_id":"12","text":"a\u0000b","conversation_id":"20","mentions":[],"reply_settings":"everyone","client_id":"web","created_at":"2026-07-01T10:00:01.000Z"}"#;
    for backend in BACKENDS {
        let (_folder, broker) = broker().await;
        let table = migrations(&[(1, "CREATE TABLE wording (text TEXT NOT NULL)")]);
        let test = migrated(backend, &table).await;
        let old = Recorded {
            source: "tweets".to_owned(),
            name: "tweet.posted".to_owned(),
            wire_version: 2,
            data: DATA.to_owned(),
            ..delivered(1, "tweet/20", 0)
        };
        let mut transaction = test.database.write().await.unwrap();
        assert!(event_log::insert(&mut transaction, &old, None).await.unwrap());
        transaction.commit().await.unwrap();
        let journal = Journal::new("tweets", test.database.clone(), Arc::new(Texts));
        let rebuilt = journal.rebuild(&*broker).await.unwrap();
        assert_eq!(rebuilt.events, 1);
        let texts: Vec<(String,)> =
            query("SELECT text FROM wording").fetch_all(&test.database).await.unwrap();
        assert_eq!(texts, [("a\u{fffd}b".to_owned(),)], "{backend:?}");
    }
}
