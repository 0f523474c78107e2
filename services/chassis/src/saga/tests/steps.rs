//! The way forward and the way back.

use super::*;

#[tokio::test]
async fn all_steps_are_done_in_their_order() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let id = world.trip().await;
        assert_eq!(world.settle(id).await, (State::Completed, 0));
        world.is_whole(&TRIP, id).await;
        assert_eq!(
            world.calls(),
            [
                "PUT alpha.open",
                "PUT beta.reserve?name=ann+%26+co&nights=2",
                "PUT gamma.check",
                "PUT gamma.hold",
                "PUT beta.book",
                "PUT alpha.close",
                "PUT gamma.tell",
            ]
        );
        assert_eq!(
            world.journal(id).await,
            [
                "alpha.open started",
                "alpha.open done",
                "beta.reserve done",
                "gamma.check done",
                "gamma.hold done",
                "beta.book done",
                "alpha.close done",
                "gamma.tell done",
                "completed",
            ]
        );
        let outcome = world.sagas.outcome(id, Duration::ZERO).await.unwrap();
        assert_eq!(outcome, Outcome::Completed);
        // What `reserve` answered was there for `book`.
        let answer = query("SELECT answer FROM saga_step WHERE step = 'book'")
            .fetch_one::<(String,)>(&world.databases["beta"].database)
            .await
            .unwrap();
        assert_eq!(answer.0, "7");
    }
}

#[tokio::test]
async fn a_refusal_takes_everything_back_in_reverse() {
    for backend in BACKENDS {
        for (index, step) in TRIP.steps.iter().enumerate().take(5) {
            let world = World::new(backend).await;
            world.counters[step.service].refusing.lock().unwrap().push(step.name);
            let id = world.trip().await;
            assert_eq!(world.settle(id).await, (State::Compensated, 0), "{step:?}");
            world.is_whole(&TRIP, id).await;
            let undone: Vec<String> = (world.journal(id).await.iter())
                .filter_map(|line| Some(line.strip_suffix(" undone")?.to_owned()))
                .collect();
            // A plain step that did not come about is told so, too.
            let expected: Vec<String> = (TRIP.steps.iter().enumerate().take(index + 1).rev())
                .filter(|(at, step)| {
                    step.kind == Kind::Compensated || (step.kind == Kind::Plain && *at == index)
                })
                .map(|(_, step)| step.full_name())
                .collect();
            assert_eq!(undone, expected);
            let outcome = world.sagas.outcome_at_pivot(id, Duration::ZERO).await.unwrap();
            let Outcome::Compensated(reason) = outcome else { panic!("{outcome:?}") };
            assert_eq!((reason.step.as_str(), reason.status), (step.full_name().as_str(), 409));
            let problem = Problem::from(reason);
            assert_eq!(problem.status(), 409);
            assert_eq!(problem.document()["detail"], format!("{} is taken", step.name));
            assert_eq!(problem.document()["mood"], "bad");
        }
    }
}

#[tokio::test]
async fn one_of_a_key_is_unfinished_at_a_time() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let id = world.trip().await;
        let other = world.start(&TRIP, "bob", json!({})).await;
        let mut transaction = world.deps.database.write().await.unwrap();
        let refused = world.sagas.start(&mut transaction, &TRIP, "ann", json!({})).await;
        assert!(matches!(refused, Err(SagaError::Running(running)) if running == id));
        assert_eq!(Problem::from(refused.unwrap_err()).status(), 409);
        let running = world.sagas.running(&mut transaction, &TRIP, "ann").await.unwrap().unwrap();
        assert_eq!((running.id, running.state), (id, State::Running));
        assert_eq!((running.step.as_str(), running.past_pivot), ("alpha.open", false));
        assert_eq!(running.data["nights"], 2);
        drop(transaction);
        world.sagas.run_until_idle().await;
        for id in [id, other] {
            assert_eq!(world.state(id).await, State::Completed);
        }
        let again = world.trip().await;
        assert!(again > other);
    }
}

#[tokio::test]
async fn what_was_rolled_back_never_ran_and_what_is_wrong_is_not_started() {
    static FLAWED: Saga = Saga { name: "flawed", steps: &[] };
    static UNDECLARED: Saga = Saga { name: "other", steps: TRIP.steps };
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let mut transaction = world.deps.database.write().await.unwrap();
        let start = async |transaction: &mut Transaction, saga, data| {
            world.sagas.start(transaction, saga, "ann", data).await.unwrap_err()
        };
        for saga in [&FLAWED, &UNDECLARED] {
            let error = start(&mut transaction, saga, json!({})).await;
            assert!(matches!(error, SagaError::Definition { .. }), "{error:?}");
        }
        for data in [json!([]), json!({ "x": "y".repeat(SAGA_DATA_BYTES_MAX) })] {
            let error = start(&mut transaction, &TRIP, data).await;
            assert!(matches!(error, SagaError::Data), "{error:?}");
        }
        let id = world.sagas.start(&mut transaction, &TRIP, "ann", json!({})).await.unwrap();
        drop(transaction);
        world.sagas.run_until_idle().await;
        assert!(world.calls().is_empty());
        let error = world.sagas.outcome(id, Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, SagaError::Unknown(unknown) if unknown == id));
    }
}

#[tokio::test]
async fn whoever_waits_is_told_at_the_pivot_and_at_the_end() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["gamma"].fail("tell", 3);
        let (trigger, shutdown) = crate::Shutdown::new();
        let worker = tokio::spawn(world.sagas.worker().run(shutdown));
        let id = world.trip().await;
        let pivot = world.sagas.outcome_at_pivot(id, Duration::from_secs(20)).await.unwrap();
        assert_eq!(pivot, Outcome::Pivoted);
        let early = world.sagas.outcome(id, Duration::ZERO).await.unwrap();
        assert_eq!(early, Outcome::Unfinished);
        // The worker sees by itself that time has passed; another process looks every now and then.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            world.clock.advance(Duration::from_secs(1));
        }
        let end = world.another().outcome(id, Duration::from_secs(20)).await.unwrap();
        assert_eq!(end, Outcome::Completed);
        trigger.request();
        worker.await.unwrap();
        world.is_whole(&TRIP, id).await;
    }
}

#[tokio::test]
async fn only_services_may_ask_for_steps() {
    let world = World::new(crate::Backend::Sqlite).await;
    let router = world.script.routers.lock().unwrap()["beta"].clone();
    let order = json!({ "saga": "trip", "kind": "compensated", "data": {} }).to_string();
    for method in [Method::PUT, Method::DELETE] {
        for (caller, status) in [
            (None, 401),
            (Some(crate::testing::caller(Some(1), "tweet.write")), 403),
            (Some(by_service("alpha")), 200),
        ] {
            let path = "/internal/sagas/5/steps/reserve?name=ann";
            let request = crate::testing::request(method.as_str(), path, caller, &order);
            let reply = crate::testing::send(&router, request).await;
            assert_eq!(reply.status, status, "{}", reply.body);
        }
    }
    assert_eq!(world.effects(SagaId::new(5)).await["beta.reserve"], (1, 1));
}
