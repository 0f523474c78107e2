//! What happens to brokers: restarts, kills, silence, and losing everything.

use std::time::Instant;

use super::*;

/// An error that says that there is no answer comes within this, on a busy machine.
const UNAVAILABLE_TIME_MAX: Duration = Duration::from_secs(5);

/// Once a server is there again and has something, it comes within this: the loss of the
/// connection is noticed, not only that a pull was in vain.
const RESUME_TIME_MAX: Duration = Duration::from_secs(4);

async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(TEST_TIME_MAX, test).await.unwrap();
}

async fn nats() -> (Nats, Arc<dyn Broker>, String) {
    let server = Nats::start().await;
    let broker = NatsBroker::connect(&server.url()).await.unwrap();
    (server, Arc::new(broker), source())
}

#[tokio::test]
async fn a_file_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.sqlite");
    let log = log("tweets", 8);
    let broker = EmbeddedBroker::open(&path).await.unwrap();
    broker.publish("tweets", 0, &log[..5]).await.unwrap();
    broker.close().await;
    let refused = broker.publish("tweets", 5, &log[5..]).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");

    let broker = EmbeddedBroker::open(&path).await.unwrap();
    let mut subscription = broker.subscribe("tweets", 3).await.unwrap();
    relay(&broker, &log, 2).await;
    assert_eq!(collect(&mut *subscription, 5, 10).await, log[3..]);
}

