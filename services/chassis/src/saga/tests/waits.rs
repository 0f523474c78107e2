//! Timers and signals.

use super::*;

#[tokio::test]
async fn a_timer_ends_a_wait() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let due = json!({ "due": later(30) });
        let grace = world.start(&GRACE, "ann", due.clone()).await;
        let question = world.start(&QUESTION, "ann", due).await;
        world.clock.advance(Duration::from_secs(29));
        world.sagas.run_until_idle().await;
        for id in [grace, question] {
            assert_eq!(world.state(id).await, State::Waiting);
        }
        world.clock.advance(Duration::from_secs(1));
        world.sagas.run_until_idle().await;
        assert_eq!(world.state(grace).await, State::Completed);
        assert_eq!(world.state(question).await, State::Compensated);
        world.is_whole(&GRACE, grace).await;
        world.is_whole(&QUESTION, question).await;
        let outcome = world.sagas.outcome(question, Duration::ZERO).await.unwrap();
        let Outcome::Compensated(reason) = outcome else { panic!("{outcome:?}") };
        assert_eq!((reason.step.as_str(), reason.status), ("answer", 408));
    }
}

#[tokio::test]
async fn a_moment_that_is_past_is_not_waited_for() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let id = world.start(&GRACE, "ann", json!({ "due": later(-1) })).await;
        assert_eq!(world.settle(id).await, (State::Completed, 0));
        let id = world.start(&GRACE, "bob", json!({ "due": "soon" })).await;
        assert_eq!(world.settle(id).await, (State::Parked, 0));
    }
}

#[tokio::test]
async fn a_signal_ends_a_wait_or_is_kept_for_it() {
    for backend in BACKENDS {
        for is_early in [false, true] {
            let world = World::new(backend).await;
            let id = world.start(&QUESTION, "ann", json!({ "due": later(1_000) })).await;
            if !is_early {
                world.sagas.run_until_idle().await;
                assert_eq!(world.state(id).await, State::Waiting);
            }
            let signalled = world.signal(&QUESTION, "ann", Signal::Proceed).await;
            assert_eq!(signalled, Signalled::Taken(id));
            assert_eq!(world.settle(id).await, (State::Completed, 0));
            world.is_whole(&QUESTION, id).await;
            for signal in [Signal::Proceed, Signal::Compensate("late")] {
                assert_eq!(world.signal(&QUESTION, "ann", signal).await, Signalled::NoSaga);
            }
        }
    }
}

#[tokio::test]
async fn a_signal_takes_it_back_anywhere_before_the_pivot() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let id = world.start(&GRACE, "ann", json!({ "due": later(1_000) })).await;
        world.sagas.run_until_idle().await;
        world.counters["beta"].fail("undo hide", 2);
        let taken = world.signal(&GRACE, "ann", Signal::Compensate("login")).await;
        assert_eq!(taken, Signalled::Taken(id));
        world.sagas.run_until_idle().await;
        assert_eq!(world.state(id).await, State::Compensating);
        let again = world.signal(&GRACE, "ann", Signal::Compensate("login")).await;
        assert_eq!(again, Signalled::Taken(id));
        let proceed = world.signal(&GRACE, "ann", Signal::Proceed).await;
        assert_eq!(proceed, Signalled::Compensating(id));
        assert_eq!(world.settle(id).await.0, State::Compensated);
        world.is_whole(&GRACE, id).await;
        let outcome = world.sagas.outcome(id, Duration::ZERO).await.unwrap();
        let Outcome::Compensated(reason) = outcome else { panic!("{outcome:?}") };
        assert_eq!(reason.problem["signal"], "login");

        // Before its first step.
        let id = world.start(&TRIP, "ann", json!({})).await;
        world.signal(&TRIP, "ann", Signal::Compensate("no")).await;
        assert_eq!(world.settle(id).await, (State::Compensated, 0));
        assert!(world.effects(id).await.is_empty());

        // What was written when it was started is taken back with the first step.
        for is_refused in [false, true] {
            let mut transaction = world.deps.database.write().await.unwrap();
            let id = world.sagas.start(&mut transaction, &TRIP, "ann", json!({})).await.unwrap();
            query("INSERT INTO effect (saga_id, step, done, undone) VALUES ($1, 'open', 1, 0)")
                .bind(id.get())
                .execute(&mut transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
            if is_refused {
                world.counters["alpha"].refusing.lock().unwrap().push("open");
            } else {
                world.signal(&TRIP, "ann", Signal::Compensate("no")).await;
            }
            assert_eq!(world.settle(id).await, (State::Compensated, 0));
            world.is_whole(&TRIP, id).await;
            assert_eq!(world.effects(id).await["alpha.open"], (1, 1));
        }
        world.counters["alpha"].refusing.lock().unwrap().clear();

        // From the pivot on it is too late.
        let id = world.start(&TRIP, "ann", json!({})).await;
        world.script.plan("PUT beta.book", &[Act::AnswerLost]);
        world.sagas.run_until_idle().await;
        for signal in [Signal::Compensate("no"), Signal::Proceed] {
            assert_eq!(world.signal(&TRIP, "ann", signal).await, Signalled::PastPivot(id));
        }
        assert_eq!(world.settle(id).await.0, State::Completed);
        world.is_whole(&TRIP, id).await;
    }
}

#[tokio::test]
async fn a_signal_in_the_middle_of_a_call_wins_over_its_answer() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let id = world.trip().await;
        world.script.plan("PUT beta.reserve", &[Act::Late]);
        world.sagas.run_until_idle().await;
        world.signal(&TRIP, "ann", Signal::Compensate("no")).await;
        assert_eq!(world.settle(id).await, (State::Compensated, 0));
        // The call comes after everything was taken back.
        assert_eq!(world.script.deliver_late().await, [409]);
        world.is_whole(&TRIP, id).await;
    }
}
