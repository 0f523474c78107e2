//! SIGHUP, `POST /admin/v1/reload` and `pillion reload`: the configuration of a process that runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pillion_tests::client::Client;
use pillion_tests::system::System;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Longer than any reload takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the load asks for, with a quota that it never uses up.
const ROUTE: &str = "\"GET /2/users/me\" = { user = ";
const QUOTA: u32 = 1_000_000;

fn config(system: &System) -> PathBuf {
    system.folder().join("pillion.toml")
}

/// Changes the configuration's file as text.
fn edit(system: &System, from: &str, to: &str) {
    let text = std::fs::read_to_string(config(system)).expect("a configuration");
    assert!(text.contains(from), "{from}");
    std::fs::write(config(system), text.replacen(from, to, 1)).expect("a file of ours");
}

fn hang_up(system: &System) {
    kill_process(system.pid(), Signal::HUP).expect("it runs");
}

async fn until(what: &str, system: &System, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}:\n{}", system.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the log has this `times` times.
async fn until_logged(system: &System, text: &str, times: usize) {
    until(text, system, async || system.log().matches(text).count() >= times).await;
}

async fn quota(client: &Client, token: &str) -> String {
    let answer = client.get("/2/users/me").bearer(token).send().await.expect(200);
    answer.header("x-rate-limit-limit").to_owned()
}

/// Asks again and again, each time with success, until it is over; how often.
fn load(system: &System, over: &Arc<AtomicBool>) -> JoinSet<u32> {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (client, over) = (system.client.clone(), Arc::clone(over));
        let token = system.demo("bearer_token");
        clients.spawn(async move {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                client.get("/2/users/me").bearer(&token).send().await.expect(200);
                asked += 1;
            }
            asked
        });
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_sighup_applies_what_it_can_names_the_rest_and_loses_no_request() {
    let from = format!("{ROUTE}75 }}");
    let mut system = System::start_with(|text| {
        assert!(text.contains(&from));
        text.replacen(&from, &format!("{ROUTE}{QUOTA} }}"), 1)
    });
    let (client, token) = (system.client.clone(), system.demo("bearer_token"));
    assert_eq!(quota(&client, &token).await, QUOTA.to_string());
    let over = Arc::new(AtomicBool::new(false));
    let clients = load(&system, &over);

    // A plugin's configuration.
    edit(&system, &format!("{ROUTE}{QUOTA} }}"), &format!("{ROUTE}{} }}", QUOTA + 1));
    hang_up(&system);
    let wanted = (QUOTA + 1).to_string();
    until("the quota changes", &system, async || quota(&client, &token).await == wanted).await;
    until_logged(&system, "configuration reloaded", 1).await;
    assert!(system.log().contains("changed=\"plugins.ratelimit.config\""), "{}", system.log());

    // Sinks, the log's level, a chain, a limit and a grant, all at once; and what needs a restart.
    edit(&system, "path = \"logs/access.log\"", "path = \"logs/moved.log\"");
    edit(&system, "filter = \"info\"", "filter = \"info,pillion=debug\"");
    edit(&system, "\nrequests = 1024", "\nrequests = 900");
    edit(&system, "host_calls = 10000", "host_calls = 9999");
    edit(
        &system,
        "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]",
        "plugins = [\"logging\", \"auth\", \"ratelimit\"]",
    );
    hang_up(&system);
    until_logged(&system, "configuration reloaded", 2).await;
    until_logged(&system, "changed configuration needs a restart keys=\"server.requests\"", 1)
        .await;
    let moved = system.data().join("logs/moved.log");
    until("lines go to the new file", &system, async || {
        std::fs::metadata(&moved).is_ok_and(|file| file.len() > 0)
    })
    .await;
    let admin = system.admin();
    let list = admin.get("/admin/v1/plugins").bearer(&system.admin_token());
    let list = list.send().await.expect(200).json();
    let names: Vec<&Value> =
        list["data"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, [&json!("auth"), &json!("logging"), &json!("ratelimit")]);

    // A log file that was moved is opened again.
    let rotated = system.data().join("logs/moved.log.1");
    std::fs::rename(&moved, &rotated).expect("a file of ours");
    hang_up(&system);
    until_logged(&system, "configuration reloaded", 3).await;
    until("lines go to a new file", &system, async || {
        std::fs::metadata(&moved).is_ok_and(|file| file.len() > 0)
    })
    .await;

    over.store(true, Ordering::Relaxed);
    let asked: u32 = clients.join_all().await.into_iter().sum();
    assert!(asked > 50, "{asked}");
    assert!(system.is_alive());
    system.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_a_wrong_configuration_changes_nothing_and_says_why() {
    let mut system = System::start();
    let admin = system.admin();
    admin.post("/admin/v1/reload").send().await.expect(401);
    let reload = || {
        let data = system.data();
        let data = data.to_str().expect("UTF-8").to_owned();
        let output = System::bare(&["reload", "--data", &data]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (passed, shown, said) = reload();
    assert!(passed && shown.contains("changed: nothing"), "{shown}{said}");
    let generation = || {
        let text = admin.get("/metrics");
        async move {
            let text = text.send().await.expect(200).text();
            text.lines().find(|line| line.starts_with("pillion_generation ")).map(str::to_owned)
        }
    };
    let before = generation().await;
    let original = std::fs::read_to_string(config(&system)).expect("a configuration");
    for (from, to, expected) in [
        ("\nrequests = 1024", "\nrequests = 0", "server.requests: 0 is out of range"),
        ("[log]\n", "[log\n", "not TOML"),
        // What only shows when the plugin is asked: its own configuration.
        ("cache_entries = 1024", "cache_entries = \"many\"", "auth"),
        // And a sink that cannot be opened, beside a change that could be applied.
        ("path = \"logs/access.log\"", "path = \"/proc/none/access.log\"", "cannot open the sink"),
        ("filter = \"info\"", "filter = \"loud\"", "log.filter: `loud` is no level"),
    ] {
        edit(&system, from, to);
        edit(&system, "burst = 300", "burst = 299");
        let logged = system.log().matches("configuration not reloaded").count();
        let (passed, shown, said) = reload();
        assert!(!passed && said.contains(expected), "{to}: {shown}{said}");
        hang_up(&system);
        until_logged(&system, "configuration not reloaded", logged + 2).await;
        assert_eq!(generation().await, before, "{to}");
        std::fs::write(config(&system), &original).expect("a file of ours");
    }
    // The line is named.
    assert!(system.log().contains("pillion.toml:"), "{}", system.log());
    system.client.get("/2/users/me").bearer(&system.demo("bearer_token")).send().await.expect(200);
    // And what is right again is applied.
    edit(&system, "burst = 300", "burst = 299");
    edit(&system, "issuer = \"pillion\"\n", "issuer = \"other\"\n");
    let (passed, shown, said) = reload();
    assert!(passed, "{shown}{said}");
    assert!(shown.contains("changed: plugins.ratelimit-address.config\n"), "{shown}");
    assert!(shown.contains("needs a restart: tokens.issuer"), "{shown}");
    assert_ne!(generation().await, before);
    system.stop();
}
