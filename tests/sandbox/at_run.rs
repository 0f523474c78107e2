//! What a loaded plugin does while requests flow.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pillion_host::{FailurePolicy, InstanceMode, PluginSpec};
use pillion_tests::build;
use pillion_tests::rig::{Rig, plugin, single};
use serde_json::{Value, json};

pub(crate) const GRANTS: [&str; 6] = ["clock", "kv", "limiter", "metrics", "random", "sink:access"];

/// Far above the deadline of 10 ms and what a busy machine adds; a loop that is not interrupted
/// takes for ever.
const INTERRUPTED_WITHIN: Duration = Duration::from_secs(5);

/// What must happen to a request that sets a deed off.
#[derive(Clone, Copy, Debug)]
enum Reaction {
    /// The hook fails for one of these reasons.
    Fails(&'static [&'static str]),
    /// It is within the bounds, or what goes beyond is dropped: the request passes.
    Passes,
}

use Reaction::{Fails, Passes};

/// Every deed of the fixture. `times` is for floods.
const DEEDS: [(&str, u32, Reaction); 34] = [
    ("loop", 0, Fails(&["deadline"])),
    ("host-call-flood", 0, Fails(&["host-calls", "deadline"])),
    ("spin", 1, Passes),
    ("memory", 0, Fails(&["memory"])),
    // The guest's own stack may end before the host's bound.
    ("stack", 0, Fails(&["stack", "trap"])),
    ("trap", 0, Fails(&["trap"])),
    ("exit", 0, Fails(&["trap"])),
    ("log-flood", 1_000, Passes),
    ("stdout-flood", 1_000, Passes),
    ("huge-log-line", 0, Fails(&["limit", "deadline"])),
    ("sink-flood", 1_000, Passes),
    ("kv-flood", 100_000, Passes),
    ("metric-flood", 1_000, Passes),
    ("limiter-flood", 100_000, Fails(&["host-calls", "deadline"])),
    ("random-bomb", 0, Fails(&["trap"])),
    ("crlf", 0, Fails(&["decision"])),
    ("crlf-name", 0, Fails(&["decision"])),
    ("nul", 0, Fails(&["decision"])),
    ("upper-case-header", 0, Fails(&["decision"])),
    ("owned-header", 0, Fails(&["decision"])),
    ("remove-owned-header", 0, Fails(&["decision"])),
    ("pillion-header", 0, Fails(&["decision"])),
    ("many-headers", 0, Fails(&["decision"])),
    ("big-header", 0, Fails(&["decision"])),
    ("foreign-attribute", 0, Fails(&["decision"])),
    ("big-attribute", 0, Fails(&["decision"])),
    ("big-body", 0, Fails(&["decision", "limit", "memory"])),
    ("low-status", 0, Fails(&["decision"])),
    ("informational-status", 0, Fails(&["decision"])),
    ("high-status", 0, Fails(&["decision"])),
    ("crlf-reply", 0, Fails(&["decision"])),
    ("forged-identity", 0, Fails(&["decision"])),
    ("stash", 0, Passes),
    ("ambient", 0, Passes),
];

pub(crate) fn hostile(deed: &str, phase: &str, times: u32) -> PluginSpec {
    let config = json!({ "do": deed, "phase": phase, "when": "now", "times": times });
    let mut spec = plugin(build::fixture("hostile"), config, &GRANTS);
    patient(&mut spec, deed);
    spec
}

/// What is not about time is not cut short, however busy the machine is.
pub(crate) fn patient(spec: &mut PluginSpec, deed: &str) {
    if deed != "loop" {
        (spec.limits.deadline_ms, spec.limits.load_deadline_ms) = (1_000, 5_000);
    }
}

async fn get(rig: &Rig, trigger: &str) -> (u16, String) {
    let answer = rig.client.get("/").header("x-hostile", trigger).send().await;
    (answer.status.as_u16(), answer.text())
}

pub(crate) fn failures(rig: &Rig, phase: &str, reasons: &[&str]) -> u64 {
    let count = |reason: &&str| {
        rig.metric(&format!(
            "pillion_plugin_failures_total{{plugin=\"mine\",phase=\"{phase}\",reason=\"{reason}\"}}"
        ))
    };
    reasons.iter().map(count).sum()
}

