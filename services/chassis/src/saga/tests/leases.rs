//! Several processes at the sagas of one database.

use super::*;

#[tokio::test]
async fn a_process_that_stands_still_loses_its_saga_and_does_nothing_twice() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let id = world.trip().await;
        let database = &world.deps.database;
        let now = |world: &World| world.clock.now().as_micros();
        let names = ["trip"];
        let stale = log::claim(database, &names, "old", now(&world), 8).await.unwrap();
        assert_eq!(stale.len(), 1);
        // It is the old one's.
        world.sagas.run_until_idle().await;
        assert!(world.calls().is_empty());
        assert!(log::claim(database, &names, "other", now(&world), 8).await.unwrap().is_empty());
        world.clock.advance(log::LEASE);
        world.sagas.run_until_idle().await;
        assert_eq!(world.state(id).await, State::Completed);
        // The old one wakes up and goes on where it stood still: its step is done, and no write
        // of it counts.
        let (_trigger, shutdown) = crate::Shutdown::new();
        for row in stale {
            driver::drive(&world.another(), row, &shutdown).await;
        }
        assert_eq!(world.state(id).await, State::Completed);
        world.is_whole(&TRIP, id).await;
    }
}

#[tokio::test]
async fn several_workers_share_the_sagas() {
    const SAGAS: usize = 40;
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let (trigger, shutdown) = crate::Shutdown::new();
        let others = [world.another(), world.another()];
        let workers: Vec<_> = (others.iter().chain([&world.sagas]))
            .map(|sagas| tokio::spawn(sagas.worker().run(shutdown.clone())))
            .collect();
        let mut ids = Vec::new();
        for n in 0..SAGAS {
            ids.push(world.start(&TRIP, &n.to_string(), json!({})).await);
        }
        for id in ids {
            let outcome = world.sagas.outcome(id, Duration::from_mins(1)).await.unwrap();
            assert_eq!(outcome, Outcome::Completed);
            world.is_whole(&TRIP, id).await;
        }
        trigger.request();
        for worker in workers {
            worker.await.unwrap();
        }
        // None was driven by two at a time: every call was made once.
        assert_eq!(world.calls().len(), SAGAS * 7);
    }
}

#[tokio::test]
async fn a_shutdown_lets_go_of_sagas_at_once() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let (trigger, shutdown) = crate::Shutdown::new();
        trigger.request();
        let id = world.trip().await;
        let row = log::claim(&world.deps.database, &["trip"], "old", later(1), 1).await.unwrap();
        for row in row {
            driver::drive(&world.sagas, row, &shutdown).await;
        }
        // One step was done, and no lease is in the way of the next process.
        assert_eq!(world.journal(id).await, ["alpha.open started", "alpha.open done"]);
        world.another().run_until_idle().await;
        assert_eq!(world.state(id).await, State::Completed);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_puts_nothing_off() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["gamma"].fail("tell", 3);
        let failing = world.trip().await;
        let question = world.start(&QUESTION, "ann", json!({ "due": later(3_600) })).await;
        world.sagas.run_until_idle().await;
        let other = world.start(&TRIP, "bob", json!({})).await;
        // Somebody has just taken it up, and is gone.
        let database = &world.deps.database;
        let now = world.clock.now();
        log::claim(database, &["trip"], "gone", now.as_micros(), 8).await.unwrap();
        world.clock.set(Timestamp::from_micros(now.as_micros() - 3_600_000_000));
        for id in [failing, other] {
            let (state, seconds) = world.settle(id).await;
            assert_eq!(state, State::Completed);
            assert!(seconds < 10, "{seconds}");
            world.is_whole(&TRIP, id).await;
        }
        // What waits for a moment waits for that.
        assert_eq!(world.state(question).await, State::Waiting);
        world.clock.set(Timestamp::from_micros(later(3_600)));
        world.sagas.run_until_idle().await;
        assert_eq!(world.state(question).await, State::Compensated);
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_while_nothing_ran_puts_nothing_off() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["gamma"].fail("tell", 1);
        let id = world.trip().await;
        world.sagas.run_until_idle().await;
        world.clock.set(Timestamp::from_micros(later(-86_400)));
        world.another().run_until_idle().await;
        assert_eq!(world.state(id).await, State::Completed);
    }
}
