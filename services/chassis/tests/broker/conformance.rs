//! The suite that runs against every broker.

use super::*;

/// Each as a test on a file and on a server.
macro_rules! on_both {
    ($($test:ident)+) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let test = super::$test(super::Place::file());
                tokio::time::timeout(super::TEST_TIME_MAX, test).await.unwrap();
            })+
        }

        mod nats {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let test = super::$test(super::Place::server().await);
                tokio::time::timeout(super::TEST_TIME_MAX, test).await.unwrap();
            })+
        }
    };
}

on_both! {
    it_gives_back_what_it_was_given_in_order
    sources_have_nothing_to_do_with_each_other
    a_subscription_goes_on_after_its_cursor
    a_subscription_waits_for_what_is_to_come
    what_another_process_publishes_comes_too
    every_subscription_gets_every_event
    what_does_not_follow_is_refused_and_changes_nothing
    what_is_no_piece_of_a_log_is_refused
    a_batch_is_never_larger_than_asked_for
    of_two_relays_at_once_every_event_comes_once
    a_cancelled_wait_loses_nothing
    ten_thousand_events_come_through
    a_cursor_ahead_of_the_broker_waits_for_it
    it_gives_single_events
    it_says_that_it_is_well
}

async fn it_gives_back_what_it_was_given_in_order(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 5);
    assert_eq!(broker.last_position(&source).await.unwrap(), 0);
    broker.publish(&source, 0, &log[..2]).await.unwrap();
    assert_eq!(broker.last_position(&source).await.unwrap(), 2);
    broker.publish(&source, 2, &log[2..]).await.unwrap();
    broker.publish(&source, 5, &[]).await.unwrap();
    assert_eq!(broker.last_position(&source).await.unwrap(), 5);
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    assert_eq!(collect(&mut *subscription, 5, 100).await, log);
}

async fn sources_have_nothing_to_do_with_each_other(place: Place) {
    let broker = place.open().await;
    let logs = [log(&source(), 3), log(&source(), 2)];
    let mut subscriptions = Vec::new();
    for log in &logs {
        subscriptions.push(broker.subscribe(&log[0].source, 0).await.unwrap());
    }
    for log in &logs {
        relay(&*broker, log, 1).await;
    }
    for (log, mut subscription) in logs.iter().zip(subscriptions) {
        assert_eq!(&collect(&mut *subscription, log.len(), 100).await, log);
        let silence = tokio::time::timeout(SILENCE, subscription.next(1)).await;
        assert!(silence.is_err(), "{silence:?}");
    }
}

async fn a_subscription_goes_on_after_its_cursor(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 20);
    relay(&*broker, &log, 20).await;
    for cursor in [0, 1, 7, 19] {
        let mut subscription = broker.subscribe(&source, cursor).await.unwrap();
        let rest = &log[usize::try_from(cursor).unwrap()..];
        assert_same(&collect(&mut *subscription, rest.len(), 6).await, rest);
        // One that was dropped in the middle is taken up by the next.
        let mut subscription = broker.subscribe(&source, cursor).await.unwrap();
        let first = subscription.next(1).await.unwrap();
        assert_eq!(first[..], rest[..1]);
    }
}

async fn a_subscription_waits_for_what_is_to_come(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 2);
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    let silence = tokio::time::timeout(SILENCE, subscription.next(10)).await;
    assert!(silence.is_err(), "{silence:?}");
    for (after, event) in (0..).zip(&log) {
        let waiting = tokio::spawn(async move {
            let came = subscription.next(10).await.unwrap();
            (came, subscription)
        });
        tokio::time::sleep(SILENCE).await;
        assert!(!waiting.is_finished());
        broker.publish(&source, after, std::slice::from_ref(event)).await.unwrap();
        let came;
        (came, subscription) = waiting.await.unwrap();
        assert_eq!(came, std::slice::from_ref(event));
    }
}

async fn what_another_process_publishes_comes_too(place: Place) {
    let (here, there, source) = (place.open().await, place.open().await, source());
    let log = log(&source, 2);
    let mut subscription = here.subscribe(&source, 0).await.unwrap();
    let (came, ()) = tokio::join!(collect(&mut *subscription, 2, 1), async {
        tokio::time::sleep(SILENCE).await;
        there.publish(&source, 0, &log).await.unwrap();
    });
    assert_eq!(came, log);
    assert_eq!(here.last_position(&source).await.unwrap(), 2);
}

async fn every_subscription_gets_every_event(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 50);
    let mut tasks = tokio::task::JoinSet::new();
    for batch in [1, 3, 50, 100] {
        let mut subscription = broker.subscribe(&source, 0).await.unwrap();
        tasks.spawn(async move { collect(&mut *subscription, 50, batch).await });
    }
    relay(&*broker, &log, 8).await;
    for came in tasks.join_all().await {
        assert_same(&came, &log);
    }
}

