//! Nothing crosses from one request to another in `fresh` mode, and nothing from one plugin to
//! another in any mode: 20,000 requests of alternating users, a million on demand
//! (`cargo xtask soak stash`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pillion_host::{GenerationSpec, InstanceMode};
use pillion_tests::build;
use pillion_tests::client::Client;
use pillion_tests::rig;
use serde_json::json;

use crate::pillion::{CLIENT, Pillion};
use crate::{case, make, pillion};

/// Requests, unless `PILLION_SOAK_STASH` has another number.
const REQUESTS: u64 = 20_000;

/// At once.
const CLIENTS: u64 = 8;

/// Users that take turns.
const USERS: u64 = 7;

/// Every so many requests one goes to those that read through megabytes of memory.
const RESIDUE_EVERY: u64 = 50;

/// What a plugin answers that has seen nothing before.
const NOTHING: &str = "nothing";

/// Two plugins of one component in each mode, and two that look for what others left in memory.
fn generation(folder: &std::path::Path) -> GenerationSpec {
    let mut spec = GenerationSpec::default();
    let stash = |mode| {
        let mut plugin = rig::plugin(
            build::fixture("hostile"),
            json!({ "do": "stash" }),
            &["clock", "kv", "limiter", "metrics", "random", "sink:access"],
        );
        plugin.mode = mode;
        plugin.limits.deadline_ms = 1_000;
        plugin
    };
    for (name, mode) in [
        ("fresh-a", InstanceMode::Fresh),
        ("fresh-b", InstanceMode::Fresh),
        ("warm-a", InstanceMode::Warm),
        ("warm-b", InstanceMode::Warm),
    ] {
        spec.plugins.insert(name.to_owned(), stash(mode));
    }
    for case in case::all().iter().filter(|case| case.name.starts_with("residue-in-")) {
        let made = make::component(case);
        let path = folder.join(format!("{}.wasm", case.name));
        std::fs::write(&path, &made.bytes).expect("a file");
        spec.plugins.insert(case.name.clone(), pillion::spec(case, &made, path));
    }
    let names = spec.plugins.keys();
    spec.chains = names.map(|name| (name.clone(), vec![name.clone()])).collect();
    spec
}

/// What is wrong with what `plugin` answered to a request of `user`: paths begin with the plugin's
/// name, so that what came from another plugin shows.
fn leak(plugin: &str, answer: &str) -> Option<String> {
    let fine = match plugin.split_once('-') {
        Some(("fresh", _)) => answer == NOTHING,
        Some(("warm", _)) => answer == NOTHING || answer.starts_with(&format!("/{plugin}/")),
        _ => answer == "0",
    };
    (!fine).then(|| format!("`{plugin}` answered {answer:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_state_crosses_requests_of_different_users_or_plugins() {
    let _alone = pillion::MACHINE.lock().await;
    let said = std::env::var("PILLION_SOAK_STASH").ok();
    let requests = said.map_or(REQUESTS, |text| text.parse().expect("a whole number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let names: Vec<String> = generation(folder.path()).plugins.keys().cloned().collect();
    let running = Pillion::with(1_000, &names).await;
    running.activate(generation(folder.path())).await.expect("it is loaded");
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (next, client) = (Arc::clone(&next), Client::new(running.base.clone()));
        clients.push(tokio::spawn(async move {
            let mut leaks = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return leaks;
                }
                let plugin = match number {
                    _ if number % RESIDUE_EVERY == 0 => "residue-in-memory",
                    _ if number % RESIDUE_EVERY == 1 => "residue-in-grown-memory",
                    _ => ["fresh-a", "warm-a", "fresh-b", "warm-b"][(number % 4) as usize],
                };
                let user = number % USERS;
                let path = format!("/{plugin}/{plugin}/secret-of-user-{user}-{number}");
                let answer = client
                    .get(&path)
                    .bearer(&format!("secret-of-user-{user}"))
                    .header(CLIENT, &format!("192.0.2.{user}"))
                    .send()
                    .await
                    .expect(200);
                leaks.extend(leak(plugin, &answer.text()));
            }
        }));
    }
    for client in clients {
        assert_eq!(client.await.expect("a client"), Vec::<String>::new());
    }
    println!("{requests} requests of {USERS} users through {} plugins: no leak", names.len());
}
