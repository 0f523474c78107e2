//! What an operator sees: health, metrics, the access log, and the commands.

use pillion_tests::build;
use pillion_tests::rig::sum;
use pillion_tests::system::System;
use serde_json::{Value, json};

#[tokio::test]
async fn health_metrics_and_the_admin_token() {
    let system = System::start();
    let token = system.demo("bearer_token");
    system.client.get("/2/users/me").bearer(&token).send().await.expect(200);
    let admin = system.admin();
    for path in ["/healthz", "/readyz"] {
        admin.get(path).send().await.expect(200);
        system.client.get(path).send().await.expect(200);
    }
    let metrics = admin.get("/metrics").send().await.expect(200).text();
    for name in [
        "pillion_plugin_calls_total{plugin=\"auth\",phase=\"request\"}",
        "pillion_plugin_decisions_total{plugin=\"auth\",phase=\"request\",decision=\"modify\"}",
        "pillion_plugin_duration_seconds_bucket{plugin=\"logging\",phase=\"completion\",le=\"+Inf\"}",
    ] {
        assert!(sum(&metrics, name) > 0, "{name} is not in\n{metrics}");
    }
    let failures =
        "pillion_plugin_failures_total{plugin=\"auth\",phase=\"request\",reason=\"trap\"}";
    assert_eq!(sum(&metrics, failures), 0);
    for name in [
        "pillion_plugin_breaker_open{plugin=\"auth\"} 0",
        "pillion_fallbacks_total{plugin=\"auth\"} 0",
        "pillion_plugin_instances{plugin=\"ratelimit\"}",
        "pillion_plugin_memory_bytes{plugin=\"ratelimit\"}",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert!(metrics.lines().any(|line| line.contains("route=\"/2/users/me\"")), "{metrics}");
    assert!(!metrics.contains(&token));
    admin.get("/admin/v1/plugins").send().await.expect(401);
    admin.get("/admin/v1/plugins").bearer("wrong").send().await.expect(401);
    let list = admin
        .get("/admin/v1/plugins")
        .bearer(&system.admin_token())
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(4), "{list}");
}

