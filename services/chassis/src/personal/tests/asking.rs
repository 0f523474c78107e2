//! While there are keys: who makes them, who is given them, who waits for them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_asks_for_a_key_once_and_needs_nobody_to_rebuild() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let folder = tempfile::tempdir().unwrap();
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        talk.listens(&peers);
        let carrier = broker(folder.path()).await;
        for (round, text) in ["a", "b", "c"].into_iter().enumerate() {
            for user_id in [12, 13] {
                talk.say(user_id, text).await;
            }
            let log = talk.log().await;
            ears.journal.take(&log).await.unwrap();
            assert_eq!(talk.asked(), 1, "{round}");
        }
        talk.say(14, "d").await;
        ears.journal.take(&talk.log().await).await.unwrap();
        assert_eq!(talk.asked(), 2);

        peers.clear();
        carrier.publish("talk", 0, &talk.log().await).await.unwrap();
        ears.rebuilds(&carrier).await;
        talk.rebuilds(&carrier).await;
        let all = [(12, "a"), (13, "a"), (12, "b"), (13, "b"), (12, "c"), (13, "c"), (14, "d")];
        assert_eq!(ears.said().await, said(&all));
        assert_eq!(talk.said().await, said(&all));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_needs_no_personal_data_asks_for_no_key() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let folder = tempfile::tempdir().unwrap();
        let talk = place(backend, "talk", &[], &peers).await;
        let test = migrated(backend, &migrations(&[(1, TABLES)])).await;
        let counts = opened(test, "counts", Sayings { follows: &["talk"], opens: &[] }, &peers);
        let carrier = broker(folder.path()).await;
        talk.say(12, SECRET).await;
        until_even(&talk, &counts, &carrier).await;
        assert_eq!(counts.said().await, said(&[(12, "")]));
        assert_eq!(counts.keys().await, []);
        // Its own it opens all the same.
        counts.say(13, "own").await;
        assert_eq!(counts.said().await, said(&[(12, ""), (13, "own")]));
        counts.rebuilds(&carrier).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_source_is_away_a_consumer_waits_and_then_goes_on() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let folder = tempfile::tempdir().unwrap();
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        let carrier = broker(folder.path()).await;
        talk.say(12, "a").await;
        let error = ears.journal.take(&talk.log().await).await.unwrap_err();
        assert!(error.to_string().contains("talk does not tell its keys"), "{error}");
        assert_eq!(ears.keys().await, []);

        let back = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(ears.said().await, []);
            talk.listens(&peers);
        };
        tokio::join!(back, until_even(&talk, &ears, &carrier));
        assert_eq!(ears.said().await, said(&[(12, "a")]));
        let status = ears.journal.status(None).await.unwrap();
        assert_eq!((status.parked, status.sources[0].attempts), (0, 0));
    }
}

#[tokio::test]
async fn a_parked_event_stays_sealed_and_is_replayed_with_the_key_of_then() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        talk.listens(&peers);
        talk.say(12, SECRET).await;
        talk.say(12, "b").await;
        talk.say(13, "c").await;
        ears.sql("INSERT INTO mood VALUES ('bad')").await;
        let log = talk.log().await;
        while !matches!(ears.journal.take(&log).await, Ok(3)) {}
        peers.clear();
        let parked = ears.journal.parked().await.unwrap();
        assert_eq!(parked.iter().map(|parked| &parked.event).collect::<Vec<_>>(), {
            log.iter().collect::<Vec<_>>()
        });
        ears.sql("DELETE FROM mood").await;
        // One of them is erased meanwhile.
        ears.shred(13).await;
        let replayed = ears.journal.replay().await.unwrap();
        assert_eq!((replayed.taken_up, replayed.failed.len()), (3, 0), "{replayed:?}");
        assert_eq!(ears.said().await, said(&[(12, SECRET), (12, "b"), (13, "")]));
    }
}

