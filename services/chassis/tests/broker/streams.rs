//! Streams at a NATS server that are not as they should be.

use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context};

use super::*;

async fn shared() -> (Context, NatsBroker, String) {
    let Place::Server(url) = Place::server().await else { panic!("a server") };
    let context = jetstream::new(async_nats::connect(&url).await.unwrap());
    (context, small(&url).await, source())
}

fn config(source: &str) -> Config {
    Config {
        name: format!("PILLION-{source}"),
        subjects: vec![format!("pillion.events.{source}")],
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_made_as_promised() {
    let (context, broker, source) = shared().await;
    relay(&broker, &log(&source, 3), 3).await;
    let stream = context.get_stream(format!("PILLION-{source}")).await.unwrap();
    let config = &stream.cached_info().config;
    assert_eq!(config.subjects, [format!("pillion.events.{source}")]);
    assert_eq!((config.storage, config.discard), (StorageType::File, DiscardPolicy::New));
    assert_eq!((config.max_bytes, config.num_replicas), (16 * 1024 * 1024, 1));
    assert!(config.deny_delete && config.deny_purge);
    let message = stream.get_raw_message(2).await.unwrap();
    assert_eq!(message.headers.get("Nats-Msg-Id").unwrap().as_str(), format!("{source}/2"));
    assert!(stream.delete_message(2).await.is_err());
}

/// The server forgets ids of messages soon; that it does not take one twice hangs on the sequence.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_much_later_is_refused_all_the_same() {
    let (context, broker, source) = shared().await;
    let log = log(&source, 3);
    broker.publish(&source, 0, &log).await.unwrap();
    let stream = context.get_stream(format!("PILLION-{source}")).await.unwrap();
    tokio::time::sleep(stream.cached_info().config.duplicate_window * 2).await;
    let refused = broker.publish(&source, 0, &log).await;
    assert!(matches!(refused, Err(BrokerError::OutOfOrder { last: 3 })), "{refused:?}");
    assert_eq!(broker.last_position(&source).await.unwrap(), 3);
}

/// Holes are the one thing that publishing again does not fill.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_holes_is_filled_anew() {
    let (context, broker, source) = shared().await;
    let stream = context.create_stream(config(&source)).await.unwrap();
    let log = log(&source, 12);
    relay(&broker, &log[..10], 10).await;
    assert!(stream.delete_message(4).await.unwrap());

    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    assert_eq!(collect(&mut *subscription, 3, 10).await, log[..3]);
    let stopped = subscription.next(10).await;
    assert!(matches!(stopped, Err(BrokerError::Gap { after: 3, found: 5, .. })), "{stopped:?}");

    assert_eq!(broker.last_position(&source).await.unwrap(), 0);
    relay(&broker, &log, 10).await;
    assert_eq!(collect(&mut *subscription, 9, 10).await, log[3..]);
}

/// The first ones too: a stream that begins later than with the first event is no copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_purged_stream_is_filled_anew() {
    let (context, broker, source) = shared().await;
    let stream = context.create_stream(config(&source)).await.unwrap();
    let log = log(&source, 5);
    relay(&broker, &log[..4], 4).await;
    stream.purge().await.unwrap();
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    let (came, ()) = tokio::join!(collect(&mut *subscription, 5, 10), relay(&broker, &log, 10));
    assert_eq!(came, log);
}

