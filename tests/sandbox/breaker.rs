//! Circuit breaker, failure budgets of clients, and the fallback that an operator may opt in to.

use std::time::{Duration, Instant};

use pillion_host::{ActivateError, Cause, FailurePolicy, Fallback, GenerationInfo, SwapRequest};
use pillion_tests::build;
use pillion_tests::rig::{CLIENT, Rig, plugin, single};
use serde_json::{Value, json};

use crate::at_run::{GRANTS, failures, hostile};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const HEALTHY: u64 = 10;
const ROUNDS: u64 = 30;

/// Requests of one attacker between two rounds of the healthy clients: more than half of all.
const ATTACKS_PER_ROUND: u64 = 15;

/// The budget of one client, in failures of 1 ms or less.
const BUDGET: u64 = 100;

/// A request of a client with the value of the header that sets the plugin off.
async fn send(rig: &Rig, client: &str, trigger: &str) -> (u16, String) {
    let call = rig.client.get("/").header(CLIENT, client).header("x-hostile", trigger);
    let answer = call.send().await;
    (answer.status.as_u16(), answer.header("retry-after").to_owned())
}

fn healthy(number: u64) -> String {
    format!("198.51.100.{number}")
}

fn decisions(rig: &Rig, kind: &str) -> u64 {
    rig.metric(&format!(
        "pillion_plugin_decisions_total{{plugin=\"mine\",phase=\"request\",decision=\"{kind}\"}}"
    ))
}

/// P19: one client beside ten healthy ones cannot switch a plugin off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h01_one_client_cannot_switch_a_plugin_off() {
    for policy in [FailurePolicy::Closed, FailurePolicy::Open] {
        let mut spec = hostile("trap", "request", 0);
        spec.failure_policy = policy;
        // All of it is in one window, however busy the machine is.
        spec.breaker.window_ms = 600_000;
        let rig = Rig::start(single(spec)).await;
        let (mut by_policy, mut throttled) = (0, 0);
        for round in 0..ROUNDS {
            // From anywhere in its network.
            for number in 0..ATTACKS_PER_ROUND {
                let client = format!("2001:db8:6:6::{:x}", round * ATTACKS_PER_ROUND + number);
                match (policy, send(&rig, &client, "now").await) {
                    (FailurePolicy::Closed, (503, retry)) if retry == "1" => by_policy += 1,
                    (FailurePolicy::Open, (200, _)) => by_policy += 1,
                    (_, (429, retry)) => {
                        let seconds: u64 = retry.parse().expect("retry-after in seconds");
                        assert!((1..=600).contains(&seconds), "{seconds}");
                        throttled += 1;
                    }
                    (_, other) => panic!("{policy:?}: {other:?}"),
                }
            }
            for number in 0..HEALTHY {
                let (status, _) = send(&rig, &healthy(number), "later").await;
                assert_eq!(status, 200, "{policy:?}, round {round}");
            }
        }
        // Each was checked, and not passed because the plugin was off.
        assert_eq!(decisions(&rig, "continue"), HEALTHY * ROUNDS, "{policy:?}");
        assert_eq!(failures(&rig, "request", &["breaker-open"]), 0);
        assert_eq!(failures(&rig, "request", &["trap"]), by_policy);
        assert_eq!(failures(&rig, "request", &["throttled"]), throttled);
        // Each costs 1 ms of the budget at least, and more on a busy machine.
        assert!((1..=BUDGET).contains(&by_policy), "{policy:?}: {by_policy}");
        assert_eq!(by_policy + throttled, ATTACKS_PER_ROUND * ROUNDS, "{policy:?}");
        assert_eq!(rig.metric("pillion_plugin_breaker_open{plugin=\"mine\"}"), 0);
        assert!(rig.metric("pillion_plugin_throttled_clients_total{plugin=\"mine\"}") > 0);
        // What does not set it off is refused too, and never passed unchecked.
        assert_eq!(send(&rig, "2001:db8:6:6::1", "later").await.0, 429, "{policy:?}");
    }
}

/// The same in the phases after the handler: the next request is refused before the handler.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h01_failures_after_the_handler_are_charged_too() {
    for phase in ["response", "completion"] {
        let mut spec = hostile("trap", phase, 0);
        spec.breaker.window_ms = 600_000;
        let rig = Rig::start(single(spec)).await;
        let began = Instant::now();
        while send(&rig, "192.0.2.1", "now").await.0 != 429 {
            assert!(began.elapsed() < PATIENCE, "{phase}: never throttled");
        }
        assert_eq!(send(&rig, "192.0.2.2", "later").await.0, 200, "{phase}");
        assert_eq!(rig.metric("pillion_plugin_breaker_open{plugin=\"mine\"}"), 0, "{phase}");
    }
}

