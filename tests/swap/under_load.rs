//! Swaps while requests flow.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pillion_tests::build;
use pillion_tests::client::Client;
use pillion_tests::system::System;
use pillion_tests::token::{claims, header, sign, with};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::usage::Usage;

/// Of each plugin. `PILLION_SOAK_SWAPS` is the number of all swaps of a longer run.
const SWAPS: u64 = 200;

/// Memory may grow until so many swaps are done: caches fill, and the allocator's pools.
const SETTLED_AFTER: u64 = 1_000;

/// By how much it may grow from then on.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Connections come and go; each swap opens and closes some twenty files.
const DESCRIPTORS_MORE_MAX: usize = 16;

/// The rate that a longer run must keep up.
const SOAK_RATE_MIN: u64 = 500;

/// A window of the rate limit, after which its count begins again.
const WINDOW: Duration = Duration::from_mins(15);

/// Requests that the load must have got through before each round of swaps. With a round in
/// 100 ms that is 300 a second; where the machine is slower, the swaps wait, for what matters is
/// that each of them meets requests. The rate is printed.
const REQUESTS_PER_ROUND: u64 = 30;

/// Keep-alive connections that ask as fast as they are answered.
const CONNECTIONS: usize = 6;

/// The configuration with a witness innermost in the gateway's chain, and limits out of the way.
pub(crate) fn with_witness(config: &str) -> String {
    let witness = build::fixture("witness");
    let gateway = "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]";
    assert!(config.contains(gateway));
    config
        .replace(
            gateway,
            "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\", \"witness\"]",
        )
        .replace("\"GET /2/users/me\" = { user = 75 }", "\"GET /2/users/me\" = { user = 1000000 }")
        + &format!(
            "\n[plugins.witness]\ncomponent = {:?}\n[plugins.witness.config]\nstamp = 0\n",
            witness.display().to_string()
        )
}

/// A component with a custom section more: another digest, the same behaviour.
pub(crate) fn another_version(of: &Path, number: u64, folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(of).expect("a component");
    let name = b"version";
    let content = number.to_le_bytes();
    // Section id 0, its size, and the name with its length: all below 128, one LEB128 byte each.
    bytes.extend([0, 16, 7]);
    bytes.extend(name);
    bytes.extend(content);
    let path =
        folder.join(format!("{number}-{}", of.file_name().expect("a file").to_string_lossy()));
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// The rate limit's windows with this many requests for `/2/users/me`.
fn windows(user: u64) -> Value {
    json!({ "windows": { "default": { "user": 300, "app": 300 }, "routes": { "GET /2/users/me": { "user": user } } } })
}

pub(crate) async fn swap(admin: &Client, token: &str, plugin: &str, body: &Value) -> Value {
    let path = format!("/admin/v1/plugins/{plugin}/swap");
    admin.post(&path).bearer(token).json(body).send().await.expect(200).json()
}

/// The configuration of `plugin` as the project's file has it, as JSON.
fn auth_config(strict: bool) -> Value {
    let scopes = |names: &[&str]| json!({ "scopes": names });
    let me = if strict {
        scopes(&["tweet.read", "users.read", "like.read"])
    } else {
        scopes(&["users.read"])
    };
    let everything = json!({
        "issuer": "pillion", "audience": "pillion-api",
        "scopes": ["*"], "users": ["*"], "clients": ["*"],
    });
    json!({
        "keyset": "access-tokens",
        "partners": { "test": everything },
        "routes": {
            "GET /2/users/me": me,
            "GET /2/users": scopes(&["users.read"]),
            "GET /2/users/{id}": scopes(&["users.read"]),
            "GET /.well-known/jwks.json": { "public": true },
        },
    })
}

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    stop: AtomicBool,
}

/// Asks until told to stop; every answer must be 200 and on one generation.
async fn load(
    client: Client,
    token: String,
    seen: Arc<Seen>,
) -> std::collections::BTreeSet<String> {
    let mut stamps = std::collections::BTreeSet::new();
    while !seen.stop.load(Ordering::Relaxed) {
        let answer = client.get("/2/users/me").bearer(&token).send().await.expect(200);
        let witness = answer.header("x-witness").to_owned();
        let (before, after) = witness.split_once(' ').expect("two phases");
        assert_eq!(before, after, "a request on two generations");
        stamps.insert(before.split_once('/').expect("a stamp").0.to_owned());
        seen.requests.fetch_add(1, Ordering::Relaxed);
    }
    stamps
}

/// One request after the other: each takes exactly one from the window, whatever is swapped.
async fn count(client: Client, token: String, seen: Arc<Seen>) -> u64 {
    let mut used = 0;
    let began = Instant::now();
    while !seen.stop.load(Ordering::Relaxed) {
        let answer = client.get("/2/users/me").bearer(&token).send().await.expect(200);
        let number = |name| answer.header(name).parse::<u64>().expect("a number");
        used += 1;
        let used_here = number("x-rate-limit-limit") - number("x-rate-limit-remaining");
        if used_here == 1 && began.elapsed() > WINDOW {
            used = 1;
        }
        assert_eq!(used_here, used, "the window lost its count");
    }
    used
}

