//! The failure policy holds for every hook, for every kind of failure, and when the host starts.

use std::time::{Duration, Instant};

use pillion_host::{FailurePolicy, InstanceMode, PluginSpec};
use pillion_tests::build;
use pillion_tests::rig;
use serde_json::json;

use crate::case::{Case, Core, Request};
use crate::make;
use crate::pillion::{self, Pillion, class};
use crate::referee::HostUnderTest as _;

const GRANTS: [&str; 6] = ["clock", "kv", "limiter", "metrics", "random", "sink:access"];

/// What the handler answers, in `pillion.rs`.
const PASSED: &str = "the handler\n";

/// A kind of failure, how a plugin is made to fail so, and the classes by which it is counted.
struct Failure {
    name: &'static str,
    classes: &'static [&'static str],
    plugin: fn(&'static str) -> Option<PluginSpec>,
    /// How long after it was loaded it fails.
    after: Duration,
}

const PHASES: [&str; 3] = ["request", "response", "completion"];

fn guest(deed: &str, phase: &str) -> PluginSpec {
    let config = json!({ "do": deed, "phase": phase, "when": "now" });
    rig::plugin(build::fixture("hostile"), config, &GRANTS)
}

fn patient(mut spec: PluginSpec) -> PluginSpec {
    (spec.limits.deadline_ms, spec.limits.load_deadline_ms) = (1_000, 5_000);
    spec
}

/// Every kind of failure that a hook can meet while requests flow.
const FAILURES: [Failure; 8] = [
    Failure {
        name: "trap",
        classes: &["trap"],
        plugin: |phase| Some(patient(guest("trap", phase))),
        after: Duration::ZERO,
    },
    Failure {
        name: "deadline",
        classes: &["deadline"],
        plugin: |phase| Some(guest("loop", phase)),
        after: Duration::ZERO,
    },
    Failure {
        name: "memory limit",
        classes: &["memory"],
        plugin: |phase| Some(patient(guest("memory", phase))),
        after: Duration::ZERO,
    },
    Failure {
        name: "stack",
        classes: &["stack", "trap", "memory"],
        plugin: |phase| Some(patient(guest("stack", phase))),
        after: Duration::ZERO,
    },
    Failure {
        name: "host-call limit",
        classes: &["host-calls"],
        plugin: |phase| Some(patient(guest("host-call-flood", phase))),
        after: Duration::ZERO,
    },
    Failure {
        // Completion decides nothing.
        name: "invalid decision",
        classes: &["decision"],
        plugin: |phase| (phase != "completion").then(|| patient(guest("crlf", phase))),
        after: Duration::ZERO,
    },
    Failure {
        name: "instantiation",
        classes: &["instance"],
        plugin: |phase| Some(fails_after_its_trial(phase, Step::Start)),
        after: TRIAL,
    },
    Failure {
        name: "configuration",
        classes: &["instance"],
        plugin: |phase| Some(fails_after_its_trial(phase, Step::Configure)),
        after: Duration::ZERO,
    },
];

/// How long after its start a host has loaded the plugins below, on a busy machine.
const TRIAL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
enum Step {
    Start,
    Configure,
}

/// A component that can be instantiated until [`TRIAL`] from now and not later, or configured once.
fn fails_after_its_trial(phase: &'static str, step: Step) -> PluginSpec {
    #[expect(clippy::disallowed_methods, reason = "compared with what the guest reads")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let end = (now.expect("after 1970") + TRIAL).as_micros();
    let mut core = Core::default();
    match step {
        Step::Start => {
            CLOCK.clone_into(&mut core.imports);
            core.items = format!(
                "(start $s) (func $s (if (i64.gt_u (call $now) (i64.const {end})) (then unreachable)))"
            );
        }
        Step::Configure => {
            KV.clone_into(&mut core.imports);
            CONFIGURED_ONCE.clone_into(&mut core.configure);
        }
    }
    match phase {
        "request" => "(call $continue)".clone_into(&mut core.request),
        "response" => "(call $continue)".clone_into(&mut core.response),
        _ => "nop".clone_into(&mut core.completion),
    }
    let folder = build::folder("hostile");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{phase}-{}-{end}.wasm", step as u8));
    std::fs::write(&path, make::from_parts("fails-after-its-trial", &core)).expect("a file");
    let mut spec = rig::plugin(path, serde_json::Value::Null, &["clock", "kv"]);
    // An instance for each request: the one that was tried serves the first.
    spec.mode = InstanceMode::Fresh;
    spec.limits.load_deadline_ms = 5_000;
    spec
}

