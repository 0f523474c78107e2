//! Background workers that panic: each is restarted, the process serves on, and it shows.

use std::time::{Duration, Instant};

use pillion_tests::system::System;
use serde_json::Value;

/// Longer than a restart takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

async fn workers(system: &System) -> Vec<Value> {
    let admin = system.admin();
    let answer = admin.get("/admin/v1/workers").bearer(&system.admin_token());
    let answer = answer.send().await.expect(200).json();
    answer["data"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s16_every_worker_is_restarted_and_its_work_goes_on() {
    let mut system = System::new(str::to_owned, Vec::new());
    let panics = system.folder().join("panics");
    std::fs::create_dir(&panics).expect("a folder in a folder of ours");
    system.once("PILLION_PANIC", panics.to_str().expect("UTF-8"));
    system.launch();
    let all: Vec<String> = workers(&system)
        .await
        .iter()
        .map(|worker| worker["name"].as_str().expect("a name").to_owned())
        .collect();
    for name in [
        "relay-tweets",
        "consumer-timelines-of-tweets",
        "sagas-identity",
        "keys",
        "databases",
        "identity-cleaner",
        "live-tweets",
        "reload",
    ] {
        assert!(all.iter().any(|worker| worker == name), "{name} is not among {all:?}");
    }
    for name in &all {
        std::fs::write(panics.join(name), "").expect("a file of ours");
    }
    // Not ready is only who keeps failing; the body says who is down.
    let began = Instant::now();
    let body = loop {
        let body = system.client.get("/readyz").send().await.expect(200).text();
        if body.contains("worker relay-tweets is down") {
            break body;
        }
        assert!(began.elapsed() < PATIENCE, "{body}\n{}", system.log());
    };
    assert!(body.starts_with("ok\n"), "{body}");
    loop {
        let workers = workers(&system).await;
        let is_back = |worker: &Value| worker["up"] == true && worker["restarts"] == 1;
        if workers.iter().all(is_back) {
            let failed = &workers[0]["last_failure"]["reason"];
            assert!(failed.to_string().contains("panicked: a test had the worker"), "{failed}");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{workers:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = system.admin().get("/metrics").send().await.expect(200).text();
    for line in [
        "pillion_worker_up{worker=\"relay-tweets\"} 1",
        "pillion_worker_restarts_total{worker=\"relay-tweets\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let data = system.data();
    let status = System::bare(&["status", "--data", data.to_str().expect("UTF-8")]);
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.success() && shown.starts_with("ready\n"), "{shown}");
    assert!(
        shown.contains("consumer-timelines-of-tweets") && shown.contains("panicked"),
        "{shown}"
    );
    // What they do is done again: a tweet comes into the author's own home through the relay and a
    // consumer.
    let (token, user_id) = (system.demo("bearer_token"), system.demo("user_id"));
    let tweet = serde_json::json!({ "text": "after the restart of everything" });
    let made = system.client.post("/2/tweets").bearer(&token).json(&tweet).send().await;
    let id = made.expect(201).json()["data"]["id"].as_str().expect("an id").to_owned();
    let home = format!("/2/users/{user_id}/timelines/reverse_chronological");
    let began = Instant::now();
    loop {
        let answer = system.client.get(&home).bearer(&token).send().await.expect(200).text();
        if answer.contains(&id) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{answer}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    system.stop();
}
