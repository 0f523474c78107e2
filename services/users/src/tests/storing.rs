//! What is on disk: nothing lost, nothing twice, and the tables a fold of the log.

use std::sync::Arc;

use pillion_chassis::event_log;
use pillion_chassis::sql::query;
use pillion_chassis::testing;
use pillion_chassis::{Backend, Database, FakeClock, Migrations, UserId};
use serde_json::json;
use sqlx::migrate::Migrator;

use crate::store::{MIGRATIONS, Store};

use super::{Harness, jack, on_each};

#[tokio::test]
async fn a_restart_keeps_everything() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.register(13, &json!({"username": "biz", "name": "Biz"})).await;
        users.end("purge", 13).await;
        let users = users.restart().await;
        assert_eq!(users.get("/2/users/by/username/jack").await.body["data"]["id"], "12");
        assert_eq!(users.events().await.len(), 3);
        assert_eq!(users.register(14, &json!({"username": "Biz", "name": "x"})).await.status, 409);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_one_handle_exactly_one_gets_it() {
    on_each(async |users: Harness| {
        let users = Arc::new(users);
        let mut wanting = tokio::task::JoinSet::new();
        for id in 1..=32 {
            let users = users.clone();
            wanting.spawn(async move {
                users.register(id, &json!({"username": "it", "name": "x"})).await
            });
        }
        let mut statuses: Vec<_> =
            wanting.join_all().await.iter().map(|reply| reply.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200);
        assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
        assert_eq!((users.events().await.len(), users.set_aside().await), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn the_tables_are_a_fold_of_the_log() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.register(13, &json!({"username": "biz_s", "name": "Biz Ö"})).await;
        users.change(12, &json!({"name": "Jack D", "protected": true})).await;
        users.end("deactivate", 13).await;
        users.rename(12, "Jack_D").await.data();
        users.register(14, &json!({"username": "jack", "name": "another"})).await;
        users.end("purge", 13).await;
        users.end("deactivate", 14).await;
        let rebuilt = testing::assert_rebuilds(&users.journal, &[]).await;
        let rows: Vec<_> = rebuilt.tables.iter().map(|table| (table.name, table.rows)).collect();
        assert_eq!((rebuilt.events, rows), (8, vec![("profile_word", 3), ("profile", 3)]));
    })
    .await;
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("users.sqlite")).await.unwrap();
    let own = &MIGRATIONS;
    let up_to =
        |migrator: &Migrator| Migrator::with_migrations(migrator.iter().take(1).cloned().collect());
    let first = Migrations { sqlite: up_to(&own.sqlite), postgres: up_to(&own.postgres) };
    database.migrate(&first).await.unwrap();
    let mut transaction = database.write().await.unwrap();
    query(
        "INSERT INTO profile (user_id, username, username_key, name, created_at, version)
         VALUES (12, 'Jack', 'jack', 'Jack Ödön', 1000000, 1)",
    )
    .execute(&mut transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();

    let store = Store::open({
        database.migrate(&MIGRATIONS).await.unwrap();
        database.clone()
    })
    .await
    .unwrap();
    let words = query("SELECT word FROM profile_word ORDER BY word");
    let words: Vec<(String,)> = words.fetch_all(&database).await.unwrap();
    assert_eq!(words.iter().map(|(word,)| word.as_str()).collect::<Vec<_>>(), ["jack", "ödön"]);
    let profile = store.by_ids(&[UserId::new(12).unwrap()]).await.unwrap().remove(0);
    assert!(!profile.protected);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_server_give_a_handle_once() {
    let url = pillion_test_servers::postgres().await.database().await;
    let mut wanting = tokio::task::JoinSet::new();
    for process in 0..2 {
        let mut test = testing::empty(Backend::Postgres).await;
        test.database = Database::connect(&url).await.unwrap();
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        let users = Arc::new(Harness::start(test, clock).await);
        for n in 0..16 {
            let users = users.clone();
            let id = 100 * process + n;
            wanting.spawn(async move {
                let wanted = json!({"username": "it", "name": "x"});
                if users.register(id, &wanted).await.status == 200 {
                    return 1;
                }
                let other = json!({"username": format!("other_{id}"), "name": "x"});
                users.register(id, &other).await.data();
                0
            });
        }
    }
    assert_eq!(wanting.join_all().await.iter().sum::<u32>(), 1);
    let database = Database::connect(&url).await.unwrap();
    let events = event_log::read_after(&database, crate::NAME, 0, 100).await.unwrap();
    let positions: Vec<_> = events.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=32).collect::<Vec<_>>());
}
