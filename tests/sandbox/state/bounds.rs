//! What a plugin may keep is bounded on every back end, and what has expired makes room.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_limiter() {
    for (backend, _guard) in back_ends().await {
        let mut plugin = state_plugin();
        // In memory the bound is kept per shard of 16.
        plugin.limits.limiter_keys = 16;
        let node = Node::start(single(plugin), both(&backend)).await;
        let mut allowed = 0;
        for number in 0..400 {
            let answer = node.ask(&format!("window k{number} 1 60000")).await;
            allowed += usize::from(answer == "allowed 0 0");
            assert!(answer == "allowed 0 0" || answer.starts_with("error"), "{answer}");
        }
        assert_eq!(allowed, 16, "{backend:?}");
        assert_eq!(node.metric("pillion_plugin_limiter_keys{plugin=\"mine\"}"), 16);
        // One that is there already is still counted.
        let refused = node.ask("window k0 1 60000").await;
        assert!(refused.starts_with("refused") || backend == StateBackend::Memory, "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_keys_make_room() {
    for (backend, _guard) in back_ends().await {
        let mut plugin = state_plugin();
        plugin.limits.limiter_keys = 160;
        let node = Node::start(single(plugin), both(&backend)).await;
        for round in 0..4 {
            for number in 0..100 {
                let kind = if number % 2 == 0 { "window" } else { "gcra" };
                let answer = node.ask(&format!("{kind} {round}-{number} 1 20")).await;
                // In memory the bound is kept per shard, so that one may be full before.
                if backend != StateBackend::Memory {
                    assert_eq!(answer, "allowed 0 0", "{backend:?}");
                }
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let answer = node.ask("window last 1 60000").await;
        assert_eq!(answer, "allowed 0 0", "{backend:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_kv() {
    for (backend, _guard) in back_ends().await {
        let mut plugin = state_plugin();
        // Each of the entries counts 2 + 1,000 + 64.
        plugin.limits.kv_bytes = 3 * 1_066;
        let node = Node::start(single(plugin), both(&backend)).await;
        assert_eq!(node.ask("fill k1 1000; fill k2 1000; fill k3 1000").await, "set; set; set");
        let bytes = || node.metric("pillion_plugin_kv_bytes{plugin=\"mine\"}");
        assert_eq!(bytes(), 3 * 1_066, "{backend:?}");
        let full = node.ask("fill k4 1; get k4").await;
        assert!(full.starts_with("error") && full.ends_with("nothing"), "{backend:?}: {full}");
        assert!(node.ask("fill k1 1001").await.starts_with("error"), "{backend:?}");
        assert_eq!(node.ask("fill k1 100; fill k4 800").await, "set; set", "{backend:?}");
        assert_eq!(
            node.ask("delete k1; delete k2; delete k3; delete k4").await,
            "true; true; true; true"
        );
        assert_eq!(bytes(), 0, "{backend:?}");
        assert_eq!(node.ask("set k5 v 40; set k6 v 40").await, "set; set");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let again = node.ask("fill k1 1000; fill k2 1000; fill k3 1000; get k5").await;
        assert_eq!(again, "set; set; set; nothing", "{backend:?}: what expired makes room");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_empty_when_the_windows_are_over() {
    let redis = Redis::start().await;
    let node = Node::start(state(), both(&StateBackend::Redis(redis.url()))).await;
    for number in 0..50 {
        node.ask(&format!("window w{number} 3 200; gcra g{number} 3 200")).await;
    }
    assert_ne!(redis_says(&redis, "DBSIZE").await, ":0");
    // For moments it holds what the host's own probe writes.
    let began = std::time::Instant::now();
    while redis_says(&redis, "DBSIZE").await != ":0" {
        assert!(began.elapsed() < PATIENCE, "{}", redis_says(&redis, "RANDOMKEY").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_by_another_name_has_its_own() {
    for (backend, _guard) in back_ends().await {
        let mut spec = state();
        spec.plugins.insert("other".to_owned(), state_plugin());
        let node = Node::start(spec.clone(), both(&backend)).await;
        assert_eq!(node.ask("set k mine; window w 1 60000").await, "set; allowed 0 0");
        spec.chains.insert("app".to_owned(), vec!["other".to_owned()]);
        let other = Node::start(spec, both(&backend)).await;
        assert_eq!(other.ask("get k; window w 1 60000").await, "nothing; allowed 0 0");
    }
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let (folder, path) = file();
    std::fs::write(&path, "not a database at all, but long enough to look like one".repeat(100))
        .expect("a file");
    let before = std::fs::read(&path).expect("a file");
    let mut options = HostOptions::new(folder.path().join("host"));
    options.kv = StateBackend::Sqlite(path.clone());
    let error = Host::new(options).expect_err("no database").to_string();
    assert!(error.contains("state.sqlite"), "{error}");
    assert_eq!(std::fs::read(&path).expect("a file"), before);
}