const CLOCK: &str = "(import \"pillion:plugin/clock@{V}\" \"now\" (func $now (result i64)))";

const KV: &str = "
(import \"pillion:plugin/kv@{V}\" \"get\" (func $get (param i32 i32 i32)))
(import \"pillion:plugin/kv@{V}\" \"set\" (func $set (param i32 i32 i32 i32 i32 i64 i32)))";

/// Traps when the key that it sets is there already.
const CONFIGURED_ONCE: &str = "
(call $get (i32.const 1104) (i32.const 7) (i32.const 32768))
(if (i32.load8_u (i32.const 32772)) (then unreachable))
(call $set (i32.const 1104) (i32.const 7) (i32.const 1104) (i32.const 1)
  (i32.const 0) (i64.const 0) (i32.const 32768))
(i32.const 160)";

fn trigger(value: &str) -> Request {
    let mut request = Request::default();
    request.headers.insert("x-hostile".to_owned(), value.to_owned());
    request
}

/// What a client must see of a failure in a phase.
fn expected(phase: &str, policy: FailurePolicy) -> (u16, bool) {
    match (phase, policy) {
        // The client has its answer before completion runs.
        ("completion", _) | (_, FailurePolicy::Open) => (200, true),
        (_, FailurePolicy::Closed) => (503, false),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_holds_for_every_hook_and_every_kind_of_failure() {
    let _alone = pillion::MACHINE.lock().await;
    let mut host = Pillion::start().await;
    let mut wrong = Vec::new();
    for Failure { name, classes, plugin, after } in FAILURES {
        for phase in PHASES {
            for policy in [FailurePolicy::Closed, FailurePolicy::Open] {
                let cell = format!("{name} in {phase}, {policy:?}");
                let Some(mut spec) = plugin(phase) else { continue };
                spec.failure_policy = policy;
                let fresh = spec.mode == InstanceMode::Fresh;
                if let Err(error) = host.run(&cell, spec).await {
                    wrong.push(format!("{cell}: {error}"));
                    continue;
                }
                if fresh {
                    // Uses up the instance that was tried.
                    host.call(&trigger("later"), None).await;
                    tokio::time::sleep(after).await;
                }
                let called = host.call(&trigger("now"), Some(phase)).await;
                let (status, passed) = expected(phase, policy);
                let answer = called.answer.expect("an answer");
                let fits = answer.status.as_u16() == status
                    && (answer.body == PASSED.as_bytes()) == passed
                    && called
                        .failures
                        .iter()
                        .any(|(at, class)| at == phase && classes.contains(&class.as_str()));
                if !fits {
                    wrong.push(format!("{cell}: {} {:?}", answer.status, called.failures));
                }
                if let Err(reason) = host.neighbor().await {
                    wrong.push(format!("{cell}: the neighbor: {reason}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// While the breaker is open every request gets the policy's answer, also one that the plugin
/// would let pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_holds_while_the_breaker_is_open() {
    let _alone = pillion::MACHINE.lock().await;
    let mut host = Pillion::start().await;
    for phase in PHASES {
        for policy in [FailurePolicy::Closed, FailurePolicy::Open] {
            let mut spec = patient(guest("trap", phase));
            spec.failure_policy = policy;
            host.run(&format!("breaker in {phase}, {policy:?}"), spec).await.expect("it is loaded");
            let began = Instant::now();
            let (phase, open) = loop {
                // Each from another client: one alone must not open it.
                let called = host.call(&trigger("now"), Some(phase)).await;
                let reason = |(_, class): &(String, String)| {
                    class == "breaker-open" || class == "quarantined"
                };
                if called.failures.iter().any(reason) {
                    // A closed plugin answers in the first phase that it has.
                    let early = called.failures.iter().any(|(at, _)| at != "completion");
                    let phase = if early { "request" } else { phase };
                    break (phase, called.answer.expect("an answer"));
                }
                assert!(began.elapsed() < Duration::from_secs(30), "it never opens");
            };
            let (status, passed) = expected(phase, policy);
            assert_eq!(open.status.as_u16(), status, "{phase} {policy:?}");
            assert_eq!(open.body == PASSED.as_bytes(), passed, "{phase} {policy:?}");
        }
    }
}

/// Whatever the policy, a plugin that cannot be loaded is not left out of its chain: the host
/// refuses to start, and what ran still runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_policy_starts_without_a_plugin() {
    let _alone = pillion::MACHINE.lock().await;
    let mut host = Pillion::start().await;
    let broken = |deed| patient(guest(deed, "configure"));
    let missing = PluginSpec::new(build::folder("hostile").join("missing.wasm"));
    let plugins: [(&str, PluginSpec, &[&str]); 6] = [
        ("absent", missing, &["unreadable"]),
        ("a trap", broken("trap"), &["configure"]),
        ("no memory", broken("memory"), &["configure"]),
        ("the deadline", guest("loop", "configure"), &["configure"]),
        ("a bad configuration", guest("sing", "request"), &["configuration"]),
        ("instantiation", late(), &["instantiate"]),
    ];
    for (name, mut spec, classes) in plugins {
        for policy in [FailurePolicy::Closed, FailurePolicy::Open] {
            spec.failure_policy = policy;
            let error = host.run(name, spec.clone()).await.expect_err(name);
            assert!(classes.contains(&class(&error).as_str()), "{name} {policy:?}: {error}");
            host.neighbor().await.unwrap_or_else(|error| panic!("{name} {policy:?}: {error}"));
        }
    }
    let mut identity = patient(guest("trap", "request"));
    let grants = GRANTS.iter().map(|name| (*name).to_owned()).chain(["identity".to_owned()]);
    identity.grants = grants.collect::<Vec<_>>().try_into().expect("grants");
    identity.failure_policy = FailurePolicy::Open;
    let error = host.run("identity", identity).await.expect_err("identity never fails open");
    assert_eq!(class(&error), "settings", "{error}");
}

/// Instances of one plugin use up all places of the pool: the next request gets the policy's
/// answer, not an instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_holds_when_there_is_no_room() {
    for policy in [FailurePolicy::Closed, FailurePolicy::Open] {
        // The neighbor has two, and two more of the generation before; the plugin has the one that
        // was tried.
        let mut host = Pillion::with_instances(5).await;
        let mut spec = patient(guest("trap", "request"));
        (spec.mode, spec.failure_policy) = (InstanceMode::Fresh, policy);
        host.run("no room", spec).await.expect("it is loaded");
        let slow = host.hold();
        let began = Instant::now();
        loop {
            let called = host.call(&trigger("later"), None).await;
            let answer = called.answer.expect("an answer");
            if called.failures.iter().any(|(_, class)| class == "no-room") {
                let (status, passed) = expected("request", policy);
                assert_eq!(answer.status.as_u16(), status, "{policy:?}");
                assert_eq!(answer.body == PASSED.as_bytes(), passed, "{policy:?}");
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{policy:?}: there is always room");
        }
        slow.abort();
        host.neighbor().await.expect("the neighbor has its own instances");
    }
}

fn late() -> PluginSpec {
    let case: Case = toml::from_str(
        "name = 'start-traps'\nabout = ''\nexpect = { reaction = 'refused' }\n\
         core.items = '(start $s) (func $s unreachable)'",
    )
    .expect("a case");
    let path = build::folder("hostile").join("start-traps.wasm");
    std::fs::create_dir_all(build::folder("hostile")).expect("a folder");
    std::fs::write(&path, make::component(&case).bytes).expect("a file");
    PluginSpec::new(path)
}
