//! X's windows for callers, a bucket per address for what has no token.

use pillion_test_servers::Redis;
use pillion_tests::system::System;
use pillion_tests::token::now;
use serde_json::json;

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

#[tokio::test]
async fn every_response_says_what_is_left_and_the_last_one_is_refused() {
    let system = System::start_with(|config| {
        config.replace("\"GET /2/users/me\" = { user = 75 }", "\"GET /2/users/me\" = { user = 3 }")
    });
    let (_, token) = system.register("alice").await;
    for left in [2, 1, 0] {
        let answer = system.client.get("/2/users/me").bearer(&token).send().await.expect(200);
        assert_eq!(answer.header("x-rate-limit-limit"), "3");
        assert_eq!(answer.header("x-rate-limit-remaining"), left.to_string());
        let reset = number(answer.header("x-rate-limit-reset"));
        assert!((now() + 890..=now() + 902).contains(&reset), "{reset}");
    }
    let refused = system.client.get("/2/users/me").bearer(&token).send().await.expect(429);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.json()["title"], json!("Too Many Requests"));
    assert_eq!(refused.json()["type"], json!("about:blank"));
    assert_eq!(refused.header("x-rate-limit-remaining"), "0");
    assert!((1..=900).contains(&number(refused.header("retry-after"))));
    // Another route and another user have windows of their own.
    system.client.get("/2/tweets?ids=1").bearer(&token).send().await.expect(200);
    let (_, other) = system.register("bob").await;
    system.client.get("/2/users/me").bearer(&other).send().await.expect(200);
}

#[tokio::test]
async fn exactly_the_limit_is_admitted_when_many_ask_at_once() {
    let system = System::start_with(|config| {
        config
            .replace("\"GET /2/users/me\" = { user = 75 }", "\"GET /2/users/me\" = { user = 100 }")
    });
    let (_, token) = system.register("alice").await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (client, token) = (system.client.clone(), token.clone());
            tokio::spawn(async move {
                let mut admitted = 0;
                for _ in 0..20 {
                    let status =
                        client.get("/2/users/me").bearer(&token).send().await.status.as_u16();
                    assert!(matches!(status, 200 | 429), "{status}");
                    admitted += usize::from(status == 200);
                }
                admitted
            })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.expect("no panic");
    }
    assert_eq!(admitted, 100);
}

#[tokio::test]
async fn without_a_token_the_address_is_limited_and_forged_ones_do_not_help() {
    let system = System::start_with(|config| {
        config.replace("burst = 300\nperiod_ms = 60000", "burst = 20\nperiod_ms = 600000")
    });
    let token = system.demo("bearer_token");
    let mut seen = Vec::new();
    for n in 0..40 {
        let request = system.client.get("/2/users/me");
        let request = if n % 2 == 0 { request } else { request.bearer(&format!("forged-{n}")) };
        let answer = request.send().await;
        assert!(!answer.header("x-rate-limit-limit").is_empty(), "{}", answer.text());
        if answer.status == 429 {
            assert!(number(answer.header("retry-after")) >= 1);
        }
        seen.push(answer.status.as_u16());
    }
    assert_eq!(seen.iter().filter(|status| **status == 401).count(), 20, "{seen:?}");
    assert!(seen[20..].iter().all(|status| *status == 429), "{seen:?}");
    // A good token from the same address is not held back.
    system.client.get("/2/users/me").bearer(&token).send().await.expect(200);
}

