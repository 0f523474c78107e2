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
        assert_eq!(log::forget(database, world.clock.now().as_micros()).await.unwrap(), 0);
        world.clock.advance(day * 2);
        assert_eq!(log::forget(database, world.clock.now().as_micros()).await.unwrap(), 1);
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
async fn a_saga_whose_declaration_has_changed_is_parked_and_not_guessed_at() {
    static CHANGED: Saga = Saga {
        name: "question",
        steps: &[Step::compensated("alpha", "other"), Step::pivot("alpha", "agree")],
    };
    for backend in BACKENDS {
        let world = World::new(backend).await;
        let id = world.start(&QUESTION, "ann", json!({})).await;
        let newer = Sagas::new(world.deps.clone(), &[&CHANGED]);
        newer.run_until_idle().await;
        assert_eq!(world.state(id).await, State::Parked);
        let shown = newer.show(id).await.unwrap().unwrap();
        assert!(shown.saga.error.unwrap().contains("another step in this place"));
        assert!(world.effects(id).await.is_empty());
    }
}
