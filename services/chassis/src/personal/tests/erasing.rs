//! Before and after somebody is erased.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_personal_is_sealed_in_log_and_broker_and_goes_with_its_key() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let folder = tempfile::tempdir().unwrap();
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        talk.listens(&peers);
        let carrier = broker(folder.path()).await;
        talk.say(12, SECRET).await;
        until_even(&talk, &ears, &carrier).await;
        for place in [&talk, &ears] {
            assert_eq!(place.said().await, said(&[(12, SECRET)]), "{backend:?}");
            assert_eq!(place.keys().await, [(12, "talk".to_owned(), false)]);
        }
        let logged = talk.log().await;
        let data: Value = serde_json::from_str(&logged[0].data).unwrap();
        assert_eq!(data["sealed"]["subject"], "12");
        assert!(!logged[0].data.contains("remark") && data.get("text").is_none(), "{data}");
        assert!(!is_in(&folder.path().join("broker.sqlite"), b"remark"));
        let plain = ears.journal.plain(&logged).await.unwrap();
        assert!(plain[0].data.contains(SECRET), "{plain:?}");

        // Gone from the tables and shredded, it is nowhere.
        let key = talk.key(12).await;
        assert_eq!(ears.key(12).await, key);
        talk.erase(12).await;
        until_even(&talk, &ears, &carrier).await;
        ears.shred(12).await;
        for place in [&talk, &ears] {
            assert_eq!(place.said().await, []);
            let gone = [(12, String::new(), true), (12, "talk".to_owned(), true)];
            assert_eq!(place.keys().await, gone);
            if backend == Backend::Sqlite {
                let path = Path::new(place.database().place());
                swept(path).await;
                assert!(!is_in(path, b"remark"));
                assert!(!is_in(path, &key));
            }
            place.rebuilds(&carrier).await;
        }
        assert_eq!(talk.log().await[0], logged[0], "the log itself never changes");
        let plain = ears.journal.plain(&logged).await.unwrap();
        assert_eq!(plain[0].data, r#"{"user_id":"12","what":"Said"}"#);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shredded_before_it_came_is_taken_up_without() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let folder = tempfile::tempdir().unwrap();
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        talk.listens(&peers);
        let carrier = broker(folder.path()).await;
        talk.say(12, SECRET).await;
        talk.say(13, "b").await;
        talk.erase(12).await;
        let log = talk.log().await;
        carrier.publish("talk", 0, &log).await.unwrap();
        ears.journal.take(&log[..2]).await.unwrap();
        assert_eq!(ears.said().await, said(&[(12, ""), (13, "b")]));
        ears.rebuilds(&carrier).await;
        until_even(&talk, &ears, &carrier).await;
        assert_eq!(ears.said().await, said(&[(13, "b")]));
        let keys = ears.keys().await;
        assert_eq!(keys, [(12, "talk".to_owned(), true), (13, "talk".to_owned(), false)]);
        ears.rebuilds(&carrier).await;
        talk.rebuilds(&carrier).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_the_same_before_and_after_and_who_is_there_keeps_everything() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let folder = tempfile::tempdir().unwrap();
        let talk = place(backend, "talk", &[], &peers).await;
        let ears = place(backend, "ears", &["talk"], &peers).await;
        talk.listens(&peers);
        let carrier = broker(folder.path()).await;
        for round in 0..20 {
            for user_id in 12..17 {
                talk.say(user_id, &format!("{round} of {user_id}")).await;
            }
            ears.say(99, "own").await;
        }
        until_even(&talk, &ears, &carrier).await;
        for place in [&talk, &ears] {
            place.rebuilds(&carrier).await;
        }
        talk.erase(12).await;
        talk.erase(14).await;
        until_even(&talk, &ears, &carrier).await;
        // The source has shredded, the consumer not yet.
        ears.rebuilds(&carrier).await;
        let before = [talk.said().await, ears.said().await];
        for user_id in [12, 14] {
            ears.shred(user_id).await;
        }
        for (place, before) in [&talk, &ears].into_iter().zip(before) {
            place.rebuilds(&carrier).await;
            assert_eq!(place.said().await, before);
        }
        assert_eq!(talk.said().await.len(), 60);
        assert_eq!(ears.said().await.len(), 80);

        // The broker is wiped: it is filled with the same.
        let folder = tempfile::tempdir().unwrap();
        let carrier = broker(folder.path()).await;
        until(&[&talk], &carrier, async |status| status.published == Some(102)).await;
        ears.rebuilds(&carrier).await;
        // A consumer that begins anew gets what there is.
        let new = place(backend, "new", &["talk"], &peers).await;
        until_even(&talk, &new, &carrier).await;
        assert_eq!(new.said().await, talk.said().await);
        assert!(!is_in(&folder.path().join("broker.sqlite"), b" of 13"));
    }
}

