//! A back end that is slow or gone costs no more than is said, and what is dropped or swapped
//! meanwhile leaves nothing behind.

use std::time::Instant;

use pillion_host::{InstanceMode, SwapRequest};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::at_run::patient;

/// What does not wait takes less, also on a busy machine: 20 requests that waited would take 20 s.
const AT_ONCE: Duration = Duration::from_secs(1);

fn redis_with(redis: &Redis, call_max: Duration) -> impl FnOnce(&mut HostOptions) + use<> {
    let backend = StateBackend::Redis(redis.url());
    move |options| {
        both(&backend)(options);
        options.state_call_max = call_max;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_does_not_answer_costs_a_few_requests_their_time_out() {
    let redis = Redis::start().await;
    let mut plugin = state_plugin();
    plugin.limits.wait_ms = 1_000;
    let node = Node::start(single(plugin), redis_with(&redis, Duration::from_secs(2))).await;
    assert_eq!(node.ask("window w 9 600000").await, "allowed 8 0");
    redis.pause().await;
    // The first ones wait; a hook waits for 1 s at most.
    let began = Instant::now();
    let waited = node.ask("get k").await;
    assert!(waited.starts_with("error: ") && began.elapsed() >= Duration::from_secs(1), "{waited}");
    // A limit is judged by the host itself then, also when it has found that out by waiting.
    assert_eq!(node.ask("window w 9 600000").await, "allowed 8 0");
    // The host's own probes find out that it is down.
    let line =
        format!("pillion_state_up{{backend=\"redis\",place=\"127.0.0.1:{}/0\"}}", redis.port());
    let began = Instant::now();
    while node.metric(&line) != 0 {
        assert!(began.elapsed() < PATIENCE, "{}", node.host.metrics());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let began = Instant::now();
    for left in (0..20).rev() {
        let answer = node.ask("window v 20 600000; get k").await;
        assert!(answer.starts_with(&format!("allowed {left} 0; error: ")), "{answer}");
        assert!(answer.contains("unavailable for "), "{answer}");
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    redis.resume().await;
    node.until("get k", "nothing").await;
    assert_eq!(node.metric(&line), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_stop_and_come_back() {
    let redis = Redis::start().await;
    let node = Node::start(state(), redis_with(&redis, Duration::from_millis(500))).await;
    assert_eq!(node.ask("window w 9 600000; add n").await, "allowed 8 0; 1");
    for _ in 0..2 {
        redis.stop().await;
        let began = Instant::now();
        let answer = node.ask("window w 9 600000; add n").await;
        assert!(answer.starts_with("allowed ") && answer.contains("; error: "), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        redis.start_again().await;
        // Its scripts are gone with it, and are loaded again.
        node.until("add n", "1").await;
        assert_eq!(node.ask("window w 9 600000").await, "allowed 8 0", "it begins empty");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_starts_without_its_redis_and_finds_it_later() {
    let redis = Redis::start().await;
    redis.stop().await;
    let node = Node::start(state(), redis_with(&redis, Duration::from_millis(250))).await;
    assert!(node.ask("get k").await.starts_with("error: "));
    assert_eq!(node.ask("window w 9 600000").await, "allowed 8 0");
    redis.start_again().await;
    node.until("get k", "nothing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_is_no_cpu_time_and_has_a_bound_of_its_own() {
    let redis = Redis::start().await;
    let node = Node::start(state(), redis_with(&redis, Duration::from_secs(5))).await;
    // 300 ms of waiting, with a deadline of 10 ms.
    redis.pause().await;
    let client = node.client.clone();
    let waiting = tokio::spawn(async move {
        client.get("/").header("x-before", "get k").send().await.expect(200).text()
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.resume().await;
    assert_eq!(waiting.await.expect("an answer"), "nothing");
    // 400 ms may be waited, however many calls there are.
    let mut plugin = state_plugin();
    plugin.limits.wait_ms = 400;
    let node = Node::start(single(plugin), redis_with(&redis, Duration::from_millis(300))).await;
    redis.pause().await;
    let began = Instant::now();
    let answer = node.ask("get a; get b; get c; get d; get e; get f").await;
    let took = began.elapsed();
    assert_eq!(answer.matches("error: ").count(), 6, "{answer}");
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(1_500), "{took:?}");
    redis.resume().await;
    // What is spun between waits adds up: 24 ms, with a deadline of 10.
    node.until("get k", "nothing").await;
    let spins = "spin 8; get k; spin 8; get k; spin 8; get k";
    let answer = node.client.get("/").header("x-before", spins).send().await.expect(503);
    assert!(answer.text().contains("`mine`"));
    let line =
        "pillion_plugin_failures_total{plugin=\"mine\",phase=\"request\",reason=\"deadline\"}";
    assert_eq!(node.metric(line), 1, "{}", node.host.metrics());
    assert_eq!(node.ask("spin 3; get k; spin 3").await, "spun; nothing; spun");
}

/// Sends a request and goes away while it waits.
async fn leave(node: &Node, deeds: &str) {
    let address = node.client.base().trim_start_matches("http://").to_owned();
    let mut socket = tokio::net::TcpStream::connect(&address).await.expect("a connection");
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{deeds}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_dropped_while_they_wait_leak_nothing() {
    for mode in [InstanceMode::Warm, InstanceMode::Fresh] {
        let redis = Redis::start().await;
        let mut plugin = state_plugin();
        plugin.mode = mode;
        let mut spec = single(plugin);
        let logging = build::plugin("logging");
        spec.plugins.insert("log".to_owned(), super::plugin(logging, json!({}), &["sink:access"]));
        spec.chains.insert("app".to_owned(), vec!["log".to_owned(), "mine".to_owned()]);
        let (folder, _) = file();
        let log = folder.path().join("access.log");
        let target = pillion_host::SinkTarget::File(log.clone());
        let node = Node::start(spec, |options| {
            redis_with(&redis, PATIENCE)(options);
            let sink = pillion_host::SinkSpec { target, flush: Duration::from_millis(10) };
            options.sinks.insert("access".to_owned(), sink);
        })
        .await;
        assert_eq!(node.ask("get k").await, "nothing");
        redis.pause().await;
        // More than a plugin may hold instances at once, if they were leaked.
        for _ in 0..200 {
            leave(&node, "x-before: get k").await;
            leave(&node, "x-after: get k").await;
        }
        redis.resume().await;
        for _ in 0..200 {
            assert_eq!(node.ask("add n").await.parse::<u32>().map(|_| ()), Ok(()));
        }
        // A few may be held at this moment or kept for later, but not hundreds.
        let instances = node.metric("pillion_plugin_instances{plugin=\"mine\"}");
        assert!(instances <= 130, "{instances}");
        // Those that left have their lines: completion hooks ran for them. A few may have left
        // before the server had read their request.
        let began = Instant::now();
        loop {
            node.host.flush_sinks();
            let text = std::fs::read_to_string(&log).expect("a log");
            let left = text.lines().filter(|line| line.contains("\"client\"")).count();
            if left >= 380 {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{left} of 400");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_waits_for_those_who_wait() {
    let redis = Redis::start().await;
    let node = Node::start(state(), redis_with(&redis, PATIENCE)).await;
    redis.pause().await;
    let client = node.client.clone();
    let waiting = tokio::spawn(async move {
        client.get("/").header("x-before", "add n").send().await.expect(200).text()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let host = node.host.clone();
    let swap = tokio::task::spawn_blocking(move || {
        // The same for the plugin, and another configuration for the host: not a no-op.
        let config = Some(serde_json::Value::Null);
        host.swap("mine", SwapRequest { config, ..Default::default() })
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!swap.is_finished(), "somebody is on the generation before");
    redis.resume().await;
    assert_eq!(waiting.await.expect("an answer"), "1");
    let info = swap.await.expect("no panic").expect("a swap");
    assert_eq!(info.still_draining, 0);
    assert_eq!(node.ask("add n").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_of_all_phases_may_wait() {
    for (backend, _guard) in back_ends().await {
        let node = Node::start(state(), both(&backend)).await;
        let answer = node
            .client
            .get("/")
            .header("x-after", "add after")
            .header("x-finally", "add finally; set done yes")
            .send()
            .await
            .expect(200);
        assert_eq!(answer.text(), "the handler\n");
        assert_eq!(answer.header("x-done"), "1", "{backend:?}");
        node.until("get done", "yes").await;
        assert_eq!(node.ask("get after; get finally").await, "1; 1");
        let calls = |phase: &str| {
            node.metric(&format!("pillion_plugin_calls_total{{plugin=\"mine\",phase=\"{phase}\"}}"))
        };
        assert!(calls("request") >= 3 && calls("completion") >= 1, "{backend:?}");
        assert_eq!(calls("response"), 1, "{backend:?}: it answered the others itself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_plugin_on_a_fiber_costs_its_own_call_only() {
    let redis = Redis::start().await;
    let grants = ["clock", "kv", "limiter", "metrics", "random", "sink:access"];
    for (deed, reasons) in [
        ("loop", &["deadline"][..]),
        ("memory", &["memory"]),
        ("stack", &["stack", "trap"]),
        ("trap", &["trap"]),
        ("exit", &["trap"]),
        ("random-bomb", &["trap"]),
        ("crlf", &["decision"]),
    ] {
        for phase in ["request", "response"] {
            let config = json!({ "do": deed, "phase": phase, "when": "now" });
            let mut hostile = plugin(build::fixture("hostile"), config, &grants);
            patient(&mut hostile, deed);
            // Those with long deadlines would soon use up their client's budget.
            hostile.breaker.client_failure_budget_ms = 600_000;
            let spec = single(hostile);
            let (folder, _) = file();
            let target = pillion_host::SinkTarget::File(folder.path().join("access.log"));
            let node = Node::start(spec, |options| {
                both(&StateBackend::Redis(redis.url()))(options);
                let flush = Duration::from_millis(50);
                let sink = pillion_host::SinkSpec { target, flush };
                options.sinks.insert("access".to_owned(), sink);
            })
            .await;
            let get = async |trigger: &str| {
                let answer = node.client.get("/").header("x-hostile", trigger).send().await;
                answer.status.as_u16()
            };
            assert_eq!(get("later").await, 200, "{deed}");
            assert_eq!(get("now").await, 503, "{deed} in {phase}");
            assert_eq!(get("later").await, 200, "{deed} in {phase}: the next request");
            let failures: u64 = reasons
                .iter()
                .map(|reason| node.metric(&format!("pillion_plugin_failures_total{{plugin=\"mine\",phase=\"{phase}\",reason=\"{reason}\"}}")))
                .sum();
            assert!(failures > 0, "{deed} in {phase}: {}", node.host.metrics());
            // The same client fails again, and others do not.
            for _ in 0..5 {
                assert_eq!(get("now").await, 503);
            }
            assert_eq!(node.metric("pillion_plugin_breaker_open{plugin=\"mine\"}"), 0, "{deed}");
            assert_eq!(get("later").await, 200, "{deed} in {phase}: others");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_set_back_locks_nobody_out() {
    let redis = Redis::start().await;
    let node = Node::start(state(), both(&StateBackend::Redis(redis.url()))).await;
    // As a server leaves them whose clock was in the year 2286.
    let cells = "pillion:{mine}:limiter";
    assert_eq!(redis_says(&redis, &format!("SET {cells}:g:k 9999999999:0")).await, "+OK");
    assert_eq!(redis_says(&redis, &format!("SET {cells}:w:k 9999999999000000:1")).await, "+OK");
    let answer = node.ask("gcra k 2 2000; window k 2 60000; window k 2 60000").await;
    let parts: Vec<&str> = answer.split("; ").collect();
    assert_eq!(parts[0], "refused 0 1000", "full, but no fuller");
    assert_eq!(parts[1], "allowed 0 0", "what was taken stays taken");
    assert!(parts[2].starts_with("refused 0 "), "{answer}");
    node.until("gcra k 2 2000", "allowed").await;
    // A window that was full then is full for its own length from now on, and no longer.
    assert_eq!(redis_says(&redis, &format!("SET {cells}:w:full 9999999999000000:1")).await, "+OK");
    assert!(node.ask("window full 1 1500").await.starts_with("refused 0 "));
    node.until("window full 1 1500", "allowed").await;
}
