//! P20: under steady load memory and descriptors stay flat, and no secret reaches a log.
//! `cargo xtask soak hour` runs it for an hour; otherwise it is over in seconds, and memory is
//! only reported.

use std::time::{Duration, Instant};

use pillion_tests::system::System;
use serde_json::{Value, json};

/// Without `PILLION_SOAK_HOUR_S`.
const SECONDS: u64 = 8;

/// Below this, what caches take while they fill hides the slope.
const SLOPE_SECONDS_MIN: u64 = 600;

/// Memory that may be added in ten minutes, in KiB.
const GROWTH_KIB_MAX: u64 = 1_024;

/// Descriptors more than at the start: connections of the test's own pools.
const DESCRIPTORS_MORE_MAX: usize = 16;

/// Clients that ask one request after the other.
const CLIENTS: usize = 4;

const PASSWORD: &str = "planted-password-8fd1c0e7";
const WRONG_PASSWORD: &str = "planted-wrong-password-5b2d";
const IN_QUERY: &str = "planted-query-token-77aa31";

struct Process(i32);

impl Process {
    fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a number")
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0)).expect("the process runs").count()
    }
}

/// Everything that a client keeps to itself.
struct Secrets {
    access: String,
    refresh: String,
    client_secret: String,
    app_token: String,
}

async fn plant(system: &System) -> Secrets {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let account = json!({ "username": "steady", "name": "Steady", "password": PASSWORD });
    system.client.post("/pillion/v1/accounts").json(&account).send().await.expect(201);
    let login = json!({ "username": "steady", "password": PASSWORD });
    let session = system.client.post("/pillion/v1/login").json(&login).send().await.expect(200);
    let session = session.json();
    let access = text(&session["access_token"]);
    let app = json!({ "name": "steady" });
    let app = system.client.post("/pillion/v1/apps").bearer(&access).json(&app).send().await;
    let app = app.expect(201).json()["data"].clone();
    let (client_id, client_secret) = (text(&app["client_id"]), text(&app["client_secret"]));
    let form = format!(
        "grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}"
    );
    let kind = "application/x-www-form-urlencoded";
    let token = system.client.post("/oauth2/token").text(kind, &form).send().await.expect(200);
    let app_token = text(&token.json()["access_token"]);
    let refresh = text(&session["refresh_token"]);
    Secrets { access, refresh, client_secret, app_token }
}

/// One round of what clients do, right and wrong.
async fn round(client: &pillion_tests::client::Client, secrets: &Secrets, n: u64) {
    let me = client.get("/2/users/me").bearer(&secrets.access).send().await.expect(200).json();
    let id = me["data"]["id"].as_str().expect("an id");
    let home = format!("/2/users/{id}/timelines/reverse_chronological?max_results=20");
    client.get(&home).bearer(&secrets.access).send().await.expect(200);
    client.get("/2/tweets?ids=1").bearer(&secrets.app_token).send().await.expect(200);
    let queried = format!("/2/users/me?access_token={IN_QUERY}&token={IN_QUERY}");
    client.get(&queried).bearer(&secrets.access).send().await.expect(400);
    if n.is_multiple_of(20) {
        let post = json!({ "text": format!("steady {n}") });
        client.post("/2/tweets").bearer(&secrets.access).json(&post).send().await.expect(201);
        let wrong = json!({ "username": format!("nobody{n}"), "password": WRONG_PASSWORD });
        let refused = client.post("/pillion/v1/login").json(&wrong).send().await;
        assert!(matches!(refused.status.as_u16(), 401 | 429 | 503), "{}", refused.text());
        let malformed = format!("{{\"username\": \"steady\", \"password\": [\"{PASSWORD}\"]}}");
        let answer = client.post("/pillion/v1/login").text("application/json", &malformed);
        let answer = answer.send().await.expect(400);
        assert!(!answer.text().contains(PASSWORD), "{}", answer.text());
        let revoke = format!("client_id=pillion&token={}x", secrets.refresh);
        let kind = "application/x-www-form-urlencoded";
        client.post("/2/oauth2/revoke").text(kind, &revoke).send().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_memory_stays_flat_and_secrets_stay_out_of_logs() {
    let seconds = match std::env::var("PILLION_SOAK_HOUR_S") {
        Ok(seconds) => seconds.parse().expect("a number of seconds"),
        Err(_) => SECONDS,
    };
    let system = System::start_with(|config| {
        config.replace(
            "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]",
            "plugins = [\"logging\", \"auth\"]",
        )
    });
    let secrets = std::sync::Arc::new(plant(&system).await);
    let process = Process(system.pid().as_raw_nonzero().get());
    let (began, length) = (Instant::now(), Duration::from_secs(seconds));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (client, secrets) = (system.client.clone(), std::sync::Arc::clone(&secrets));
            tokio::spawn(async move {
                let mut n = number as u64 * 1_000_000;
                while began.elapsed() < length {
                    n += 1;
                    round(&client, &secrets, n).await;
                }
                n % 1_000_000
            })
        })
        .collect();
    // Caches are full, and every kind of request has been there.
    tokio::time::sleep(length / 4).await;
    let (before, descriptors) = (process.memory_kib(), process.descriptors());
    let measured = Instant::now();
    let mut rounds = 0;
    for client in clients {
        rounds += client.await.expect("no request fails");
    }
    let (after, at_end) = (process.memory_kib(), process.descriptors());
    let grown = after.saturating_sub(before);
    eprintln!(
        "{seconds} s, {rounds} rounds: {before} KiB after a quarter, {after} KiB at the end, \
         {descriptors} descriptors, {at_end} at the end"
    );
    assert!(rounds > 10, "{rounds}");
    assert!(at_end <= descriptors + DESCRIPTORS_MORE_MAX, "{descriptors} then {at_end}");
    if seconds >= SLOPE_SECONDS_MIN {
        let allowed = GROWTH_KIB_MAX * measured.elapsed().as_secs().div_ceil(600);
        assert!(grown <= allowed, "{grown} KiB more, {allowed} allowed");
    }
    // Lines wait in memory for a moment.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let access = std::fs::read_to_string(system.data().join("logs/access.log")).expect("a log");
    assert!(access.lines().count() as u64 > rounds, "the access log has the requests");
    let Secrets { access: token, refresh, client_secret, app_token } = &*secrets;
    for secret in [PASSWORD, WRONG_PASSWORD, IN_QUERY, token, refresh, client_secret, app_token] {
        for (name, log) in [("access log", &access), ("diagnostics", &system.log())] {
            assert!(!log.contains(secret), "`{secret}` is in the {name}");
        }
    }
}