async fn what_does_not_follow_is_refused_and_changes_nothing(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 9);
    let refused = broker.publish(&source, 3, &log[3..5]).await;
    assert!(matches!(refused, Err(BrokerError::OutOfOrder { last: 0 })), "{refused:?}");
    broker.publish(&source, 0, &log[..4]).await.unwrap();
    // Again, from the middle on, and with a gap.
    for (after, piece) in [(0, 0..4), (2, 2..4), (5, 5..9), (0, 0..1)] {
        let refused = broker.publish(&source, after, &log[piece]).await;
        assert!(matches!(refused, Err(BrokerError::OutOfOrder { last: 4 })), "{refused:?}");
        assert_eq!(broker.last_position(&source).await.unwrap(), 4);
    }
    // Overlapping: what is known is refused, what follows may be taken.
    let refused = broker.publish(&source, 3, &log[3..6]).await;
    let Err(BrokerError::OutOfOrder { last: last @ 4..=6 }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(broker.last_position(&source).await.unwrap(), last);
    broker.publish(&source, last, &log[usize::try_from(last).unwrap()..]).await.unwrap();
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    assert_eq!(collect(&mut *subscription, 9, 100).await, log);
}

async fn what_is_no_piece_of_a_log_is_refused(place: Place) {
    let (broker, source) = (place.open().await, source());
    for events in [
        vec![event(&source, 2)],
        vec![event(&source, 1), event(&source, 3)],
        vec![event(&source, 1), event("another", 2)],
    ] {
        let refused = broker.publish(&source, 0, &events).await;
        assert!(matches!(refused, Err(BrokerError::NotConsecutive { .. })), "{refused:?}");
    }
    assert_eq!(broker.last_position(&source).await.unwrap(), 0);
    for name in ["", "two words", "a.b", "*", "Ä"] {
        assert!(matches!(broker.last_position(name).await, Err(BrokerError::Name { .. })));
        assert!(matches!(broker.subscribe(name, 0).await, Err(BrokerError::Name { .. })));
        assert!(matches!(broker.publish(name, 0, &[]).await, Err(BrokerError::Name { .. })));
    }
}

async fn a_batch_is_never_larger_than_asked_for(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 700);
    relay(&*broker, &log, 300).await;
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    let mut came = Vec::new();
    for max in [0, 1, 2, 64, 500].into_iter().cycle() {
        let batch = subscription.next(max).await.unwrap();
        assert!((1..=max.max(1)).contains(&batch.len()), "{} of {max}", batch.len());
        came.extend(batch);
        if came.len() == log.len() {
            break;
        }
    }
    assert_same(&came, &log);
}

async fn of_two_relays_at_once_every_event_comes_once(place: Place) {
    let (one, other, source) = (place.open().await, place.open().await, source());
    let log = log(&source, 600);
    let mut subscription = one.subscribe(&source, 0).await.unwrap();
    let (came, (), ()) = tokio::join!(
        collect(&mut *subscription, log.len(), 64),
        relay(&*one, &log, 7),
        relay(&*other, &log, 11),
    );
    assert_same(&came, &log);
    assert_eq!(one.last_position(&source).await.unwrap(), 600);
    let silence = tokio::time::timeout(SILENCE, subscription.next(1)).await;
    assert!(silence.is_err(), "{silence:?}");
}

async fn a_cancelled_wait_loses_nothing(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 400);
    let publishing = tokio::spawn({
        let (broker, log) = (broker.clone(), log.clone());
        async move {
            for piece in log.chunks(3) {
                broker.publish(&piece[0].source, piece[0].position - 1, piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    let (mut came, mut cancelled) = (Vec::new(), 0);
    // From nothing at all to longer than it takes, so that it is cut off everywhere.
    for micros in (0..6_000_u64).step_by(97).cycle() {
        let patience = Duration::from_micros(micros);
        match tokio::time::timeout(patience, subscription.next(5)).await {
            Ok(events) => came.extend(events.unwrap()),
            Err(_) => cancelled += 1,
        }
        if came.len() >= log.len() {
            break;
        }
    }
    publishing.await.unwrap();
    assert_same(&came, &log);
    assert!(cancelled > 20, "{cancelled}");
}

async fn ten_thousand_events_come_through(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 10_000);
    let mut subscription = broker.subscribe(&source, 0).await.unwrap();
    let (came, ()) =
        tokio::join!(collect(&mut *subscription, log.len(), 64), relay(&*broker, &log, 1_000));
    assert_same(&came, &log);
}

async fn a_cursor_ahead_of_the_broker_waits_for_it(place: Place) {
    let (broker, source) = (place.open().await, source());
    let log = log(&source, 30);
    relay(&*broker, &log[..10], 10).await;
    let mut subscription = broker.subscribe(&source, 20).await.unwrap();
    let silence = tokio::time::timeout(SILENCE, subscription.next(1)).await;
    assert!(silence.is_err(), "{silence:?}");
    relay(&*broker, &log[..20], 3).await;
    let silence = tokio::time::timeout(SILENCE, subscription.next(1)).await;
    assert!(silence.is_err(), "{silence:?}");
    relay(&*broker, &log, 3).await;
    assert_same(&collect(&mut *subscription, 10, 4).await, &log[20..]);
}

async fn it_gives_single_events(place: Place) {
    let (broker, source) = (place.open().await, source());
    assert_eq!(broker.event(&source, 1).await.unwrap(), None);
    let log = log(&source, 3);
    relay(&*broker, &log, 3).await;
    for (position, event) in (1..).zip(&log) {
        assert_eq!(broker.event(&source, position).await.unwrap().as_ref(), Some(event));
    }
    assert_eq!(broker.event(&source, 4).await.unwrap(), None);
    assert!(matches!(broker.event("a.b", 1).await, Err(BrokerError::Name { .. })));
}

async fn it_says_that_it_is_well(place: Place) {
    place.open().await.check().await.unwrap();
}
