//! Limits hold over all gateways: whatever goes through which, exactly as many requests are
//! admitted as one gateway alone would admit.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::world::{LIMIT, LIMITED, World};

/// They ask at the same time.
const ASKING: usize = 12;
/// Requests of each.
const EACH: usize = 10;

pub(crate) async fn are_exact_over_all_gateways(world: &World) {
    let rita = world.rita();
    let path = LIMITED.replace("{id}", &rita.id);
    let mut asking = Vec::new();
    for _ in 0..ASKING {
        let (gateways, token, path) = (world.gateways.clone(), rita.token.clone(), path.clone());
        asking.push(tokio::spawn(async move {
            let mut admitted = Vec::new();
            for _ in 0..EACH {
                // One gateway after the other.
                let answer = gateways.ask(&token, Method::GET, &path, &Value::Null).await;
                let answer = answer.expect("an answer");
                let left: usize =
                    answer.header("x-rate-limit-remaining").parse().expect("what is left");
                match answer.status.as_u16() {
                    200 => admitted.push(left),
                    429 => assert_eq!(left, 0),
                    other => panic!("{other}: {}", answer.text()),
                }
            }
            admitted
        }));
    }
    let mut admitted = Vec::new();
    for asking in asking {
        admitted.extend(asking.await.expect("no panic"));
    }
    assert_eq!(admitted.len(), LIMIT, "of {}", ASKING * EACH);
    // Each took another one.
    let distinct: BTreeSet<usize> = admitted.into_iter().collect();
    assert_eq!(distinct, (0..LIMIT).collect());
    println!("{} requests through two gateways: {LIMIT} admitted", ASKING * EACH);
}
