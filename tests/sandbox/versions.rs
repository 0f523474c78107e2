//! What belongs to one version of a plugin, and the audit log of changes.

use pillion_host::{ActivateError, Cause, RollbackRequest, SwapRequest};
use pillion_tests::build;
use pillion_tests::rig::{Rig, host, plugin, single};
use serde_json::{Value, json};

use crate::at_run::{GRANTS, hostile};

fn config(config: Value) -> SwapRequest {
    SwapRequest { config: Some(config), by: Some("ann".to_owned()), ..SwapRequest::default() }
}

async fn swap(rig: &Rig, change: SwapRequest) {
    let host = rig.host.clone();
    let swapped = tokio::task::spawn_blocking(move || host.swap("mine", change)).await;
    swapped.expect("no panic").expect("a swap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h09_series_go_with_the_version_that_made_them() {
    let rig = Rig::start(single(hostile("metric-flood", "request", 1_000))).await;
    rig.client.get("/").header("x-hostile", "now").send().await.expect(200);
    let series = |rig: &Rig| {
        let page = rig.host.metrics();
        page.lines().filter(|line| line.starts_with("pillion_custom_flood{")).count()
    };
    let dropped = |rig: &Rig| rig.metric("pillion_plugin_series_dropped_total{plugin=\"mine\"}");
    assert_eq!((series(&rig), dropped(&rig)), (100, 900));
    let next = json!({ "do": "metric-flood", "times": 3, "when": "now" });
    swap(&rig, config(next)).await;
    assert_eq!((series(&rig), dropped(&rig)), (0, 0));
    rig.client.get("/").header("x-hostile", "now").send().await.expect(200);
    assert_eq!((series(&rig), dropped(&rig)), (3, 0), "the new version has its own budget");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h20_figures_are_per_version_and_go_with_it() {
    let rig = Rig::start(single(hostile("trap", "request", 0))).await;
    for _ in 0..3 {
        rig.client.get("/").header("x-hostile", "now").send().await.expect(503);
    }
    let failures = |rig: &Rig| rig.host.list()[0].phases["request"].failures;
    assert_eq!(failures(&rig), 3);
    let old = rig.host.list()[0].digest;
    let of = |rig: &Rig, digest| {
        rig.metric(&format!("pillion_plugin_failures_total{{plugin=\"mine\",digest=\"{digest}\"}}"))
    };
    assert_eq!(of(&rig, old), 3);
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0..5_u8 {
        // Another component that does the same: with one custom section more.
        let mut bytes = std::fs::read(build::fixture("hostile")).expect("a component");
        bytes.extend([0, 3, 1, b'v', number]);
        let component = folder.path().join("next.wasm");
        std::fs::write(&component, bytes).expect("a file");
        let change = SwapRequest { component: Some(component), ..SwapRequest::default() };
        swap(&rig, change).await;
        assert_eq!(failures(&rig), 0, "those of the running version");
        rig.client.get("/").header("x-hostile", "now").send().await.expect(503);
        assert_eq!(failures(&rig), 1);
    }
    assert_eq!(of(&rig, old), 0, "no longer loaded");
    let page = rig.host.metrics();
    let calls = page.lines().filter(|line| line.starts_with("pillion_plugin_calls_total{"));
    // The running one and the one before, which is kept warm, in three phases.
    assert!(calls.count() <= 6, "{page}");
}

#[test]
fn h13_every_attempt_is_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = || {
        single(plugin(build::fixture("hostile"), json!({ "do": "trap", "when": "now" }), &GRANTS))
    };
    let digest = pillion_host::Digest::of(&std::fs::read(build::fixture("hostile")).expect("it"));
    {
        let host = host(&folder);
        host.start(spec()).expect("it starts");
        let bad = host.swap("mine", config(json!({ "do": "dance" })));
        assert!(bad.is_err(), "{bad:?}");
        let missing = SwapRequest { component: Some("missing.wasm".into()), ..config(json!({})) };
        assert!(host.swap("mine", missing).is_err());
        assert!(host.swap("other", config(json!({}))).is_err());
        let same = host.swap("mine", config(json!({ "do": "trap", "when": "now" })));
        let same = same.expect("what runs already");
        assert!(same.unchanged && same.generation == 1, "{same:?}");
        assert_eq!(host.history().len(), 1, "no generation was made");
        let swapped = host.swap("mine", config(json!({ "do": "exit", "when": "now" })));
        assert_eq!(swapped.expect("it swaps").generation, 2);
    }
    // After a restart, too.
    let attempts = host(&folder).attempts();
    let outcomes: Vec<_> = (attempts.iter().rev())
        .map(|it| (it.by.as_str(), it.action.as_str(), it.outcome.as_str(), it.generation))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("host", "configuration", "activated", Some(1)),
            ("ann", "swap", "refused", None),
            ("ann", "swap", "refused", None),
            ("ann", "swap", "refused", None),
            ("ann", "swap", "unchanged", None),
            ("ann", "swap", "activated", Some(2)),
        ]
    );
    let swapped = &attempts[0].plugins["mine"];
    assert_eq!((swapped.from, swapped.to), (Some(digest), Some(digest)));
    assert_ne!(swapped.config_from, swapped.config_to);
    assert_eq!(attempts[0].from, Some(1));
    let reasons: Vec<_> = attempts.iter().filter_map(|it| it.reason.as_deref()).collect();
    assert!(reasons[0].contains("no plugin `other`"), "{reasons:?}");
    assert!(reasons[1].contains("missing.wasm"), "{reasons:?}");
    assert!(reasons[2].contains("`do`"), "{reasons:?}");
}

#[test]
fn h13_rollbacks_go_further_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(&folder);
    let deed = |deed: &str| json!({ "do": deed, "when": "now" });
    host.start(single(plugin(build::fixture("hostile"), deed("trap"), &GRANTS))).expect("1");
    for name in ["loop", "exit", "memory"] {
        host.swap("mine", config(deed(name))).expect("2 to 4");
    }
    // What changes nothing is nothing to go back to.
    assert!(host.swap("mine", config(deed("memory"))).expect("the same").unchanged);
    for to in [3, 2, 1] {
        assert_eq!(host.rollback().expect("an earlier one").cause, Cause::Rollback { to });
    }
    let end = host.rollback();
    assert!(matches!(end, Err(ActivateError::NothingToRollBackTo)), "{end:?}");
    let to = |to| host.roll_back(&RollbackRequest { to: Some(to), by: Some("bob".to_owned()) });
    assert_eq!(to(4).expect("the newest version").cause, Cause::Rollback { to: 4 });
    assert!(matches!(to(99), Err(ActivateError::NoSuchGeneration(99))));
    assert_eq!(host.rollback().expect("before that").cause, Cause::Rollback { to: 3 });
    assert!(to(3).expect("it runs").unchanged);
    let attempts = host.attempts();
    assert_eq!((attempts[0].by.as_str(), attempts[0].outcome.as_str()), ("bob", "unchanged"));
}