#[tokio::test]
async fn a_file_that_was_deleted_is_filled_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = log("tweets", 8);
    let broker = EmbeddedBroker::open(folder.path().join("1.sqlite")).await.unwrap();
    relay(&broker, &log[..6], 3).await;
    broker.close().await;

    let broker = EmbeddedBroker::open(folder.path().join("2.sqlite")).await.unwrap();
    let mut subscription = broker.subscribe("tweets", 6).await.unwrap();
    let refused = broker.publish("tweets", 6, &log[6..]).await;
    assert!(matches!(refused, Err(BrokerError::OutOfOrder { last: 0 })), "{refused:?}");
    relay(&broker, &log, 3).await;
    assert_eq!(collect(&mut *subscription, 2, 10).await, log[6..]);
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.sqlite");
    std::fs::write(&path, "not a database, but long enough to be taken for one".repeat(50))
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = EmbeddedBroker::open(&path).await;
    assert!(matches!(refused, Err(BrokerError::Open(_))), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(EmbeddedBroker::open(folder.path().join("no/broker.sqlite")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_goes_on() {
    in_time(async {
        let (server, broker, source) = nats().await;
        let log = log(&source, 9);
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        for end in [3, 6, 9] {
            relay(&*broker, &log[..end], 2).await;
            let began = Instant::now();
            assert_eq!(collect(&mut *subscription, 3, 10).await, log[end - 3..end]);
            assert!(began.elapsed() < RESUME_TIME_MAX, "{:?}", began.elapsed());
            server.stop().await;
            server.start_again().await;
        }
        relay(&*broker, &log, 1).await;
        assert_eq!(broker.last_position(&source).await.unwrap(), 9);
    })
    .await;
}

/// Whatever was on its way is not lost and does not come twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_and_doubles_nothing() {
    in_time(async {
        let (server, broker, source) = nats().await;
        let log = log(&source, 3_000);
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        let consuming = tokio::spawn(async move { collect(&mut *subscription, 3_000, 64).await });
        let publishing = tokio::spawn({
            let (broker, log) = (broker.clone(), log.clone());
            async move {
                // Slow enough that it lasts for some kills.
                for end in (10..=3_000).step_by(10) {
                    relay(&*broker, &log[..end], 10).await;
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
            }
        });
        let mut kills = 0;
        while !publishing.is_finished() {
            tokio::time::sleep(Duration::from_millis(300 + kills * 40)).await;
            server.kill().await;
            server.start_again().await;
            kills += 1;
        }
        publishing.await.unwrap();
        assert_same(&consuming.await.unwrap(), &log);
        assert!(kills >= 2, "{kills}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_told_of_soon_and_found_again() {
    in_time(async {
        let (server, broker, source) = nats().await;
        let log = log(&source, 6);
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        relay(&*broker, &log[..3], 3).await;
        assert_eq!(collect(&mut *subscription, 3, 10).await, log[..3]);
        server.stop().await;

        let began = Instant::now();
        let refused = broker.publish(&source, 3, &log[3..]).await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
        let refused = broker.check().await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
        let refused = broker.last_position(&source).await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
        assert!(began.elapsed() < 3 * UNAVAILABLE_TIME_MAX, "{:?}", began.elapsed());

        let waiting = tokio::spawn(async move { collect(&mut *subscription, 3, 10).await });
        tokio::time::sleep(SILENCE).await;
        server.start_again().await;
        relay(&*broker, &log, 3).await;
        assert_eq!(waiting.await.unwrap(), log[3..]);
    })
    .await;
}

/// Connections stand, and nobody answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_silent_does_not_hold_anybody_up() {
    in_time(async {
        let (server, broker, source) = nats().await;
        let log = log(&source, 40);
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        relay(&*broker, &log[..10], 10).await;
        server.pause().await;
        let began = Instant::now();
        let refused = broker.publish(&source, 10, &log[10..30]).await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
        assert!(began.elapsed() < UNAVAILABLE_TIME_MAX, "{:?}", began.elapsed());
        server.resume().await;
        // What was on its way arrives now, or not; either way it is published once.
        relay(&*broker, &log, 10).await;
        assert_same(&collect(&mut *subscription, 40, 10).await, &log);
    })
    .await;
}

/// Who reads on so late has lost what was sent ahead: the client gives a pull up after ten seconds,
/// read or not. Nothing that comes later tells of it here.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_was_busy_for_long_misses_nothing() {
    const BUSY_TIME: Duration = Duration::from_secs(11);
    in_time(async {
        let (_server, broker, source) = nats().await;
        let log = log(&source, 10);
        relay(&*broker, &log, 10).await;
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        assert_eq!(collect(&mut *subscription, 1, 1).await, log[..1]);
        tokio::time::sleep(BUSY_TIME).await;
        assert_eq!(collect(&mut *subscription, 9, 10).await, log[1..]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_without_its_broker() {
    in_time(async {
        let server = Nats::start().await;
        server.stop().await;
        let source = source();
        let log = log(&source, 2);
        let began = Instant::now();
        let broker = NatsBroker::connect(&server.url()).await.unwrap();
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        let refused = subscription.next(1).await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
        assert!(began.elapsed() < UNAVAILABLE_TIME_MAX, "{:?}", began.elapsed());
        server.start_again().await;
        relay(&broker, &log, 1).await;
        assert_eq!(collect(&mut *subscription, 2, 10).await, log);
    })
    .await;
}

/// The subscription waits beyond the end of what is there until the relay has come so far again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_everything_is_filled_again() {
    in_time(async {
        let (server, broker, source) = nats().await;
        let log = log(&source, 700);
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        relay(&*broker, &log[..500], 100).await;
        assert_same(&collect(&mut *subscription, 500, 64).await, &log[..500]);
        let waiting = tokio::spawn(async move { collect(&mut *subscription, 200, 64).await });
        tokio::time::sleep(SILENCE).await;

        server.wipe().await;
        let mut refused = broker.publish(&source, 500, &log[500..510]).await;
        while matches!(refused, Err(BrokerError::Unavailable(_))) {
            refused = broker.publish(&source, 500, &log[500..510]).await;
        }
        assert!(matches!(refused, Err(BrokerError::OutOfOrder { last: 0 })), "{refused:?}");
        // It has nothing to give yet: all that comes first is known to the subscriber.
        relay(&*broker, &log[..500], 100).await;
        tokio::time::sleep(SILENCE).await;
        assert!(!waiting.is_finished());
        relay(&*broker, &log, 100).await;
        assert_same(&waiting.await.unwrap(), &log[500..]);
        // And from the beginning, as a new service would read.
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        assert_same(&collect(&mut *subscription, 700, 64).await, &log);
    })
    .await;
}
