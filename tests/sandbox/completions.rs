//! Completion hooks run after the response and delay nobody.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use pillion_host::{FlushNotifier, GenerationSpec, RouteTable};
use pillion_tests::build;
use pillion_tests::rig::{Rig, host, plugin, single};
use serde_json::json;
use tower::{Layer as _, ServiceExt as _};

/// How long the hook takes, far above what an answer does.
const HOOK: Duration = Duration::from_secs(2);

fn slow(mode: &str) -> GenerationSpec {
    let config = json!({
        "do": "spin", "phase": mode, "when": "now", "times": u64::try_from(HOOK.as_millis()).expect("2 s"),
    });
    let grants = ["clock", "kv", "limiter", "metrics", "random", "sink:access"];
    let mut spec = plugin(build::fixture("hostile"), config, &grants);
    (spec.limits.deadline_ms, spec.limits.host_calls) = (60_000, 100_000_000);
    single(spec)
}

/// Completion hooks that have run.
fn completed(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| {
        line.starts_with("pillion_plugin_calls_total{")
            && line.contains("plugin=\"mine\"")
            && line.contains("phase=\"completion\"")
    });
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h06_a_client_does_not_wait_for_the_completion_hook() {
    let rig = Rig::start(slow("completion")).await;
    let began = Instant::now();
    let answer = rig.client.get("/").header("x-hostile", "now").send().await.expect(200);
    assert_eq!(answer.text(), "the handler\n");
    assert!(began.elapsed() < HOOK / 2, "{:?}", began.elapsed());
    until("the hook runs all the same", || completed(&rig.host.metrics()) == 1).await;
    assert!(began.elapsed() >= HOOK, "it ran after the answer: {:?}", began.elapsed());
}

/// A hook that has not run yet at the end of a process still runs before the outputs are closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h06_the_end_of_a_process_waits_for_completion_hooks() {
    let spec = plugin(build::plugin("logging"), json!({ "sink": "access" }), &["sink:access"]);
    let rig = Rig::start(single(spec)).await;
    for _ in 0..20 {
        rig.client.get("/").send().await.expect(200);
    }
    let host = rig.host.clone();
    tokio::task::spawn_blocking(move || host.flush_sinks()).await.expect("no panic");
    let log = std::fs::read_to_string(rig.folder.path().join("access.log")).expect("a log");
    assert_eq!(log.lines().count(), 20, "{log}");
}

/// Where the server says when bytes are in the socket, hooks wait for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h06_hooks_run_after_the_flush_and_tell_a_lost_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(&folder);
    let spec = plugin(build::plugin("logging"), json!({ "sink": "access" }), &["sink:access"]);
    host.start(single(spec)).expect("it starts");
    let handler = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"an answer"))))
    });
    let service = host.layer("app", RouteTable::default()).layer(handler);
    let answer = |notifier: &FlushNotifier| {
        let mut request = Request::new(Full::default());
        request.extensions_mut().insert(notifier.watch());
        let service = service.clone();
        async move {
            let response = service.oneshot(request).await.expect("infallible");
            response.into_body().collect().await.expect("a body").to_bytes()
        }
    };
    let notifier = FlushNotifier::default();
    assert_eq!(answer(&notifier).await, "an answer");
    // The body is gone, its bytes are not in the socket: whatever else runs, this hook does not.
    host.flush_sinks();
    assert_eq!(completed(&host.metrics()), 0);
    notifier.flushed();
    until("the flush lets it run", || completed(&host.metrics()) == 1).await;
    assert_eq!(answer(&notifier).await, "an answer");
    drop(notifier);
    until("the end of the connection lets it run", || completed(&host.metrics()) == 2).await;
    host.flush_sinks();
    let log = std::fs::read_to_string(folder.path().join("access.log")).expect("a log");
    let ended: Vec<bool> = log.lines().map(|line| line.contains("\"client\"")).collect();
    assert_eq!(ended, [false, true], "{log}");
}
