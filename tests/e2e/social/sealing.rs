//! What people say of themselves and to others is sealed wherever events are kept, and found all
//! the same.

use std::fs;

use pillion_chassis::Database;
use pillion_chassis::sql::query;
use pillion_tests::system::System;
use serde_json::json;

use super::account::impatient;
use super::{SERVICES, World, without_limits};

const WORD: &str = "quintessence";

#[tokio::test]
async fn what_is_said_is_in_no_log_and_no_broker() {
    let world = World::of(System::start_with(without_limits));
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let tweet = world.tweet(&ann, &format!("the {WORD} of it")).await;
    let profile = json!({ "description": format!("looks for the {WORD}") });
    world.post(&ann, "/pillion/v1/account/profile", profile).await.expect(200);
    world.settle().await;
    assert_eq!(world.found(&bob, WORD).await, [tweet]);

    // As operators see events.
    let (admin, token) = (world.system.admin(), world.system.admin_token());
    for (service, events) in [("tweets", 1), ("users", 2)] {
        let tail = ["events", "tail", service, "--json", "--admin-url", admin.base()];
        let output = System::bare(&[tail.as_slice(), &["--admin-token", &token]].concat());
        assert!(output.status.success(), "{output:?}");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.matches("sealed").count() >= events, "{shown}");
        assert!(!shown.contains(WORD), "{shown}");
    }
    // As they are on the disk.
    for file in ["broker.sqlite", "broker.sqlite-wal"] {
        assert!(!is_in(&world, file), "{file}");
    }
    // The keys are for services alone.
    let path = format!("/internal/personal-keys?user_ids={}", ann.id);
    world.try_get(&ann, &path).await.expect(404);
    world.rebuilds_the_same().await;
}

/// Whether the word is in a file of the data folder.
fn is_in(world: &World, file: &str) -> bool {
    let bytes = fs::read(world.system.data().join(file)).expect("a file of the data folder");
    bytes.windows(WORD.len()).any(|window| window == WORD.as_bytes())
}

#[tokio::test]
async fn who_is_erased_leaves_no_key_and_no_text() {
    let mut world = World::of(System::start_with(impatient));
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let tweet = world.tweet(&ann, &format!("the {WORD} of it")).await;
    let profile = json!({ "description": format!("looks for the {WORD}") });
    world.post(&ann, "/pillion/v1/account/profile", profile).await.expect(200);
    world.settle().await;
    assert_eq!(world.found(&bob, WORD).await, [tweet]);

    world.give_up(&ann).await;
    world.saga_ends("deactivate_account", &ann.id, "completed").await;
    world.settle().await;
    assert_eq!(world.found(&bob, WORD).await, [] as [String; 0]);
    // The events are there, and tables can still be made of them.
    world.rebuilds_the_same().await;
    world.system.stop();

    let user_id: i64 = ann.id.parse().expect("a number");
    for service in SERVICES {
        let path = world.system.data().join(format!("{service}.sqlite"));
        let database = Database::open(&path).await.expect("a database of ours");
        let keys: Vec<(String, Vec<u8>)> =
            query("SELECT source, key FROM personal_key WHERE user_id = $1 ORDER BY source")
                .bind(user_id)
                .fetch_all(&database)
                .await
                .expect("keys");
        database.close().await;
        let sources: Vec<&str> = keys.iter().map(|(source, _)| source.as_str()).collect();
        let made_or_given: &[&str] = match service {
            "users" => &["", "users"],
            "tweets" | "search" => &["", "tweets"],
            _ => &[""],
        };
        assert_eq!(sources, made_or_given, "{service}");
        assert!(keys.iter().all(|(_, key)| key.iter().all(|byte| *byte == 0)), "{service}");
    }
    for file in ["users.sqlite", "tweets.sqlite", "broker.sqlite"] {
        assert!(!is_in(&world, file), "{file}");
    }
}