/// Thirteen requests within minutes switched a plugin off; a thousand without an address do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h01_clients_without_an_address_count_as_one() {
    let rig = Rig::start(single(hostile("trap", "request", 0))).await;
    for _ in 0..1_000 {
        let answer = rig.client.get("/").header("x-hostile", "now").send().await;
        assert_eq!(answer.status, 503);
    }
    let answer = rig.client.get("/").header("x-hostile", "later").send().await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_opens_when_most_clients_fail_and_closes_again() {
    let mut spec = hostile("trap", "request", 0);
    spec.breaker.window_ms = 60_000;
    let rig = Rig::start(single(spec)).await;
    let open = || rig.metric("pillion_plugin_breaker_open{plugin=\"mine\"}") == 1;
    for number in 0..20 {
        assert!(!open(), "after {number} failures");
        assert_eq!(send(&rig, &healthy(number % HEALTHY), "now").await.0, 503);
    }
    assert!(open());
    assert_eq!(rig.host.list()[0].state, "breaker-open");
    // Its policy holds for every request, also for those that it would let pass.
    assert_eq!(send(&rig, &healthy(1), "later").await, (503, "1".to_owned()));
    let began = Instant::now();
    let mut number = 0;
    while open() {
        send(&rig, &healthy(number % HEALTHY), "later").await;
        number += 1;
        assert!(began.elapsed() < PATIENCE, "it never closes");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(send(&rig, &healthy(1), "later").await.0, 200);
    for to in ["open", "half-open", "closed"] {
        let name = "pillion_plugin_breaker_transitions_total";
        assert_eq!(rig.metric(&format!("{name}{{plugin=\"mine\",to=\"{to}\"}}")), 1, "{to}");
    }
}

fn config(config: &Value) -> SwapRequest {
    SwapRequest { config: Some(config.clone()), ..SwapRequest::default() }
}

async fn swap(rig: &Rig, change: SwapRequest) -> Result<GenerationInfo, ActivateError> {
    let host = rig.host.clone();
    tokio::task::spawn_blocking(move || host.swap("mine", change)).await.expect("no panic")
}

/// A version that does nothing, and a swap to one that traps when a client says `now`.
async fn swapped(fallback: Fallback, grants: &[&str]) -> Rig {
    let fine = json!({ "do": "trap", "when": "never" });
    let mut spec = plugin(build::fixture("hostile"), fine, grants);
    spec.fallback = fallback;
    let rig = Rig::start(single(spec)).await;
    swap(&rig, config(&json!({ "do": "trap", "when": "now" }))).await.expect("a swap");
    rig
}

fn fell_back(rig: &Rig) -> bool {
    let newest = rig.host.history().into_iter().next();
    newest.is_some_and(|newest| matches!(newest.cause, Cause::Fallback { to: 1, .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h02_a_few_clients_do_not_take_a_swap_back() {
    for fallback in [Fallback::None, Fallback::Previous] {
        let rig = swapped(fallback, &GRANTS).await;
        for number in 0..60 {
            send(&rig, &format!("192.0.2.{}", number % 2), "now").await;
            send(&rig, &healthy(number % HEALTHY), "later").await;
        }
        // The supervisor looks fifty times a second.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!fell_back(&rig), "{fallback:?}");
        assert_eq!(rig.metric("pillion_fallbacks_total{plugin=\"mine\"}"), 0);
        assert_eq!(send(&rig, &healthy(0), "now").await.0, 503, "the new version decides");
    }
}

/// Without the operator's opting in no version is replaced, however many clients fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h02_a_fallback_is_opt_in_and_never_for_identity() {
    let rig = swapped(Fallback::None, &GRANTS).await;
    for number in 0..100 {
        assert_eq!(send(&rig, &healthy(number % HEALTHY), "now").await.0, 503);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!fell_back(&rig));

    let grants: Vec<&str> = GRANTS.iter().copied().chain(["identity"]).collect();
    let mut spec = plugin(build::fixture("hostile"), json!({ "do": "trap" }), &grants);
    spec.fallback = Fallback::Previous;
    let folder = tempfile::tempdir().expect("a folder");
    let refused = pillion_tests::rig::host(&folder).start(single(spec));
    let said = refused.expect_err("an identity plugin").to_string();
    assert!(said.contains("fallback") && said.contains("identity"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h08_an_opted_in_fallback_is_decided_on_the_first_requests() {
    let rig = swapped(Fallback::Previous, &GRANTS).await;
    let began = Instant::now();
    let mut failed = 0;
    // A hundred requests a second, of which those that the new version gets all fail.
    loop {
        if send(&rig, &healthy(failed % HEALTHY), "now").await.0 == 200 {
            break;
        }
        failed += 1;
        assert!(began.elapsed() < PATIENCE, "it never falls back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{failed} requests failed before the version before was back, {:?}", began.elapsed());
    assert!(failed >= 20, "{failed}: on the evidence of too few");
    assert!(fell_back(&rig));
    let counted = || rig.metric("pillion_fallbacks_total{plugin=\"mine\"}");
    while counted() == 0 {
        assert!(began.elapsed() < PATIENCE, "it is not counted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let attempt = &rig.host.attempts()[0];
    assert_eq!((attempt.action.as_str(), attempt.by.as_str()), ("fallback", "host"));
    // The version before is not on trial, and not taken back in its turn.
    for number in 0..60 {
        assert_eq!(send(&rig, &healthy(number % HEALTHY), "now").await.0, 200);
    }
    assert_eq!(counted(), 1);
    // A rollback does not bring back what a fallback has replaced.
    let rolled_back = rig.host.rollback();
    assert!(matches!(rolled_back, Err(ActivateError::NothingToRollBackTo)), "{rolled_back:?}");
}

/// One client's failure is evidence enough when a self-check, on which it has no influence, fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h08_a_version_that_fails_its_self_check_is_replaced_at_once() {
    let fine = json!({ "do": "trap", "when": "never" });
    let mut spec = plugin(build::fixture("hostile"), fine, &GRANTS);
    spec.fallback = Fallback::Previous;
    let rig = Rig::start(single(spec)).await;
    swap(&rig, config(&json!({ "do": "trap" }))).await.expect("there is no self-check before");
    let began = Instant::now();
    let mut failed = 0;
    while send(&rig, "192.0.2.1", "anything").await.0 != 200 {
        failed += 1;
        assert!(began.elapsed() < PATIENCE, "it never falls back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{failed} requests of one client failed, {:?}", began.elapsed());
    assert!(fell_back(&rig));
}

/// A version of which every hook fails is never activated, so no request meets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h08_a_self_check_refuses_a_version_before_traffic_meets_it() {
    for phase in ["request", "response", "completion"] {
        for deed in ["trap", "loop", "crlf"] {
            let fine = json!({ "do": "trap", "when": "never" });
            let mut spec = plugin(build::fixture("hostile"), fine, &GRANTS);
            spec.self_check = true;
            let rig = Rig::start(single(spec)).await;
            if (deed, phase) == ("crlf", "completion") {
                continue;
            }
            let broken = config(&json!({ "do": deed, "phase": phase }));
            let said = swap(&rig, broken).await.expect_err("it fails on every request").to_string();
            assert!(said.contains("self-check") && said.contains(phase), "{deed}: {said}");
            assert_eq!(send(&rig, "192.0.2.1", "now").await.0, 200);
            assert_eq!(failures(&rig, phase, &["trap", "deadline", "decision"]), 0);
        }
    }
}

/// What a self-check keeps, limits and writes is not the plugin's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h08_a_self_check_leaves_nothing_behind() {
    for (deed, times) in [("sink-flood", 5), ("metric-flood", 5), ("kv-flood", 100_000)] {
        let config = json!({ "do": deed, "times": times });
        let mut spec = plugin(build::fixture("hostile"), config, &GRANTS);
        spec.self_check = true;
        spec.limits.kv_bytes = 100_000;
        (spec.limits.deadline_ms, spec.limits.load_deadline_ms) = (1_000, 5_000);
        let rig = Rig::start(single(spec)).await;
        rig.host.flush_sinks();
        let written = std::fs::read_to_string(rig.folder.path().join("access.log"));
        assert_eq!(written.unwrap_or_default(), "", "{deed}");
        assert!(!rig.host.metrics().contains("pillion_custom_flood"), "{deed}");
        assert_eq!(rig.metric("pillion_plugin_kv_bytes{plugin=\"mine\"}"), 0, "{deed}");
        assert_eq!(rig.metric("pillion_plugin_calls_total{plugin=\"mine\"}"), 0, "{deed}");
    }
}
