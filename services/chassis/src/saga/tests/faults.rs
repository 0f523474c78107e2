//! Calls that fail in every way.

use super::*;

/// The steps of a trip.
const CALLED: [&str; 7] = [
    "alpha.open",
    "beta.reserve",
    "gamma.check",
    "gamma.hold",
    "beta.book",
    "alpha.close",
    "gamma.tell",
];

#[tokio::test]
async fn calls_that_do_not_arrive_or_arrive_twice_change_nothing() {
    let acts: [&[Act]; 6] = [
        &[Act::Unreachable],
        &[Act::AnswerLost],
        &[Act::Twice],
        &[Act::Instead(503)],
        &[Act::Instead(429), Act::AnswerLost],
        &[Act::Instead(401), Act::Unreachable, Act::AnswerLost, Act::Twice],
    ];
    for backend in BACKENDS {
        let world = World::new(backend).await;
        for acts in acts {
            for step in CALLED {
                world.script.plan(&format!("PUT {step}"), acts);
                let id = world.trip().await;
                assert_eq!(world.settle(id).await.0, State::Completed, "{step} {acts:?}");
                world.is_whole(&TRIP, id).await;
            }
            // And on the way back.
            world.counters["beta"].refusing.lock().unwrap().push("book");
            for step in ["alpha.open", "beta.reserve", "gamma.hold"] {
                world.script.plan(&format!("DELETE {step}"), acts);
                let id = world.trip().await;
                assert_eq!(world.settle(id).await.0, State::Compensated, "{step} {acts:?}");
                world.is_whole(&TRIP, id).await;
            }
            world.counters["beta"].refusing.lock().unwrap().clear();
        }
    }
}

#[tokio::test]
async fn a_step_that_takes_too_long_is_taken_back_and_refused_when_it_comes_late() {
    for backend in BACKENDS {
        for step in ["alpha.open", "beta.reserve", "gamma.check", "gamma.hold"] {
            let world = World::new(backend).await;
            let lost = vec![Act::Late; 40];
            world.script.plan(&format!("PUT {step}"), &lost);
            let id = world.trip().await;
            let (state, seconds) = world.settle(id).await;
            assert_eq!(state, State::Compensated, "{step}");
            assert!((30..=35).contains(&seconds), "{seconds}");
            let outcome = world.sagas.outcome(id, Duration::ZERO).await.unwrap();
            let Outcome::Compensated(reason) = outcome else { panic!("{outcome:?}") };
            assert_eq!((reason.step.as_str(), reason.status), (step, 408));
            let late = world.script.deliver_late().await;
            assert!(late.len() > 5 && late.iter().all(|status| *status == 409), "{late:?}");
            world.is_whole(&TRIP, id).await;
            assert!(!world.effects(id).await.contains_key(step));
        }
    }
}

#[tokio::test]
async fn a_participant_that_fails_twenty_times_is_asked_again_behind_the_pivot() {
    for backend in BACKENDS {
        for (service, step) in [("beta", "book"), ("alpha", "close"), ("gamma", "tell")] {
            let world = World::new(backend).await;
            world.counters[service].fail(step, 20);
            let id = world.trip().await;
            let (state, seconds) = world.settle(id).await;
            assert_eq!(state, State::Completed);
            assert!((60..=120).contains(&seconds), "{seconds}");
            world.is_whole(&TRIP, id).await;
            // One line when it began to fail, one for the alarm.
            let journal = world.journal(id).await;
            let failing = format!("{service}.{step} failing");
            assert_eq!(journal.iter().filter(|line| **line == failing).count(), 2, "{journal:?}");
        }
    }
}

#[tokio::test]
async fn what_fails_for_long_does_not_fill_the_journal() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["gamma"].fail("tell", 70);
        let id = world.trip().await;
        assert_eq!(world.settle(id).await.0, State::Completed);
        let journal = world.journal(id).await;
        let failing = journal.iter().filter(|line| *line == "gamma.tell failing");
        assert_eq!(failing.count(), 2, "{journal:?}");
    }
}

#[tokio::test]
async fn a_participant_that_fails_twenty_times_before_the_pivot_ends_in_compensation() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["gamma"].fail("hold", 20);
        let id = world.trip().await;
        assert_eq!(world.settle(id).await.0, State::Compensated);
        world.is_whole(&TRIP, id).await;
    }
}

#[tokio::test]
async fn a_compensation_that_keeps_failing_is_parked_until_an_operator_has_it_tried_again() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["beta"].refusing.lock().unwrap().push("book");
        world.counters["beta"].fail("undo reserve", 20);
        let id = world.trip().await;
        for _ in 0..2 {
            assert_eq!(world.settle(id).await.0, State::Parked);
            let counts = world.sagas.counts().await.unwrap();
            let trips = counts.iter().find(|counts| counts.saga == "trip").unwrap();
            assert_eq!((trips.parked, trips.compensating), (1, 0));
            // It waits for somebody.
            world.clock.advance(Duration::from_hours(1));
            world.sagas.run_until_idle().await;
            assert_eq!(world.sagas.retry(id).await.unwrap().state, State::Compensating);
        }
        assert_eq!(world.settle(id).await.0, State::Compensated);
        world.is_whole(&TRIP, id).await;

        // One that cannot be reached does not fail: it is asked until it is there.
        world.script.plan("DELETE beta.reserve", &[Act::Unreachable; 12]);
        world.script.plan("DELETE beta.reserve", &[Act::Instead(503); 12]);
        let id = world.trip().await;
        assert_eq!(world.settle(id).await.0, State::Compensated);
        world.is_whole(&TRIP, id).await;
    }
}

