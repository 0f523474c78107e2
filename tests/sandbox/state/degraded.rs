//! With its shared limiter away, a host limits by itself: the same quotas, no waiting, no failed
//! request, the headers on every response; and when it is back, one limit holds over all hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;

use super::*;

/// Requests at once that an address may make; none comes back while a test runs.
const BURST: u32 = 60;

/// What one call may wait; and what takes less, also on a busy machine, has not waited.
const CALL_MAX: Duration = Duration::from_secs(2);
const AT_ONCE: Duration = Duration::from_secs(1);

fn limited(burst: u32) -> GenerationSpec {
    let config = json!({ "address": { "burst": burst, "period_ms": 4_000_000_000_u32 } });
    let mut spec = single(plugin(build::plugin("ratelimit"), config, &["limiter"]));
    if let Some(plugin) = spec.plugins.get_mut("mine") {
        plugin.limits.wait_ms = 20_000;
    }
    spec
}

fn on(redis: &Redis) -> impl FnOnce(&mut HostOptions) + use<> {
    let backend = StateBackend::Redis(redis.url());
    move |options| {
        options.limiter = backend;
        options.state_call_max = CALL_MAX;
    }
}

fn line(name: &str, redis: &Redis) -> String {
    format!("{name}{{backend=\"redis\",place=\"127.0.0.1:{}/0\"}}", redis.port())
}

impl Node {
    /// Asks until the metric has this value.
    async fn until_metric(&self, line: &str, value: u64) {
        let began = Instant::now();
        while self.metric(line) != value {
            assert!(began.elapsed() < PATIENCE, "{line}: {}", self.host.metrics());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends this many requests; how many were admitted. Each answer has the headers.
    async fn admitted(&self, requests: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..requests {
            let answer = self.client.get("/").send().await;
            match answer.status.as_u16() {
                200 => admitted += 1,
                status => assert_eq!(status, 429, "{}", answer.text()),
            }
            for name in ["limit", "remaining", "reset"] {
                let value = answer.header(&format!("x-rate-limit-{name}")).parse::<u64>();
                assert!(value.is_ok(), "{name} is missing: {}", answer.text());
            }
        }
        admitted
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_host_keeps_the_quota_by_itself_and_all_together_again_afterwards() {
    let redis = Redis::start().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::start(limited(BURST), on(&redis)).await);
    }
    let [gauge, takes] = ["pillion_limiter_degraded", "pillion_limiter_degraded_takes_total"]
        .map(|name| line(name, &redis));
    for node in &nodes {
        assert!(node.host.metrics().contains(&format!("{gauge} 0")), "{}", node.host.metrics());
    }
    let mut together = 0;
    for node in &nodes {
        together += node.admitted(BURST / 2).await;
    }
    assert_eq!(together, BURST, "one limit over all hosts");

    redis.stop().await;
    for node in &nodes {
        assert_eq!(node.admitted(2 * BURST).await, BURST, "a limit of each host's own");
        assert_eq!(node.metric(&takes), u64::from(2 * BURST));
        node.until_metric(&gauge, 1).await;
    }

    redis.start_again().await;
    for node in &nodes {
        node.until_metric(&gauge, 0).await;
    }
    // It has lost what it held, so the limit begins anew: once for all of them.
    let mut together = 0;
    for node in &nodes {
        together += node.admitted(BURST).await;
        assert_eq!(node.metric(&takes), u64::from(2 * BURST), "no more");
    }
    assert_eq!(together, BURST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_fails_or_waits_while_redis_comes_and_goes_under_load() {
    let redis = Redis::start().await;
    let node = Arc::new(Node::start(limited(1_000_000), on(&redis)).await);
    let gauge = line("pillion_limiter_degraded", &redis);
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        let (node, over) = (Arc::clone(&node), Arc::clone(&over));
        clients.spawn(async move {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(node.admitted(10).await, 10, "the quota is never used up");
                sent += 10;
            }
            sent
        });
    }
    for halts in [false, true, false] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if halts {
            redis.pause().await;
        } else {
            redis.stop().await;
        }
        node.until_metric(&gauge, 1).await;
        // From here on nobody waits for it.
        let mut slowest = Duration::ZERO;
        for _ in 0..100 {
            let began = Instant::now();
            node.admitted(1).await;
            slowest = slowest.max(began.elapsed());
        }
        assert!(slowest < AT_ONCE, "{slowest:?}");
        if halts {
            redis.resume().await;
        } else {
            redis.start_again().await;
        }
        node.until_metric(&gauge, 0).await;
    }
    over.store(true, Ordering::Relaxed);
    let sent: u32 = clients.join_all().await.into_iter().sum();
    assert!(sent > 100, "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_waits_no_longer_than_it_may_before_the_host_judges_itself() {
    let redis = Redis::start().await;
    let mut spec = limited(BURST);
    if let Some(plugin) = spec.plugins.get_mut("mine") {
        plugin.limits.wait_ms = 100;
    }
    let node = Node::start(spec, |options| {
        on(&redis)(options);
        options.state_call_max = PATIENCE;
    })
    .await;
    assert_eq!(node.admitted(1).await, 1);
    redis.pause().await;
    let began = Instant::now();
    assert_eq!(node.admitted(1).await, 1);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(2), "{took:?}");
    redis.resume().await;
}