#[tokio::test]
async fn a_backup_has_the_keys_of_its_moment() {
    let peers = Arc::new(InProcessPeers::new());
    let talk = place(Backend::Sqlite, "talk", &[], &peers).await;
    let ears = place(Backend::Sqlite, "ears", &["talk"], &peers).await;
    talk.listens(&peers);
    talk.say(12, "a").await;
    talk.say(13, "b").await;
    ears.journal.take(&talk.log().await).await.unwrap();
    talk.erase(13).await;
    let mut restored = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    for (place, name, follows) in [(&talk, "talk", &[] as &[_]), (&ears, "ears", &["talk"])] {
        let from = place.database().place().into();
        let to = folder.path().join(name);
        std::fs::create_dir(&to).unwrap();
        crate::backup::copy(&[from], &to).await.unwrap();
        let database = Database::open(to.join("test.sqlite")).await.unwrap();
        let projection = Sayings { follows, opens: follows };
        restored.push(Journal::new(name, database, Arc::new(projection)));
    }
    // Of what was erased before it there is nothing in the copy, and of the rest everything.
    talk.erase(12).await;
    peers.clear();
    let carrier = broker(folder.path()).await;
    carrier.publish("talk", 0, &talk.log().await[..2]).await.unwrap();
    for journal in &restored {
        let rebuilt = journal.rebuild(&*carrier).await.unwrap();
        assert!(rebuilt.is_identical(), "{rebuilt:?}");
    }
    let log = talk.log().await;
    let [of_talk, of_ears] = [&restored[0], &restored[1]];
    let plain = of_talk.plain(&log[..2]).await.unwrap();
    assert!(plain[0].data.contains(r#""text":"a""#) && !plain[1].data.contains("text"));
    // The consumer has not heard of it yet.
    let plain = of_ears.plain(&log[..2]).await.unwrap();
    assert!(plain[0].data.contains(r#""text":"a""#) && plain[1].data.contains(r#""text":"b""#));
}

#[tokio::test]
async fn who_is_erased_says_nothing_any_more_wherever_the_key_is_at_hand() {
    for backend in BACKENDS {
        let peers = Arc::new(InProcessPeers::new());
        let talk = place(backend, "talk", &[], &peers).await;
        // Another process of the same service, with its own keys at hand.
        let other = Journal::new(
            "talk",
            talk.database().clone(),
            Arc::new(Sayings { follows: &[], opens: &[] }),
        );
        let say = async |journal: &Journal, version: i64| {
            let event = Talk::Said { user_id: user(12), text: "a".to_owned() };
            let mut transaction = talk.database().write().await.unwrap();
            let recorded = journal.record(&mut transaction, "user/12", version, &event, AT).await?;
            transaction.commit().await.unwrap();
            Ok::<_, AppendError>(recorded)
        };
        say(&talk.journal, 0).await.unwrap();
        say(&other, 1).await.unwrap();
        let error = say(&other, 1).await.unwrap_err();
        assert!(matches!(error, AppendError::Conflict { expected_version: 1, .. }), "{error:?}");
        say(&other, 2).await.unwrap();
        talk.erase(12).await;
        for journal in [&talk.journal, &other] {
            let error = say(journal, 4).await.unwrap_err();
            assert!(matches!(error, AppendError::Erased(user_id) if user_id == user(12)));
            assert_eq!(Problem::from(error).status(), 401);
        }
        // Nor who never said anything.
        talk.shred(13).await;
        talk.shred(13).await;
        let event = Talk::Said { user_id: user(13), text: "a".to_owned() };
        let error = talk.record(13, &event).await.unwrap_err();
        assert!(matches!(error, AppendError::Erased(_)), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_keys_the_shredded_ones_are_nowhere_in_the_file() {
    let peers = Arc::new(InProcessPeers::new());
    let talk = place(Backend::Sqlite, "talk", &[], &peers).await;
    let users: Vec<u64> = (0..400_u64).map(|n| n * 7_919 % 100_003 + 1).collect();
    let mut transaction = talk.database().write().await.unwrap();
    for user_id in &users {
        let event = Talk::Said { user_id: user(*user_id), text: "a".to_owned() };
        let stream = format!("user/{user_id}");
        talk.journal.record(&mut transaction, &stream, 0, &event, AT).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let path = Path::new(talk.database().place());
    let mut keys = Vec::new();
    for user_id in &users {
        keys.push(talk.key(*user_id).await);
    }
    assert!(keys.iter().all(|key| is_in(path, key)));
    let (gone, kept): (Vec<_>, Vec<_>) =
        users.iter().zip(&keys).partition(|(user_id, _)| **user_id % 5 != 0);
    assert!(gone.len() > 250 && kept.len() > 50);
    for (user_id, _) in &gone {
        talk.shred(**user_id).await;
    }
    swept(path).await;
    assert!(kept.iter().all(|(_, key)| is_in(path, key)));
    let left = gone.iter().filter(|(_, key)| is_in(path, key)).count();
    assert_eq!(left, 0, "of {}", gone.len());
}
