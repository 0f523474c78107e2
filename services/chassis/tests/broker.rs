//! What every broker must do, tried on both: the embedded one and NATS `JetStream`. Then what
//! only a server can suffer.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "broker/conformance.rs"]
mod conformance;
#[path = "broker/faults.rs"]
mod faults;
#[path = "broker/streams.rs"]
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pillion_chassis::broker::{
    Broker, BrokerError, EmbeddedBroker, NatsBroker, NatsOptions, Subscription,
};
use pillion_chassis::event_log::Recorded;
use pillion_test_servers::Nats;
use tokio::sync::OnceCell;

/// No test takes longer on a busy machine with a slow disk.
const TEST_TIME_MAX: Duration = Duration::from_mins(2);
/// How long what must never come is waited for.
const SILENCE: Duration = Duration::from_millis(300);
/// Between tries while the broker is away.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Where a broker keeps its data, and several of a kind on the same data.
enum Place {
    File(tempfile::TempDir),
    Server(String),
}

impl Place {
    fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    /// A server that all tests share that do it no harm.
    async fn server() -> Self {
        static SHARED: OnceCell<Nats> = OnceCell::const_new();
        Self::Server(SHARED.get_or_init(Nats::start).await.url())
    }

    /// A broker on the data that is there, as another process would open it.
    async fn open(&self) -> Arc<dyn Broker> {
        match self {
            Self::File(folder) => {
                Arc::new(EmbeddedBroker::open(folder.path().join("broker.sqlite")).await.unwrap())
            }
            Self::Server(url) => Arc::new(small(url).await),
        }
    }
}

/// A broker whose streams are so small that the server has room for those of all tests.
async fn small(url: &str) -> NatsBroker {
    let options = NatsOptions { stream_bytes_max: 16 * 1024 * 1024, ..NatsOptions::default() };
    NatsBroker::connect_with(url, options).await.unwrap()
}

/// Waits a little when the broker is away; nothing else may go wrong.
async fn pause(error: BrokerError) {
    assert!(matches!(error, BrokerError::Unavailable(_)), "{error:?}");
    tokio::time::sleep(RETRY_PAUSE).await;
}

/// The name of a service that no other test uses.
fn source() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("service-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

fn event(source: &str, position: i64) -> Recorded {
    Recorded {
        source: source.to_owned(),
        position,
        stream_id: format!("tweet/{}", position % 7),
        version: position / 7 + 1,
        name: "tweet.posted".to_owned(),
        wire_version: 2,
        data: format!(r#"{{"tweet_id":"{position}","text":"“quoted”, \"escaped\" and 🐦"}}"#),
        recorded_at: 1_000_000 + position,
    }
}

/// The log of a service: its first `count` events.
fn log(source: &str, count: i64) -> Vec<Recorded> {
    (1..=count).map(|position| event(source, position)).collect()
}

/// Carries a log to the broker as a relay does, through whatever happens to it.
async fn relay(broker: &dyn Broker, log: &[Recorded], batch: usize) {
    let source = &log[0].source;
    let mut last = None;
    loop {
        let after = match last.take() {
            Some(last) => last,
            None => match broker.last_position(source).await {
                Ok(last) => last,
                Err(error) => {
                    pause(error).await;
                    continue;
                }
            },
        };
        let begin = usize::try_from(after).unwrap();
        if begin == log.len() {
            return;
        }
        let end = (begin + batch).min(log.len());
        match broker.publish(source, after, &log[begin..end]).await {
            Ok(()) => last = Some(i64::try_from(end).unwrap()),
            Err(BrokerError::OutOfOrder { last: there }) => last = Some(there),
            Err(error) => pause(error).await,
        }
    }
}

/// Takes the next `count` events, through whatever happens to the broker.
async fn collect(subscription: &mut dyn Subscription, count: usize, batch: usize) -> Vec<Recorded> {
    let mut events = Vec::new();
    while events.len() < count {
        match subscription.next(batch.min(count - events.len())).await {
            Ok(more) => {
                assert!(!more.is_empty() && more.len() <= batch);
                events.extend(more);
            }
            Err(error) => pause(error).await,
        }
    }
    events
}

/// Only to be compared: a difference in 10,000 events is not to be read.
#[track_caller]
fn assert_same(found: &[Recorded], expected: &[Recorded]) {
    let difference = found.iter().zip(expected).find(|(found, expected)| found != expected);
    assert_eq!(difference, None);
    assert_eq!(found.len(), expected.len());
}