#[tokio::test]
async fn each_request_leaves_one_line_without_secrets() {
    let mut system = System::start();
    let token = system.demo("bearer_token");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = system
        .client
        .get("/2/users/me?user.fields=created_at")
        .bearer(&token)
        .header("traceparent", traceparent)
        .header("user-agent", "e2e \"quoted\" agent")
        .send()
        .await
        .expect(200);
    system.client.get("/2/users/me").send().await.expect(401);
    system.stop();
    let log =
        std::fs::read_to_string(system.data().join("logs/access.log")).expect("an access log");
    assert!(!log.contains(&token), "a token in the log");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let line = lines
        .iter()
        .find(|line| line["user_agent"] == json!("e2e \"quoted\" agent"))
        .expect("our request's line");
    assert_eq!(line["service"], json!("gateway"));
    assert_eq!(line["method"], json!("GET"));
    assert_eq!(line["route"], json!("/2/users/me"));
    assert_eq!(line["path"], json!("/2/users/me"));
    assert_eq!(line["status"], json!(200));
    assert_eq!(line["bytes"], json!(answer.body.len()));
    assert_eq!(line["trace_id"], json!("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(line["address"], json!("127.0.0.1"));
    assert_eq!(line["request_id"], json!(answer.header("x-request-id")));
    assert!(line["duration_us"].as_u64().expect("a duration") > 0);
    assert!(line["user_id"] == json!(system.demo("user_id")), "{line}");
    let decisions = line["decisions"].as_str().expect("a text");
    assert!(decisions.contains(" auth=modify "), "{line}");
    assert!(decisions.contains(" ratelimit.response=modify"), "the phases are told apart: {line}");
    let refused =
        lines.iter().find(|line| line["status"] == json!(401)).expect("the refused request's line");
    assert!(refused["decisions"].to_string().contains("respond"), "{refused}");
}

#[tokio::test]
async fn the_commands_list_swap_show_history_and_roll_back() {
    let system = System::start();
    let output = |arguments: &[&str]| {
        let output = system.plugin_command(arguments);
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        (output.status.success(), stdout, stderr)
    };
    let (passed, shown, _) = output(&["list"]);
    assert!(passed && shown.contains("ratelimit-address") && shown.contains("auth"), "{shown}");

    let config = system.folder().join("strict.json");
    std::fs::write(
        &config,
        json!({ "windows": { "default": { "user": 7, "app": 7 } } }).to_string(),
    )
    .expect("a file");
    let (passed, shown, said) =
        output(&["swap", "ratelimit", "--config", config.to_str().expect("UTF-8")]);
    assert!(passed, "{shown}{said}");
    let token = system.demo("bearer_token");
    let limit = |token: String| {
        let client = system.client.clone();
        async move {
            client
                .get("/2/users/me")
                .bearer(&token)
                .send()
                .await
                .header("x-rate-limit-limit")
                .to_owned()
        }
    };
    assert_eq!(limit(token.clone()).await, "7");
    let (passed, shown, _) = output(&["history"]);
    let swapped = shown.lines().find(|line| line.contains("swap of ratelimit")).expect("the swap");
    // The component is the same: it is told that the configuration is not.
    assert!(passed && swapped.contains(" ratelimit (config sha256:"), "{shown}");
    let (passed, shown, said) = output(&["rollback"]);
    assert!(passed && shown.contains(" ratelimit (config sha256:"), "{shown}{said}");
    assert_eq!(limit(token.clone()).await, "75");

    // A bad one changes nothing and says why.
    std::fs::write(
        &config,
        json!({ "windows": { "default": { "user": "many", "app": 7 } } }).to_string(),
    )
    .expect("a file");
    let (passed, _, said) =
        output(&["swap", "ratelimit", "--config", config.to_str().expect("UTF-8")]);
    assert!(!passed && said.contains("windows.default.user"), "{said}");
    let (passed, _, said) =
        output(&["swap", "nothing", "--config", config.to_str().expect("UTF-8")]);
    assert!(!passed && said.contains("nothing"), "{said}");
    assert_eq!(limit(token).await, "75");
}

/// Every attempt is in the audit log, with who made it; what changes nothing makes no generation.
#[tokio::test]
async fn h13_history_shows_every_attempt_and_rollback_goes_further_back() {
    let system = System::start();
    let pillion = |arguments: &[&str], by: Option<&str>| {
        let mut command = std::process::Command::new(build::pillion());
        command.arg("plugin").args(arguments).arg("--data").arg(system.data());
        command.env_remove("SUDO_USER").env_remove("PILLION_BY").env("USER", "osuser");
        command.args(by.map(|by| format!("--by={by}")));
        let output = command.output().expect("the program runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let swap = |user: u64, by| {
        let windows = json!({ "windows": { "default": { "user": user, "app": 7 } } }).to_string();
        pillion(&["swap", "ratelimit", "--config", &windows], by)
    };
    assert!(swap(7, Some("ann")).0);
    let (passed, shown, said) = swap(7, None);
    assert!(passed && shown.contains("unchanged: generation 2"), "{shown}{said}");
    assert!(swap(8, None).0);
    let (passed, _, said) = pillion(&["swap", "ratelimit", "--component", "/etc/passwd"], None);
    assert!(!passed && said.contains("not WebAssembly"), "{said}");
    for to in [2, 1] {
        let (passed, shown, said) = pillion(&["rollback"], Some("bob"));
        assert!(passed && shown.contains(&format!("rollback to {to}")), "{shown}{said}");
    }
    let (passed, _, said) = pillion(&["rollback"], None);
    assert!(!passed && said.contains("no previous generation"), "{said}");
    let (passed, shown, said) = pillion(&["rollback", "--to", "3"], None);
    assert!(passed && shown.contains("rollback to 3"), "{shown}{said}");
    let (passed, _, said) = pillion(&["rollback", "--to", "77"], None);
    assert!(!passed && said.contains("generation 77 is not on record"), "{said}");

    let (passed, shown, said) = pillion(&["history"], None);
    assert!(passed, "{said}");
    for parts in [
        &["ann", "swap", "activated", "ratelimit sha256:"][..],
        &["osuser", "swap", "unchanged"],
        &["osuser", "swap", "refused", "not WebAssembly"],
        &["bob", "rollback", "activated"],
        &["osuser", "rollback", "refused", "generation 77 is not on record"],
    ] {
        let found = shown.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} is not in\n{shown}");
    }
    let (passed, shown, said) = pillion(&["history", "--json"], None);
    assert!(passed, "{said}");
    let both: Value = serde_json::from_str(&shown).expect("JSON");
    let count = |name: &str| both[name].as_array().map_or(0, Vec::len);
    // The start is one, too.
    assert_eq!((count("generations"), count("attempts")), (6, 10), "{shown}");
}

/// What a component fails with is one line, with its root cause.
fn failure_of(deed: &str) -> String {
    let output = std::process::Command::new(build::pillion())
        .args(["plugin", "run"])
        .arg(build::fixture("hostile"))
        .args(["--config", &json!({ "do": deed }).to_string()])
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(!said.contains("wasm backtrace"), "{said}");
    lines[0].to_owned()
}

#[test]
fn h15_a_trap_inside_a_host_call_is_one_line_with_its_root_cause() {
    let line = failure_of("random-bomb");
    assert!(line.contains("asked for 4294967295 random bytes"), "{line}");
    let cause = line.find("asked for").unwrap_or(usize::MAX);
    assert!(line.find(" in ").is_none_or(|place| cause < place), "the cause first: {line}");
}

#[test]
fn h19_a_panic_message_is_in_the_line_of_its_failure() {
    let line = failure_of("trap");
    assert!(line.contains("a fixture's panic") && line.contains("a hook failed"), "{line}");
}

#[test]
fn a_plugin_is_tried_on_a_request_without_any_server() {
    let component = build::plugin("ratelimit");
    let output = std::process::Command::new(build::pillion())
        .args(["plugin", "run"])
        .arg(&component)
        .args([
            "--request",
            "GET /2/tweets/20",
            "--config",
            r#"{"address": {"burst": 5, "period_ms": 1000}}"#,
        ])
        .output()
        .expect("the program runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains("x-rate-limit"), "{shown}");
}