/// A token that one version of the auth plugin lets in and the other does not.
async fn scopes(client: Client, token: String, seen: Arc<Seen>) -> [u64; 2] {
    let mut answers = [0, 0];
    while !seen.stop.load(Ordering::Relaxed) {
        match client.get("/2/users/me").bearer(&token).send().await.status.as_u16() {
            200 => answers[0] += 1,
            403 => answers[1] += 1,
            other => panic!("{other}"),
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_six_hundred_swaps_cost_no_request() {
    let mut system = System::start_with(with_witness);
    let (alice, _) = system.register("alice").await;
    let (bob, _) = system.register("bob").await;
    // Good for the longest run.
    let claims = |id: &str| {
        let claims = claims(id);
        let expires = claims["exp"].as_u64().expect("a time") + 24 * 60 * 60;
        with(claims, "exp", json!(expires))
    };
    let strong = |id: &str| {
        sign(&header(), &with(claims(id), "scope", json!("tweet.read users.read like.read")))
    };
    let weak = sign(&header(), &claims(&alice));
    let seen = Arc::new(Seen::default());
    let began = Instant::now();
    let loads: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(load(system.client.clone(), strong(&alice), seen.clone())))
        .collect();
    let counter = tokio::spawn(count(system.client.clone(), strong(&bob), seen.clone()));
    let prober = tokio::spawn(scopes(system.client.clone(), weak, seen.clone()));

    let (admin, token) = (system.admin(), system.admin_token());
    // Four versions of the components, so that code is swapped and not only configuration.
    let versions =
        |name| [0, 1, 2, 3].map(|n| another_version(&build::plugin(name), n, system.folder()));
    let (ratelimits, auths) = (versions("ratelimit"), versions("auth"));
    let soak: Option<u64> =
        std::env::var("PILLION_SOAK_SWAPS").ok().map(|swaps| swaps.parse().expect("a number"));
    let rounds = soak.map_or(SWAPS, |swaps| swaps.div_ceil(3));
    // A shorter run settles within its first half, or it does not.
    let settled_round = (SETTLED_AFTER / 3).min(rounds / 2);
    let mut settled = None;
    let mut slowest = Duration::ZERO;
    for round in 1..=rounds {
        if round == settled_round {
            settled = Some(Usage::of(system.pid()));
        }
        while seen.requests.load(Ordering::Relaxed) < round * REQUESTS_PER_ROUND {
            assert!(!loads.iter().any(JoinHandle::is_finished), "a request failed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let version = usize::try_from(round % 4).expect("small");
        let bodies = [
            (
                "ratelimit",
                json!({ "component": ratelimits[version], "config": windows(1_000_000 - round) }),
            ),
            (
                "auth",
                json!({ "component": auths[version], "config": auth_config(round.is_multiple_of(2)) }),
            ),
            ("witness", json!({ "config": { "stamp": round } })),
        ];
        for (plugin, body) in bodies {
            let began = Instant::now();
            let swapped = swap(&admin, &token, plugin, &body).await;
            slowest = slowest.max(began.elapsed());
            // Within the drain deadline of 5 s nothing is left on the generation before.
            assert_eq!(swapped["data"]["still_draining"], json!(0), "{swapped}");
        }
    }
    let (settled, last) = (settled.expect("a round in the middle"), Usage::of(system.pid()));
    seen.stop.store(true, Ordering::Relaxed);
    let mut stamps = 0;
    for load in loads {
        stamps = stamps.max(load.await.expect("no failed request").len());
    }
    let steady = counter.await.expect("no lost count");
    let [let_in, refused] = prober.await.expect("no other answer");
    let requests = seen.requests.load(Ordering::Relaxed) + steady + let_in + refused;
    let rate = requests / began.elapsed().as_secs().max(1);
    println!(
        "{} swaps during {requests} requests, {rate} a second; {stamps} versions seen by one \
         connection; the slowest swap took {slowest:?}; after swap {}: {settled:?}; at the end: \
         {last:?}",
        rounds * 3,
        settled_round * 3
    );
    let growth = last.resident_bytes.saturating_sub(settled.resident_bytes);
    assert!(growth <= GROWTH_BYTES_MAX, "it grew by {growth} bytes");
    assert!(last.descriptors <= settled.descriptors + DESCRIPTORS_MORE_MAX, "{last:?}");
    assert!(last.threads <= settled.threads, "{settled:?} {last:?}");
    assert!(soak.is_none() || rate >= SOAK_RATE_MIN, "{rate} requests a second");
    assert!(stamps > 10, "the swaps reach requests: {stamps}");
    assert!(let_in > 0 && refused > 0, "both scope tables were in force: {let_in}, {refused}");
    assert!(system.is_alive());
    let metrics = admin.get("/metrics").send().await.text();
    let failed = metrics
        .lines()
        .filter(|line| line.starts_with("pillion_plugin_failures_total") && !line.ends_with(" 0"));
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&str>::new());
    // Old versions' instances are gone: what runs now and the one before, on each worker.
    for line in metrics.lines().filter(|line| line.starts_with("pillion_plugin_instances{")) {
        let count: u64 = line.rsplit(' ').next().expect("a value").parse().expect("a number");
        assert!(count <= 16, "{line}");
    }
}