#[tokio::test]
async fn what_stands_in_front_of_a_service_may_veto_before_the_pivot_only() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        // Done, its answer lost, and then refused: it has to be taken back all the same.
        world.script.plan("PUT beta.reserve", &[Act::AnswerLost, Act::Instead(403)]);
        let id = world.trip().await;
        assert_eq!(world.settle(id).await.0, State::Compensated);
        world.is_whole(&TRIP, id).await;
        assert_eq!(world.effects(id).await["beta.reserve"], (1, 1));
        let outcome = world.sagas.outcome(id, Duration::ZERO).await.unwrap();
        let Outcome::Compensated(reason) = outcome else { panic!("{outcome:?}") };
        assert_eq!((reason.status, &reason.problem["title"]), (403, &json!("In front")));

        for step in ["beta.book", "alpha.close", "gamma.tell"] {
            world.script.plan(&format!("PUT {step}"), &[Act::AnswerLost, Act::Instead(403)]);
            let id = world.trip().await;
            assert_eq!(world.settle(id).await.0, State::Completed);
            world.is_whole(&TRIP, id).await;
        }
    }
}

#[tokio::test]
async fn of_a_refusal_no_more_is_kept_than_is_needed() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        // The participant's own words are forgotten when it is told to take the step back.
        world.counters["beta"].refusing.lock().unwrap().push("reserve");
        let id = world.trip().await;
        assert_eq!(world.settle(id).await.0, State::Compensated);
        let kept = query("SELECT state, answer FROM saga_step WHERE step = 'reserve'")
            .fetch_one::<(String, Option<String>)>(&world.databases["beta"].database)
            .await
            .unwrap();
        assert_eq!(kept, ("undone".to_owned(), None));
        world.counters["beta"].refusing.lock().unwrap().clear();

        world.script.plan("PUT beta.reserve", &[Act::Verbosely]);
        let id = world.trip().await;
        assert_eq!(world.settle(id).await.0, State::Compensated);
        let outcome = world.sagas.outcome(id, Duration::ZERO).await.unwrap();
        let Outcome::Compensated(reason) = outcome else { panic!("{outcome:?}") };
        assert_eq!(reason.status, 403);
        assert!(reason.problem.to_string().len() < 1_000);
    }
}

#[tokio::test]
async fn a_refusal_behind_the_pivot_is_parked_and_tried_again_on_order() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["gamma"].refusing.lock().unwrap().push("tell");
        let id = world.trip().await;
        assert_eq!(world.settle(id).await, (State::Parked, 0));
        assert_eq!(
            world.sagas.outcome_at_pivot(id, Duration::ZERO).await.unwrap(),
            Outcome::Pivoted
        );
        world.counters["gamma"].refusing.lock().unwrap().clear();
        assert_eq!(world.sagas.retry(id).await.unwrap().state, State::Running);
        assert_eq!(world.settle(id).await, (State::Completed, 0));
        world.is_whole(&TRIP, id).await;
    }
}

/// The same numbers each time, so that what fails can be looked at.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        // Numerical Recipes' 64-bit generator.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test]
async fn whatever_happens_to_its_calls_and_its_process_every_saga_ends_whole() {
    const ACTS: [Act; 8] = [
        Act::Unreachable,
        Act::AnswerLost,
        Act::Late,
        Act::Twice,
        Act::Instead(503),
        Act::Instead(403),
        Act::CrashBefore,
        Act::CrashAfter,
    ];
    for (backend, runs) in [(crate::Backend::Sqlite, 120), (crate::Backend::Postgres, 25)] {
        let mut world = World::new(backend).await;
        let mut ends = BTreeMap::new();
        for run in 0..runs {
            let mut dice = Dice(run);
            for step in CALLED {
                for method in ["PUT", "DELETE"] {
                    for _ in 0..dice.throw(4) {
                        let act = ACTS[usize::try_from(dice.throw(8)).unwrap()];
                        // Who is in front of a service does not keep it from taking back.
                        let act = match (method, act) {
                            ("DELETE", Act::Instead(403)) => Act::Unreachable,
                            _ => act,
                        };
                        world.script.plan(&format!("{method} {step}"), &[act]);
                    }
                }
            }
            let refused = TRIP.steps[usize::try_from(dice.throw(15)).unwrap() % 7];
            let refusing = (dice.throw(3) == 0 && refused.kind != Kind::Retried).then_some(refused);
            if let Some(step) = refusing {
                world.counters[step.service].refusing.lock().unwrap().push(step.name);
            }
            let id = world.trip().await;
            let begun = world.clock.now();
            let state = loop {
                let sagas = world.sagas.clone();
                // A panic is what a crash is to the rest: nothing more is written.
                if tokio::spawn(async move { sagas.run_until_idle().await }).await.is_err() {
                    world.sagas = world.another();
                }
                let state = world.state(id).await;
                if matches!(state, State::Completed | State::Compensated | State::Parked) {
                    break state;
                }
                world.clock.advance(Duration::from_secs(1));
                let took = world.clock.now().as_secs() - begun.as_secs();
                assert!(took < 600, "run {run} does not end: {:?}", world.journal(id).await);
            };
            world.script.deliver_late().await;
            assert_ne!(state, State::Parked, "run {run}: {:?}", world.journal(id).await);
            world.is_whole(&TRIP, id).await;
            *ends.entry(format!("{state:?}")).or_insert(0) += 1;
            world.script.plan.lock().unwrap().clear();
            for counter in world.counters.values() {
                counter.refusing.lock().unwrap().clear();
            }
        }
        // Both ends were met often enough for the test to mean something.
        assert!(ends.len() == 2 && ends.values().all(|count| *count >= runs / 5), "{ends:?}");
    }
}
