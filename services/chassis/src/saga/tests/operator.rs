//! What operators see and do.

use super::*;

#[tokio::test]
async fn counts_lists_and_details_tell_where_sagas_stand() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["gamma"].fail("tell", 1_000);
        let trip = world.trip().await;
        let question = world.start(&QUESTION, "ann", json!({ "due": later(5_000) })).await;
        for _ in 0..70 {
            world.sagas.run_until_idle().await;
            world.clock.advance(Duration::from_secs(1));
        }
        let counts = world.sagas.counts().await.unwrap();
        let of = |name: &str| counts.iter().find(|counts| counts.saga == name).unwrap().clone();
        let trips = of("trip");
        assert_eq!((trips.running, trips.failing, trips.waiting), (1, 1, 0));
        assert_eq!((trips.oldest_s, trips.stalled_s), (Some(70), Some(70)));
        let questions = of("question");
        assert_eq!((questions.waiting, questions.running, questions.failing), (1, 0, 0));
        assert_eq!((questions.oldest_s, questions.stalled_s), (Some(70), None));
        let graces = of("grace");
        assert_eq!((graces.running, graces.oldest_s), (0, None));

        let list = world.sagas.list(false).await.unwrap();
        assert_eq!(list.iter().map(|saga| saga.id).collect::<Vec<_>>(), [question, trip]);
        let shown = world.sagas.show(trip).await.unwrap().unwrap();
        assert_eq!(shown.saga.step, "gamma.tell");
        assert!(shown.saga.error.as_deref().unwrap().contains("not yet"), "{shown:?}");
        let now: Vec<_> = shown.steps.iter().filter(|step| step.is_now).collect();
        assert_eq!((now.len(), now[0].step.as_str(), now[0].kind), (1, "gamma.tell", "retried"));
        assert!(world.sagas.show(SagaId::new(1)).await.unwrap().is_none());

        // What gets on is left alone; what fails can be given up.
        let error = world.sagas.abandon(question, "because").await.unwrap_err();
        assert!(matches!(error, OperatorError::GetsOn(_)), "{error:?}");
        assert_eq!(Problem::from(error).status(), 409);
        world.sagas.abandon(trip, "because").await.unwrap();
        assert_eq!(world.state(trip).await, State::Abandoned);
        let outcome = world.sagas.outcome(trip, Duration::ZERO).await.unwrap();
        assert_eq!(outcome, Outcome::Unfinished);
        let error = world.sagas.retry(trip).await.unwrap_err();
        assert!(matches!(error, OperatorError::Finished { .. }), "{error:?}");
        let error = world.sagas.retry(SagaId::new(1)).await.unwrap_err();
        assert_eq!(Problem::from(error).status(), 404);
        let all = world.sagas.list(true).await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(world.sagas.list(false).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn finished_sagas_are_forgotten_after_a_month() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let id = world.trip().await;
        world.sagas.run_until_idle().await;
        let question = world.start(&QUESTION, "ann", json!({ "due": later(86_400 * 80) })).await;
        world.sagas.run_until_idle().await;
        let day = Duration::from_hours(24);
        world.clock.advance(day * 29);
        let database = &world.deps.database;
        assert!(!log::forget(database, world.clock.now().as_micros()).await.unwrap());
        assert!(world.sagas.show(id).await.unwrap().is_some());
        world.clock.advance(day * 2);
        assert!(!log::forget(database, world.clock.now().as_micros()).await.unwrap());
        assert!(world.sagas.show(id).await.unwrap().is_none());
        let (lines,) = query("SELECT count(*) FROM saga_journal WHERE saga_id = $1")
            .bind(id.get())
            .fetch_one::<(i64,)>(database)
            .await
            .unwrap();
        assert_eq!(lines, 0);
        assert_eq!(world.state(question).await, State::Waiting);
    }
}

#[tokio::test]
async fn however_many_have_ended_they_are_forgotten() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let database = &world.deps.database;
        let mut transaction = database.write().await.unwrap();
        let ended = later(-86_400 * 31);
        for n in 0..1_001 {
            let (id, step) = (SagaId::new(n), "gamma.tell".to_owned());
            let row = Row::new(id, "trip", &n.to_string(), step, "{}".to_owned(), ended);
            row.insert(&mut transaction).await.unwrap();
        }
        query("UPDATE saga SET state = 'completed', due_at = NULL")
            .execute(&mut transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let (trigger, shutdown) = crate::Shutdown::new();
        let worker = tokio::spawn(world.sagas.worker().run(shutdown));
        let all_gone = async {
            while !world.sagas.list(true).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all_gone).await.unwrap();
        trigger.request();
        worker.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_given_up_before_its_pivot_is_taken_back() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["gamma"].fail("hold", 1_000);
        let id = world.trip().await;
        world.sagas.run_until_idle().await;
        let given_up = world.sagas.abandon(id, "not worth it").await.unwrap();
        assert_eq!(given_up.state, State::Compensating);
        assert_eq!(given_up.reason.unwrap().problem["detail"], "not worth it");
        assert_eq!(world.settle(id).await, (State::Compensated, 0));
        world.is_whole(&TRIP, id).await;
        assert!(world.journal(id).await.contains(&"gamma.hold abandoned".to_owned()));
    }
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_left_and_the_rest_is_taken_back() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        world.counters["beta"].refusing.lock().unwrap().push("book");
        world.counters["beta"].fail("undo reserve", 1_000);
        let id = world.trip().await;
        assert_eq!(world.settle(id).await.0, State::Parked);
        let given_up = world.sagas.abandon(id, "the room is gone").await.unwrap();
        assert_eq!((given_up.state, given_up.step.as_str()), (State::Compensating, "alpha.open"));
        assert_eq!(world.settle(id).await, (State::Abandoned, 0));
        let effects = world.effects(id).await;
        assert_eq!(effects["alpha.open"], (1, 1));
        assert_eq!(effects["beta.reserve"], (1, 0));
        let shown = world.sagas.show(id).await.unwrap().unwrap();
        assert_eq!(shown.saga.reason.unwrap().left, ["beta.reserve"]);
        let journal = world.journal(id).await;
        let end = ["beta.reserve abandoned", "alpha.open undone", "abandoned"];
        assert!(journal.ends_with(&end.map(str::to_owned)), "{journal:?}");

        // The last one that is left ends it.
        world.counters["alpha"].fail("undo open", 1_000);
        let id = world.trip().await;
        for state in [State::Compensating, State::Abandoned] {
            assert_eq!(world.settle(id).await.0, State::Parked);
            assert_eq!(world.sagas.abandon(id, "all is lost").await.unwrap().state, state);
        }
        let row = log::find(&world.deps.database, id).await.unwrap().unwrap();
        assert_eq!(row.data().unwrap(), json!({}));
    }
}