#[test]
fn every_deed_of_the_fixture_has_a_reaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let report =
        pillion_tests::rig::host(&folder).inspect(&build::fixture("hostile")).expect("a plugin");
    let schema = report.description.config_schema;
    let mut deeds = BTreeSet::new();
    collect_deeds(&schema["$defs"]["Deed"], &mut deeds);
    let tested: BTreeSet<String> = DEEDS.iter().map(|(deed, ..)| (*deed).to_owned()).collect();
    assert_eq!(deeds, tested);
}

/// Variants of an enum in a JSON Schema: under `enum`, or each as a `const`.
fn collect_deeds(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("const", Value::String(name)) => drop(into.insert(name.clone())),
                    ("enum", Value::Array(names)) => {
                        into.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => collect_deeds(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_deeds(item, into)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_request_phase() {
    for (deed, times, reaction) in DEEDS {
        let rig = Rig::start(single(hostile(deed, "request", times))).await;
        assert_eq!(get(&rig, "later").await.0, 200, "{deed}");
        let began = Instant::now();
        let (status, body) = get(&rig, "now").await;
        assert!(began.elapsed() < INTERRUPTED_WITHIN, "{deed} took {:?}", began.elapsed());
        match reaction {
            Fails(reasons) => {
                assert_eq!(status, 503, "{deed}: {body}");
                assert!(body.contains("`mine`"), "{deed}: {body}");
                assert!(failures(&rig, "request", reasons) > 0, "{deed}:\n{}", rig.host.metrics());
            }
            Passes => assert_eq!(status, 200, "{deed}: {body}"),
        }
        assert_eq!(
            get(&rig, "later").await,
            (200, "the handler\n".to_owned()),
            "{deed}: the next request"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_response_and_completion_phases() {
    for (deed, times, reaction) in DEEDS {
        let Fails(reasons) = reaction else { continue };
        for phase in ["response", "completion"] {
            let folder = tempfile::tempdir().expect("a folder");
            let host = pillion_tests::rig::host(&folder);
            // Not every deed can be done in every phase; the fixture refuses those.
            if host
                .check(&single(hostile(deed, phase, times)))
                .iter()
                .any(|report| report.error.is_some())
            {
                continue;
            }
            let rig = Rig::start(single(hostile(deed, phase, times))).await;
            let (status, body) = get(&rig, "now").await;
            let expected = if phase == "response" { 503 } else { 200 };
            assert_eq!(status, expected, "{deed} in {phase}: {body}");
            // Completion runs after the client has its answer.
            let mut counted = failures(&rig, phase, reasons);
            for _ in 0..500 {
                if counted > 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                counted = failures(&rig, phase, reasons);
            }
            assert!(counted > 0, "{deed} in {phase}:\n{}", rig.host.metrics());
            assert_eq!(get(&rig, "later").await.0, 200, "{deed} in {phase}: the next request");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_plugin_that_fails_lets_the_request_pass() {
    for deed in ["loop", "trap", "crlf", "memory"] {
        for phase in ["request", "response"] {
            let mut spec = hostile(deed, phase, 0);
            spec.failure_policy = FailurePolicy::Open;
            let rig = Rig::start(single(spec)).await;
            assert_eq!(
                get(&rig, "now").await,
                (200, "the handler\n".to_owned()),
                "{deed} in {phase}"
            );
            assert!(rig.metric(&format!("pillion_plugin_decisions_total{{plugin=\"mine\",phase=\"{phase}\",decision=\"failed-open\"}}")) > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_are_bounded_and_counted() {
    let rig = Rig::start(single(hostile("log-flood", "request", 1_000))).await;
    get(&rig, "now").await;
    let dropped = rig.metric("pillion_plugin_log_lines_dropped_total{plugin=\"mine\"}");
    // Two seconds' worth at most, if the flood crosses from one into the next.
    assert!(dropped >= 800, "{dropped}");

    let rig = Rig::start(single(hostile("metric-flood", "request", 1_000))).await;
    get(&rig, "now").await;
    assert_eq!(rig.metric("pillion_plugin_series_dropped_total{plugin=\"mine\"}"), 900);

    let mut spec = hostile("limiter-flood", "request", 2_000);
    spec.limits.limiter_keys = 320;
    let rig = Rig::start(single(spec)).await;
    assert_eq!(get(&rig, "now").await.0, 200, "it is told that there is no room");
    assert!(rig.metric("pillion_plugin_limiter_keys{plugin=\"mine\"}") <= 320);

    let mut spec = hostile("kv-flood", "request", 1_000);
    spec.limits.kv_bytes = 100_000;
    let rig = Rig::start(single(spec)).await;
    assert_eq!(get(&rig, "now").await.0, 200, "it is told that there is no room");
    assert!(rig.metric("pillion_plugin_kv_bytes{plugin=\"mine\"}") <= 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_instance_has_nothing_of_the_request_before() {
    let config = json!({ "do": "stash" });
    let mut spec = plugin(build::fixture("hostile"), config, &GRANTS);
    spec.mode = InstanceMode::Fresh;
    let rig = Rig::start(single(spec)).await;
    for n in 0..200 {
        let answer = rig.client.get(&format!("/secret-{n}")).send().await.expect(200);
        assert_eq!(answer.text(), "nothing");
    }
    assert_eq!(rig.metric("pillion_plugin_instances{plugin=\"mine\"}"), 0, "none is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_finds_no_environment_and_no_arguments() {
    let config = json!({ "do": "ambient" });
    let rig = Rig::start(single(plugin(build::fixture("hostile"), config, &GRANTS))).await;
    let seen = rig.client.get("/").send().await.expect(200).text();
    assert!(
        !seen.contains("PATH") && !seen.contains("cargo") && !seen.contains("target"),
        "{seen}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_granted_can_say_who_the_caller_is() {
    let config = json!({ "do": "forged-identity" });
    let rig = Rig::start(single(plugin(build::fixture("hostile"), config.clone(), &GRANTS))).await;
    rig.client.get("/").send().await.expect(503);
    let grants: Vec<&str> = GRANTS.iter().copied().chain(["identity"]).collect();
    let rig = Rig::start(single(plugin(build::fixture("hostile"), config, &grants))).await;
    rig.client.get("/").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_neighbour_keeps_working() {
    let mut spec = single(hostile("loop", "request", 0));
    let neighbour = plugin(
        build::plugin("ratelimit"),
        json!({ "address": { "burst": 1_000_000, "period_ms": 1_000 } }),
        &["limiter"],
    );
    spec.plugins.insert("neighbour".to_owned(), neighbour);
    spec.chains.insert("app".to_owned(), vec!["neighbour".to_owned(), "mine".to_owned()]);
    let rig = Rig::start(spec).await;
    for n in 0..30 {
        let (status, _) = get(&rig, if n % 3 == 0 { "now" } else { "later" }).await;
        assert!(matches!(status, 200 | 503), "{status}");
    }
    let failed = failures(&rig, "request", &["deadline", "breaker-open"]);
    assert!(failed >= 10, "{failed}");
    assert!(rig.metric("pillion_plugin_calls_total{plugin=\"neighbour\",phase=\"request\"}") >= 30);
    let own: u64 = ["deadline", "trap", "memory", "stack", "decision", "instance"]
        .iter()
        .map(|reason| rig.metric(&format!("pillion_plugin_failures_total{{plugin=\"neighbour\",phase=\"request\",reason=\"{reason}\"}}")))
        .sum();
    assert_eq!(own, 0);
}

/// The lines that the logging plugin wrote, when there are `count` of them.
async fn lines(rig: &Rig, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        rig.host.flush_sinks();
        let text = std::fs::read_to_string(rig.folder.path().join("access.log")).expect("a log");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{count} lines do not come: {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_early_is_logged_too() {
    let rig =
        Rig::start(single(plugin(build::plugin("logging"), json!({}), &["sink:access"]))).await;
    let address = rig.client.base().trim_start_matches("http://").to_owned();
    for _ in 0..3 {
        let mut socket = tokio::net::TcpStream::connect(&address).await.expect("a connection");
        let request = b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut socket, request).await.expect("sent");
        // The handler has begun when its plugins have decided, and answers after a minute.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for line in lines(&rig, 3).await {
        assert_eq!(line["status"], json!(499), "{line}");
        assert_eq!(line["ended_by"], json!("client"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_body_is_complete() {
    let rig =
        Rig::start(single(plugin(build::plugin("logging"), json!({}), &["sink:access"]))).await;
    rig.client.call(http::Method::HEAD, "/").send().await.expect(200);
    rig.client.get("/empty").send().await.expect(204);
    for line in lines(&rig, 2).await {
        assert_eq!(line["ended_by"], json!("complete"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_a_plugin_withholds_is_not_to_be_asked_for_again() {
    for (phase, retry) in [("request", "1"), ("response", "")] {
        let rig = Rig::start(single(hostile("trap", phase, 0))).await;
        let answer = rig.client.get("/").header("x-hostile", "now").send().await.expect(503);
        assert_eq!(answer.header("retry-after"), retry, "{phase}");
    }
}
