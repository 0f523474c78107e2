//! A database from a backup, beside a broker that has more: no event is passed by in silence.

use async_nats::jetstream;
use pillion_test_servers::Nats;

use super::*;
use crate::Backend;
use crate::broker::NatsBroker;
use crate::journal::relay::agree;

/// Long enough for a relay that would publish.
const SILENCE: Duration = Duration::from_secs(2);

async fn record(bank: &Place, version: i64, amounts: &[i64]) {
    for (version, amount) in (version..).zip(amounts) {
        bank.record("a", version, &added("a", *amount)).await.unwrap();
    }
}

/// Runs its workers for a while.
async fn run(place: &Place, broker: &Arc<dyn Broker>) {
    let (trigger, shutdown) = Shutdown::new();
    let workers = place.journal.workers(broker).into_iter();
    let tasks: Vec<_> = workers.map(|it| tokio::spawn(it.run(shutdown.clone()))).collect();
    tokio::time::sleep(SILENCE).await;
    trigger.request();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Nothing is published, and the status says so.
async fn refuses(bank: &Place, broker: &Arc<dyn Broker>, says: &str) {
    let before = broker.last_position("bank").await.unwrap();
    run(bank, broker).await;
    assert_eq!(broker.last_position("bank").await.unwrap(), before);
    assert!(bank.journal.status(Some(&**broker)).await.unwrap().diverged);
    let error = agree(&bank.journal, &**broker, before).await.unwrap_err();
    assert!(error.is_divergence(), "{error}");
    let told = error.to_string();
    for part in [says, "the stream PILLION-bank", "\"A restore was not of everything\""] {
        assert!(told.contains(part), "{told}");
    }
}

/// `wiped` gives the broker without its data of the bank.
async fn is_refused_until_the_broker_is_filled_again(
    backend: Backend,
    broker: Arc<dyn Broker>,
    wiped: impl AsyncFnOnce() -> Arc<dyn Broker>,
) {
    let bank = place(backend, "bank", &[]).await;
    let branch = place(backend, "branch", &["bank"]).await;
    record(&bank, 0, &[1, 2, 3, 4, 5]).await;
    until_even(&bank, &branch, &broker).await;
    assert!(!bank.journal.status(Some(&*broker)).await.unwrap().diverged);

    // The backup is from after the third.
    bank.sql("DELETE FROM event_log WHERE position > 3").await;
    bank.journal.rebuild(&*broker).await.unwrap();
    refuses(&bank, &broker, "up to 5, but the log ends at 3").await;
    // As many as the broker has, and more: the number says nothing any more.
    record(&bank, 3, &[10, 20]).await;
    refuses(&bank, &broker, "the broker's last event, 5, is not the log's").await;
    record(&bank, 5, &[30]).await;
    refuses(&bank, &broker, "the broker's last event, 5, is not the log's").await;
    assert_eq!(branch.sums().await, sums(&[("a", 15)]));

    // The way out.
    let broker = wiped().await;
    until_even(&bank, &branch, &broker).await;
    assert!(!bank.journal.status(Some(&*broker)).await.unwrap().diverged);
    assert!(!branch.journal.rebuild(&*broker).await.unwrap().is_identical());
    assert_eq!(branch.sums().await, sums(&[("a", 66)]));
    assert_eq!(branch.sums().await, bank.sums().await);
    assert!(branch.journal.rebuild(&*broker).await.unwrap().is_identical());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_log_that_outgrows_the_embedded_broker_is_not_published() {
    let ((_folder, broker), (_other_folder, other)) =
        (super::broker().await, super::broker().await);
    is_refused_until_the_broker_is_filled_again(Backend::Sqlite, broker, async || other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_log_that_outgrows_nats_is_not_published() {
    let server = Nats::start().await;
    let broker: Arc<dyn Broker> = Arc::new(NatsBroker::connect(&server.url()).await.unwrap());
    let same = broker.clone();
    let wiped = async || {
        let client = async_nats::connect(server.url()).await.unwrap();
        jetstream::new(client).delete_stream("PILLION-bank").await.unwrap();
        same
    };
    is_refused_until_the_broker_is_filled_again(Backend::Postgres, broker, wiped).await;
}
