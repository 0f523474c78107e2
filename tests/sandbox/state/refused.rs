//! A Redis that answers PING and refuses commands is no limiter: hosts are degraded, say so, and
//! recover when it executes commands again.

use super::*;

/// Faults that a running Redis can be given: what makes it refuse, what ends that, and the code
/// that it refuses with.
const FAULTS: [(&[&str], &[&str], &str); 4] = [
    (&["ACL SETUSER default -eval -evalsha"], &["ACL SETUSER default +@all"], "NOPERM"),
    (
        &["CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1"],
        &["CONFIG SET maxmemory 0"],
        "OOM",
    ),
    // Nothing listens on port 1: a replica without its primary.
    (&["REPLICAOF 127.0.0.1 1"], &["REPLICAOF NO ONE"], "READONLY"),
    (
        &["CONFIG SET min-replicas-to-write 1"],
        &["CONFIG SET min-replicas-to-write 0"],
        "NOREPLICAS",
    ),
];

async fn tell(redis: &Redis, commands: &[&str]) {
    for command in commands {
        let answer = redis_says(redis, command).await;
        assert!(answer.starts_with("+OK"), "{command}: {answer}");
    }
}

fn gauge(redis: &Redis) -> String {
    format!("pillion_limiter_degraded{{backend=\"redis\",place=\"127.0.0.1:{}/0\"}}", redis.port())
}

async fn until(node: &Node, line: &str, value: u64) {
    let began = std::time::Instant::now();
    while !node.host.metrics().contains(&format!("{line} {value}")) {
        assert!(began.elapsed() < PATIENCE, "{line} is not {value}: {}", node.host.metrics());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_redis_that_answers_ping_and_refuses_commands_is_degraded() {
    let redis = Redis::start().await;
    let node = Node::start(state(), both(&StateBackend::Redis(redis.url()))).await;
    let gauge = gauge(&redis);
    until(&node, &gauge, 0).await;
    for (number, (fault, remedy, code)) in FAULTS.iter().enumerate() {
        let deeds = format!("window w{number} 9 600000; set k v");
        assert_eq!(node.ask(&deeds).await, "allowed 8 0; set", "{code}");
        tell(&redis, fault).await;
        assert_eq!(redis_says(&redis, "PING").await, "+PONG", "{code}");
        // The limit holds on this host, and whoever keeps something is told why that fails.
        let answer = node.ask(&deeds).await;
        assert!(answer.starts_with("allowed 8 0; error: "), "{code}: {answer}");
        assert!(answer.contains(code), "{code}: {answer}");
        assert_eq!(node.metric(&gauge), 1, "{code}: {}", node.host.metrics());
        // It stays so without any request: a probe is no better off than a call.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let up = gauge.replace("limiter_degraded", "state_up");
        assert!(node.host.metrics().contains(&format!("{up} 0")), "{}", node.host.metrics());
        tell(&redis, remedy).await;
        until(&node, &gauge, 0).await;
        // The shared limit goes on where it was.
        assert_eq!(node.ask(&deeds).await, "allowed 7 0; set", "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_a_refusal_of_one_key_only_takes_nothing_down() {
    let redis = Redis::start().await;
    let node = Node::start(state(), both(&StateBackend::Redis(redis.url()))).await;
    assert_eq!(node.ask("set other v").await, "set");
    let made = redis_says(&redis, "LPUSH pillion:{mine}:kv:value:k x").await;
    assert_eq!(made, ":1");
    for _ in 0..20 {
        let answer = node.ask("get k; get other").await;
        assert!(answer.starts_with("error: ") && answer.contains("WRONGTYPE"), "{answer}");
        assert!(answer.ends_with("; v"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_a_redis_cluster_is_refused_at_start_and_later() {
    let cluster = ServerOptions {
        arguments: ["--cluster-enabled", "yes"].map(Into::into).to_vec(),
        ..ServerOptions::default()
    };
    let redis = Redis::start_with(cluster).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = HostOptions::new(folder.path());
    both(&StateBackend::Redis(redis.url()))(&mut options);
    let error = Host::new(options).expect_err("a cluster").to_string();
    assert!(error.contains("Redis Cluster") && error.contains("cluster-enabled no"), "{error}");
    // A host that was there before it says so, too, and limits by itself.
    redis.stop().await;
    let node = Node::start(state(), both(&StateBackend::Redis(redis.url()))).await;
    redis.start_again().await;
    let began = std::time::Instant::now();
    loop {
        let answer = node.ask("get k").await;
        if answer.contains("Redis Cluster") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