/// What an operator, a health check or another program publishes to the subject of a service.
async fn publish_foreign(context: &Context, source: &str, payload: &str) {
    let subject = format!("pillion.events.{source}");
    context.publish(subject, payload.to_owned().into()).await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn d06_foreign_messages_are_skipped_and_counted_and_publishing_goes_on() {
    let (context, broker, source) = shared().await;
    let log = log(&source, 40);
    let copy = serde_json::to_string(&log[2]).unwrap();
    let of_another = serde_json::to_string(&event("service-of-another", 9)).unwrap();
    let far = serde_json::to_string(&event(&source, 5_000)).unwrap();
    let mut early = broker.subscribe(&source, 0).await.unwrap();
    assert_eq!(broker.last_position(&source).await.unwrap(), 0);
    // Before the first event, alone and in rows, and while somebody reads.
    let mut foreign = 0;
    for (number, payload) in
        ["not an event", "{}", &of_another, "\u{0}", &copy, ""].into_iter().enumerate()
    {
        for _ in 0..=number % 3 {
            publish_foreign(&context, &source, payload).await;
            foreign += 1;
        }
        let end = (number + 1) * 5;
        relay(&broker, &log[..end], 3).await;
        assert_eq!(collect(&mut *early, 5, 10).await, log[end - 5..end], "{payload:?}");
        assert_eq!(broker.foreign_messages(&source), foreign, "{payload:?}");
    }
    // A process that starts now finds out the same by itself, and so does who reads from the
    // middle or asks for a single event.
    publish_foreign(&context, &source, "the last one").await;
    let Place::Server(url) = Place::server().await else { panic!("a server") };
    let fresh = small(&url).await;
    assert_eq!(fresh.last_position(&source).await.unwrap(), 30);
    assert_eq!(fresh.foreign_messages(&source), foreign + 1);
    for position in [1, 6, 17, 30] {
        let found = fresh.event(&source, position).await.unwrap();
        assert_eq!(found.as_ref(), Some(&log[usize::try_from(position).unwrap() - 1]));
    }
    assert_eq!(fresh.event(&source, 31).await.unwrap(), None);
    relay(&fresh, &log[..35], 2).await;
    // One that was elsewhere meanwhile is no worse off.
    let refused = broker.publish(&source, 30, &log[30..31]).await;
    assert!(matches!(refused, Err(BrokerError::OutOfOrder { last: 35 })), "{refused:?}");
    relay(&broker, &log, 10).await;
    assert_eq!(collect(&mut *early, 10, 64).await, log[30..]);
    for after in [0, 4, 5, 17, 39] {
        let mut late = broker.subscribe(&source, after).await.unwrap();
        let after = usize::try_from(after).unwrap();
        assert_eq!(collect(&mut *late, 40 - after, 64).await, log[after..]);
    }
    // A copy of an old event at the end is not taken for the last one, also by who starts then.
    publish_foreign(&context, &source, &copy).await;
    assert_eq!(small(&url).await.last_position(&source).await.unwrap(), 40);
    assert_eq!(broker.last_position(&source).await.unwrap(), 40);
    // No relay takes an event that is not due for its own, whoever made it.
    publish_foreign(&context, &source, &far).await;
    assert_eq!(broker.last_position(&source).await.unwrap(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn d06_relays_and_somebody_else_publish_at_once_and_each_event_comes_once() {
    let (context, _, source) = shared().await;
    let Place::Server(url) = Place::server().await else { panic!("a server") };
    let log = Arc::new(log(&source, 600));
    let reader = small(&url).await;
    // Asking makes the stream: there is something that a stranger can publish to.
    assert_eq!(reader.last_position(&source).await.unwrap(), 0);
    let mut subscription = reader.subscribe(&source, 0).await.unwrap();
    let mut relays = Vec::new();
    for batch in [7, 50] {
        let (broker, log) = (small(&url).await, Arc::clone(&log));
        relays.push(tokio::spawn(async move {
            relay(&broker, &log, batch).await;
        }));
    }
    let stranger = tokio::spawn({
        let source = source.clone();
        async move {
            for number in 0..40 {
                publish_foreign(&context, &source, &format!("foreign {number}")).await;
            }
        }
    });
    let came = collect(&mut *subscription, 600, 64).await;
    assert_same(&came, &log);
    for relay in relays {
        relay.await.unwrap();
    }
    stranger.await.unwrap();
    assert_eq!(reader.last_position(&source).await.unwrap(), 600);
    assert_eq!(reader.foreign_messages(&source), 40);
}

/// A stream that is mostly somebody else's is made again, and is full of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn d06_a_stream_that_ends_in_very_many_foreign_messages_is_filled_again() {
    let (context, broker, source) = shared().await;
    let log = log(&source, 6);
    relay(&broker, &log[..4], 4).await;
    for _ in 0..300 {
        publish_foreign(&context, &source, "again and again").await;
    }
    let mut subscription = broker.subscribe(&source, 2).await.unwrap();
    relay(&broker, &log, 4).await;
    assert_eq!(collect(&mut *subscription, 4, 10).await, log[2..]);
    assert_eq!(broker.foreign_messages(&source), 0);
}

/// Damage is no foreign message: whoever reads stops at it, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn d06_an_event_that_is_not_there_stops_the_subscription() {
    let (context, broker, source) = shared().await;
    let log = log(&source, 3);
    relay(&broker, &log[..1], 1).await;
    publish_foreign(&context, &source, "in the place of the second").await;
    publish_foreign(&context, &source, &serde_json::to_string(&log[2]).unwrap()).await;
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    assert_eq!(subscription.next(10).await.unwrap(), log[..1]);
    for _ in 0..2 {
        let stopped = subscription.next(10).await;
        assert!(matches!(stopped, Err(BrokerError::Gap { after: 1, found: 3, .. })), "{stopped:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_would_drop_events_is_refused() {
    let (context, broker, source) = shared().await;
    let forgetful = Config { max_age: Duration::from_hours(1), ..config(&source) };
    context.create_stream(forgetful).await.unwrap();
    let refused = broker.publish(&source, 0, &log(&source, 1)).await;
    let Err(error @ BrokerError::Setting { setting: "max_age", .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        error.to_string(),
        format!("the broker's stream PILLION-{source} has max_age = 3600s where it must be 0ns")
    );
    let refused = broker.last_position(&source).await;
    assert!(matches!(refused, Err(BrokerError::Setting { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_takes_no_more_and_keeps_what_it_has() {
    let (_, _, source) = shared().await;
    let Place::Server(url) = Place::server().await else { panic!("a server") };
    let options = NatsOptions { stream_bytes_max: 8 * 1024, ..NatsOptions::default() };
    let broker = NatsBroker::connect_with(&url, options).await.unwrap();
    let log = log(&source, 100);
    let refused = broker.publish(&source, 0, &log).await;
    assert!(matches!(refused, Err(BrokerError::Full(_))), "{refused:?}");
    let last = usize::try_from(broker.last_position(&source).await.unwrap()).unwrap();
    assert!((5..50).contains(&last), "{last}");
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    assert_same(&collect(&mut *subscription, last, 64).await, &log[..last]);
}

#[tokio::test]
async fn what_cannot_be_configured_is_refused_without_telling_a_password() {
    for url in [
        "",
        "nats://",
        "http://user:secret@host",
        "nats://user:secret@host:port",
        "nats://user:secret@a,nats://user:secret2@b",
    ] {
        let refused = NatsBroker::connect(url).await;
        let Err(error @ BrokerError::Configuration { .. }) = refused else {
            panic!("{url}: {refused:?}");
        };
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let options = NatsOptions { replicas: 2, ..NatsOptions::default() };
    let refused = NatsBroker::connect_with("nats://127.0.0.1:1", options).await;
    assert!(matches!(refused, Err(BrokerError::Configuration { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let Place::Server(url) = Place::server().await else { panic!("a server") };
    let broker = NatsBroker::connect(&url.replacen("nats://", "tls://", 1)).await.unwrap();
    let Err(BrokerError::Unavailable(cause)) = broker.check().await else { panic!("no answer") };
    let said = cause.to_string();
    assert!(said.contains("the server does not speak TLS there"), "{said}");
}

/// Whoever publishes learns that it is the event's fault, and the server stays connected.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_for_the_server_is_refused() {
    let (_, broker, source) = shared().await;
    let large = Recorded { data: "x".repeat(2 * 1024 * 1024), ..event(&source, 1) };
    let refused = broker.publish(&source, 0, &[large]).await;
    assert!(matches!(refused, Err(BrokerError::Failed(_))), "{refused:?}");
    broker.publish(&source, 0, &[event(&source, 1)]).await.unwrap();
}