#[tokio::test]
async fn another_scheme_does_not_evade_the_limit_on_passwords() {
    let system = System::start_with(|config| {
        // One more only every three minutes, as hashing passwords takes its time.
        config.replace("burst = 300\nperiod_ms = 60000", "burst = 20\nperiod_ms = 3600000")
    });
    let (_, token) = system.register("alice").await;
    let own = format!("Bearer {token}");
    let login = |authorization: &str, username: &str, password: &str| {
        let body = json!({ "username": username, "password": password });
        let call = system.client.post("/pillion/v1/login").json(&body);
        let call = match authorization {
            "" => call,
            authorization => call.header("authorization", authorization),
        };
        call.send()
    };
    // Registering and logging in took two of the twenty.
    for n in 0..24 {
        let authorization = ["", "Basic x", "Bearerx y", &own][n % 4];
        // Each for another account: many for one are throttled before.
        let username = format!("nobody_{n}");
        let answer = login(authorization, &username, "wrong horse battery").await;
        let expected = if n < 18 { 401 } else { 429 };
        assert_eq!(
            answer.status.as_u16(),
            expected,
            "guess {n} {authorization}: {}",
            answer.text()
        );
        // A public route ignores tokens, so it is always the address that counts.
        assert_eq!(answer.header("x-rate-limit-limit"), "20");
    }
    // The right one must look like the others now.
    for authorization in ["", "Basic x", "Bearerx y", "x", &own] {
        login(authorization, "alice", "correct horse battery").await.expect(429);
    }
    // Accounts are made no faster.
    let account = json!({ "username": "bob", "name": "bob", "password": "correct horse battery" });
    for authorization in ["Basic x", &own] {
        let register = system.client.post("/pillion/v1/accounts");
        let register = register.header("authorization", authorization).json(&account);
        register.send().await.expect(429);
    }
    system.client.get("/2/users/me").bearer(&token).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_redis_the_limits_are_the_hosts_own_and_it_says_so_once() {
    let redis = Redis::start().await;
    let url = redis.url();
    let system = System::start_with(|config| {
        let limiter = "limiter = \"memory\"";
        assert!(config.contains(limiter));
        config
            .replacen(limiter, &format!("limiter = \"{url}\""), 1)
            .replace("\"GET /2/users/me\" = { user = 75 }", "\"GET /2/users/me\" = { user = 4 }")
    });
    let (_, token) = system.register("alice").await;
    let ask = async |left: &str| {
        let status = if left == "refused" { 429 } else { 200 };
        let answer = system.client.get("/2/users/me").bearer(&token).send().await.expect(status);
        assert_eq!(answer.header("x-rate-limit-limit"), "4");
        let left = if left == "refused" { "0" } else { left };
        assert_eq!(answer.header("x-rate-limit-remaining"), left);
    };
    let lost = "the shared limiter is unavailable";
    let back = "limits hold over all hosts";
    ask("3").await;
    for times in 1..=2 {
        redis.stop().await;
        if times == 1 {
            for left in ["3", "2", "1", "0", "refused"] {
                ask(left).await;
            }
        } else {
            ask("refused").await;
        }
        // An outage soon after another is logged only when it lasts: a backend that flaps must not
        // flood the log. The metric shows each.
        until_degraded(&system, &redis, 1).await;
        until(&system, lost, 1).await;
        redis.start_again().await;
        until_degraded(&system, &redis, 0).await;
        until(&system, back, 1).await;
        ask("3").await;
    }
    assert_eq!(system.log().matches(lost).count(), 1, "{}", system.log());
    assert_eq!(system.log().matches(back).count(), 1, "{}", system.log());
}

/// Waits until the metric shows this.
async fn until_degraded(system: &System, redis: &Redis, value: u32) {
    let line = format!(
        "pillion_limiter_degraded{{backend=\"redis\",place=\"127.0.0.1:{}/0\"}} {value}",
        redis.port()
    );
    let began = std::time::Instant::now();
    loop {
        let metrics = system.admin().get("/metrics").send().await.expect(200).text();
        if metrics.contains(&line) {
            return;
        }
        assert!(began.elapsed().as_secs() < 20, "no {line}: {metrics}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Waits until the log has said this so often.
async fn until(system: &System, said: &str, times: usize) {
    let began = std::time::Instant::now();
    while system.log().matches(said).count() < times {
        assert!(began.elapsed().as_secs() < 20, "{said}: {}", system.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
