//! What is admitted is the limit: never one more, and never one less when more is offered.

use pillion_host::{InstanceMode, SwapRequest};
use serde_json::json;
use tokio::task::JoinSet;

use super::*;

/// Clients that ask at the same time.
const CLIENTS: usize = 8;

/// Has many clients of each node ask for the same `times` times; their answers.
async fn offer(nodes: &[Node], deeds: &str, times: usize) -> Vec<String> {
    let mut clients = JoinSet::new();
    for node in nodes.iter().cycle().take(CLIENTS * nodes.len()) {
        let (client, deeds) = (node.client.clone(), deeds.to_owned());
        clients.spawn(async move {
            let mut answers = Vec::with_capacity(times);
            for _ in 0..times {
                let sent = client.get("/").header("x-before", &deeds).send().await;
                answers.push(sent.expect(200).text());
            }
            answers
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

fn count(answers: &[String], beginning: &str) -> usize {
    answers.iter().filter(|answer| answer.starts_with(beginning)).count()
}

/// Offers 40 takes a client and counts what was admitted and refused, of windows and buckets; and
/// has a number counted up by compare-and-swap.
async fn assert_exact(nodes: &[Node], about: &str) {
    let offered = nodes.len() * CLIENTS * 40;
    for (deeds, limit) in [("window w 137 600000", 137), ("gcra g 61 86400000", 61)] {
        let answers = offer(nodes, deeds, 40).await;
        assert_eq!(count(&answers, "allowed "), limit, "{about}, {deeds}: {answers:?}");
        assert_eq!(count(&answers, "refused 0 "), offered - limit, "{about}, {deeds}");
        // Each was told another number of takes that are left.
        let mut left: Vec<usize> = answers
            .iter()
            .filter_map(|answer| answer.strip_prefix("allowed ")?.split(' ').next()?.parse().ok())
            .collect();
        left.sort_unstable();
        assert!(left.iter().copied().eq(0..limit), "{about}: {left:?}");
    }
    let answers = offer(nodes, "add n", 10).await;
    assert_eq!(count(&answers, "error"), 0, "{about}: {answers:?}");
    let total = nodes.len() * CLIENTS * 10;
    for node in nodes {
        assert_eq!(node.ask("get n").await, total.to_string(), "{about}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exact_in_memory() {
    assert_exact(&[Node::start(state(), |_| {}).await], "memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exact_in_sqlite_also_for_hosts_that_share_the_file() {
    let (_folder, path) = file();
    let backend = StateBackend::Sqlite(path);
    let nodes =
        [Node::start(state(), both(&backend)).await, Node::start(state(), both(&backend)).await];
    assert_exact(&nodes, "two hosts on one file").await;
    let (_folder, path) = file();
    let alone = [Node::start(state(), both(&StateBackend::Sqlite(path))).await];
    assert_exact(&alone, "sqlite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exact_in_redis_also_for_hosts_that_share_it() {
    let redis = Redis::start().await;
    let backend = StateBackend::Redis(redis.url());
    let alone = [Node::start(state(), both(&backend)).await];
    assert_exact(&alone, "redis").await;
    let other = StateBackend::Redis(format!("{}/1", redis.url()));
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::start(state(), both(&other)).await);
    }
    assert_exact(&nodes, "three hosts on one Redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_ratelimit_plugin_shares_its_limit_over_hosts() {
    let redis = Redis::start().await;
    let config = json!({ "address": { "burst": 100, "period_ms": 86_400_000 } });
    let spec = single(plugin(build::plugin("ratelimit"), config, &["limiter"]));
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let backend = StateBackend::Redis(redis.url());
        nodes.push(Node::start(spec.clone(), both(&backend)).await);
    }
    let mut clients = JoinSet::new();
    for number in 0..12 {
        let client = nodes[number % 3].client.clone();
        clients.spawn(async move {
            let mut passed = 0;
            for _ in 0..25 {
                let answer = client.get("/").send().await;
                match answer.status.as_u16() {
                    200 => passed += 1,
                    429 => assert_eq!(answer.header("x-rate-limit-remaining"), "0"),
                    other => assert_eq!(other, 200, "{}", answer.text()),
                }
            }
            passed
        });
    }
    assert_eq!(clients.join_all().await.into_iter().sum::<u32>(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exact_with_fresh_instances_and_none_is_kept() {
    let redis = Redis::start().await;
    let mut plugin = state_plugin();
    plugin.mode = InstanceMode::Fresh;
    let nodes = [Node::start(single(plugin), both(&StateBackend::Redis(redis.url()))).await];
    assert_exact(&nodes, "fresh").await;
    // The last completion hooks may still be waiting.
    let began = std::time::Instant::now();
    while nodes[0].metric("pillion_plugin_instances{plugin=\"mine\"}") > 0 {
        assert!(began.elapsed() < PATIENCE, "{}", nodes[0].host.metrics());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_holds_over_swaps_under_load() {
    let redis = Redis::start().await;
    let nodes = [Node::start(state(), both(&StateBackend::Redis(redis.url()))).await];
    let host = nodes[0].host.clone();
    let swaps = tokio::task::spawn_blocking(move || {
        for _ in 0..5 {
            let component = Some(build::fixture("state"));
            let change = SwapRequest { component, config: Some(json!({})), ..Default::default() };
            assert_eq!(host.swap("mine", change).expect("a swap").still_draining, 0);
        }
    });
    assert_exact(&nodes, "with swaps").await;
    swaps.await.expect("five swaps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_what_memory_forgets() {
    for (backend, _guard) in back_ends().await {
        let first = Node::start(state(), both(&backend)).await;
        let deeds = "window w 2 600000; gcra g 1 86400000; set k kept; set short gone 50";
        let answer = first.ask(deeds).await;
        assert!(answer.starts_with("allowed 1 0; allowed 0 0; set; set"), "{answer}");
        drop(first);
        tokio::time::sleep(Duration::from_millis(60)).await;
        let second = Node::start(state(), both(&backend)).await;
        let answer = second.ask("window w 2 600000; gcra g 1 86400000; get k; get short").await;
        let parts: Vec<&str> = answer.split("; ").collect();
        if backend == StateBackend::Memory {
            assert_eq!(parts, ["allowed 1 0", "allowed 0 0", "nothing", "nothing"]);
        } else {
            assert_eq!(parts[0], "allowed 0 0", "{backend:?}");
            assert!(parts[1].starts_with("refused 0 "), "{backend:?}: {answer}");
            assert_eq!(parts[2..], ["kept", "nothing"], "{backend:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_back_end_answers_the_same() {
    let asked = [
        "window w 2 60000; window w 2 60000; gcra g 3 86400000; gcra g 3 86400000",
        "set k v; get k; delete k; delete k; get k; add n; add n; get n",
        "set k v 0; get k; set k v 60000; get k; set k w; get k; fill k 65536; fill k 65537",
        "window  1 1000; gcra g 0 1000; window w 0 1000; window w 1 0; get ; set  v; delete ",
    ];
    let mut expected: Vec<String> = Vec::new();
    for (backend, _guard) in back_ends().await {
        let node = Node::start(state(), both(&backend)).await;
        let mut answers = Vec::new();
        for deeds in asked {
            answers.push(node.ask(deeds).await);
        }
        if expected.is_empty() {
            assert_eq!(answers[0], "allowed 1 0; allowed 0 0; allowed 2 0; allowed 1 0");
            assert_eq!(answers[1], "set; v; true; false; nothing; 1; 2; 2");
            expected = answers;
        } else {
            assert_eq!(answers, expected, "{backend:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_end_and_buckets_fill_by_the_clock() {
    for (backend, _guard) in back_ends().await {
        let node = Node::start(state(), both(&backend)).await;
        assert_eq!(node.ask("window w 1 300; gcra g 2 600").await, "allowed 0 0; allowed 1 0");
        let refused = node.ask("window w 1 300; gcra g 2 600; gcra g 2 600").await;
        let parts: Vec<&str> = refused.split("; ").collect();
        let wait = |part: &str| part.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        assert!(parts[0].starts_with("refused 0 ") && wait(parts[0]) <= 300, "{refused}");
        assert_eq!(parts[1], "allowed 0 0", "{backend:?}");
        assert!(parts[2].starts_with("refused 0 ") && wait(parts[2]) <= 300, "{refused}");
        // Who waits exactly as long as told is let in.
        tokio::time::sleep(Duration::from_millis(wait(parts[0]))).await;
        assert_eq!(node.ask("window w 1 300").await, "allowed 0 0", "{backend:?}");
        tokio::time::sleep(Duration::from_millis(wait(parts[2]))).await;
        assert!(node.ask("gcra g 2 600").await.starts_with("allowed "), "{backend:?}");
    }
}
