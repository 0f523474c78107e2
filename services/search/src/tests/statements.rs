//! What a page costs does not depend on how much is on it.

use pillion_chassis::testing::{BACKENDS, statements};
use serde_json::json;

use super::harness::{ANN, Harness};

/// How many statements each list takes.
async fn costs(service: &Harness) -> Vec<usize> {
    let mut costs = Vec::new();
    for path in [
        "/2/tweets/search/recent?query=from%3Aann%20tea&max_results=100",
        "/2/tweets/counts/recent?query=tea&granularity=day",
        "/2/tweets/search/stream/rules?max_results=1000",
    ] {
        let (reply, statements) = statements(service.get(path)).await;
        assert!(!reply.items().is_empty(), "{path}: {}", reply.body);
        costs.push(statements.len());
    }
    costs
}

#[tokio::test]
async fn a_page_takes_as_many_statements_however_much_is_on_it() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        service.post(ANN, "tea").await;
        let rules = |range: std::ops::Range<u32>| {
            let rules: Vec<_> = range.map(|n| json!({"value": format!("tea {n}")})).collect();
            json!({"add": rules})
        };
        service.send_rules("", &rules(0..1)).await;
        let few = costs(&service).await;
        assert!(few.iter().all(|count| (1..=4).contains(count)), "{few:?}");
        for _ in 0..60 {
            service.post(ANN, "tea").await;
        }
        service.send_rules("", &rules(1..25)).await;
        assert_eq!(costs(&service).await, few, "{backend:?}");
    }
}