#[tokio::test]
async fn an_event_with_a_damaged_box_is_parked() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        talk.listens(&peers);
        talk.say(12, "a").await;
        talk.say(12, "b").await;
        let mut log = talk.log().await;
        // The box of another place.
        log[1].data = log[0].data.clone();
        while !matches!(ears.journal.take(&log).await, Ok(2)) {}
        assert_eq!(ears.said().await, said(&[(12, "a")]));
        let parked = ears.journal.parked().await.unwrap();
        let error = parked[0].error.as_deref().unwrap();
        assert!(error.contains("does not open with the key of the user 12"), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_is_undone_with_its_transaction_is_not_used_again() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let folder = tempfile::tempdir().unwrap();
        let talk = place(backend, "talk", &[], &peers).await;
        let event = Talk::Said { user_id: user(12), text: "undone".to_owned() };
        let mut transaction = talk.database().write().await.unwrap();
        for version in 0..2 {
            talk.journal.record(&mut transaction, "user/12", version, &event, AT).await.unwrap();
        }
        drop(transaction);
        assert_eq!(talk.keys().await, []);
        for text in ["a", "b", "c"] {
            talk.say(12, text).await;
        }
        talk.rebuilds(&broker(folder.path()).await).await;
        assert_eq!(talk.said().await, said(&[(12, "a"), (12, "b"), (12, "c")]));
    }
}

#[tokio::test]
async fn a_source_that_does_not_know_a_key_is_not_taken_for_one_that_erased_it() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        talk.say(12, "a").await;
        let log = talk.log().await;
        let empty = place(backend, "talk", &[], &peers).await;
        empty.listens(&peers);
        let error = ears.journal.take(&log).await.unwrap_err();
        assert!(error.to_string().contains("has no key"), "{error}");
        assert_eq!((ears.said().await, ears.keys().await), (Vec::new(), Vec::new()));
        talk.listens(&peers);
        ears.journal.take(&log).await.unwrap();
        assert_eq!(ears.said().await, said(&[(12, "a")]));
    }
}

#[tokio::test]
async fn only_services_are_told_keys_and_only_of_the_log() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        talk.listens(&peers);
        talk.say(12, "a").await;
        talk.say(13, "b").await;
        talk.erase(13).await;
        ears.journal.take(&talk.log().await).await.unwrap();
        let get = async |place: &Place, caller, ids: &str| {
            let path = format!("/internal/personal-keys?user_ids={ids}");
            send(&place.router, request("GET", &path, caller, "")).await
        };
        let service = || Some(by_service("ears"));
        let reply = get(&talk, service(), "12,13,14").await;
        assert_eq!(reply.headers["cache-control"], "no-store");
        assert_eq!(reply.items().len(), 2, "{}", reply.body);
        assert_eq!(reply.items()[1], json!({ "user_id": "13", "key": null }));
        assert_eq!(reply.items()[0]["key"].as_str().unwrap().len(), 44);
        // What the consumer was given it does not tell.
        let reply = get(&ears, service(), "12").await;
        assert_eq!((reply.status.as_u16(), reply.body), (200, json!({})));

        get(&talk, Some(caller(None, "tweet.read users.read")), "12").await.forbidden();
        get(&talk, Some(caller(Some(12), "tweet.read users.read")), "12").await.forbidden();
        assert_eq!(get(&talk, None, "12").await.status, 401);
        get(&talk, service(), "x").await.invalid("user_ids");
        let many: Vec<String> = (1..=101).map(|id| id.to_string()).collect();
        get(&talk, service(), &many.join(",")).await.invalid("user_ids");
        let reply = send(&talk.router, request("POST", "/internal/personal-keys", None, "")).await;
        assert_eq!(reply.status, 405);
        assert_eq!(reply.headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn what_older_builds_wrote_is_read_as_it_is() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let folder = tempfile::tempdir().unwrap();
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        let event = Talk::Said { user_id: user(12), text: "old".to_owned() };
        let mut transaction = talk.database().write().await.unwrap();
        event_log::append(&mut transaction, "talk", "user/12", 0, &event, AT).await.unwrap();
        transaction.commit().await.unwrap();
        talk.journal.rebuild(&*broker(folder.path()).await).await.unwrap();
        talk.listens(&peers);
        talk.say(12, "new").await;
        ears.journal.take(&talk.log().await).await.unwrap();
        assert_eq!(talk.said().await, said(&[(12, "old"), (12, "new")]));
        assert_eq!(ears.said().await, said(&[(12, "old"), (12, "new")]));
    }
}