#[tokio::test]
async fn a_saga_that_is_taken_back_is_taken_back_further_when_it_is_tried_again() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        // Parked on its way forward, and then told to come back.
        let id = world.start(&GRACE, "ann", json!({ "due": "soon" })).await;
        assert_eq!(world.settle(id).await.0, State::Parked);
        world.counters["beta"].fail("undo hide", 2);
        world.signal(&GRACE, "ann", Signal::Compensate("login")).await;
        world.sagas.run_until_idle().await;
        assert_eq!(world.sagas.retry(id).await.unwrap().state, State::Compensating);
        assert_eq!(world.settle(id).await.0, State::Compensated);
        world.is_whole(&GRACE, id).await;
    }
}

/// The question of a later build: a step was put in before, and another one has a better name.
static REVISED: Saga = Saga {
    name: "question",
    steps: &[
        Step::compensated("gamma", "look"),
        Step::compensated("alpha", "inquire").formerly("ask"),
        Step::wait("answer", "due", OnTimer::Compensate),
        Step::pivot("alpha", "agree"),
        Step::retried("beta", "tell"),
    ],
};

#[tokio::test]
async fn a_step_that_another_build_knows_is_left_to_it() {
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let newer = Sagas::new(world.deps.clone(), &[&REVISED]);
        let mut transaction = world.deps.database.write().await.unwrap();
        let data = json!({ "due": later(1_000) });
        let id = newer.start(&mut transaction, &REVISED, "ann", data).await.unwrap();
        transaction.commit().await.unwrap();
        // An older process has it first: it guesses nothing, and tells when nobody takes it on.
        for _ in 0..60 {
            world.sagas.run_until_idle().await;
            world.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(world.state(id).await, State::Running);
        let shown = world.sagas.show(id).await.unwrap().unwrap();
        assert!(shown.saga.error.unwrap().contains("no step gamma.look in this build"));
        let counts = world.sagas.counts().await.unwrap();
        assert!(counts.iter().any(|counts| counts.saga == "question" && counts.failing == 1));
        assert!(world.effects(id).await.is_empty());
        world.sagas.retry(id).await.unwrap();
        newer.run_until_idle().await;
        assert_eq!(world.state(id).await, State::Waiting);
    }
}

#[tokio::test]
async fn a_step_that_has_another_name_now_is_the_same_step() {
    for backend in BACKENDS {
        for is_done in [false, true] {
            let mut world = World::new(backend).await;
            // Its answer is lost, or it waits: either way the older build has done it.
            if !is_done {
                world.script.plan("PUT alpha.ask", &[Act::AnswerLost]);
            }
            let mut ids = Vec::new();
            for key in ["ann", "bob"] {
                ids.push(world.start(&QUESTION, key, json!({ "due": later(1_000) })).await);
                world.sagas.run_until_idle().await;
            }
            world.sagas = Sagas::new(world.deps.clone(), &[&REVISED]);
            world.clock.advance(Duration::from_secs(1));
            world.sagas.run_until_idle().await;
            for id in &ids {
                assert_eq!(world.state(*id).await, State::Waiting);
                assert_eq!(world.effects(*id).await["alpha.ask"], (1, 0));
            }
            world.signal(&REVISED, "ann", Signal::Proceed).await;
            world.signal(&REVISED, "bob", Signal::Compensate("no")).await;
            assert_eq!(world.settle(ids[0]).await, (State::Completed, 0));
            assert_eq!(world.settle(ids[1]).await, (State::Compensated, 0));
            for (id, undone) in [(ids[0], 0), (ids[1], 1)] {
                let effects = world.effects(id).await;
                assert_eq!(effects["alpha.ask"], (1, undone), "{effects:?}");
                assert!(!effects.contains_key("alpha.inquire"), "{effects:?}");
                assert!(!effects.contains_key("gamma.look"), "{effects:?}");
            }
        }
    }
}
