//! A process of a pair is killed: what was under way at it may fail, and the other carries on.

use std::time::{Duration, Instant};

use pillion_test_servers::BUSY;

use crate::world::World;

/// What was under way at the killed process has failed by then, and the others know.
const NOTICED: Duration = Duration::from_millis(1_500);
/// After it nothing fails.
const WATCHED: Duration = Duration::from_secs(4);
/// So many do something at a time.
const AT_WORK: usize = 4;

pub(crate) async fn the_other_one_carries_on(world: &mut World) {
    let load = world.load(false);
    let mut failed = 0;
    for service in BUSY {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let killed = Instant::now();
        world.fleet.host(service, 1).kill();
        tokio::time::sleep(NOTICED).await;
        let noticed = Instant::now();
        let under_way = load.failures_since(killed);
        tokio::time::sleep(WATCHED).await;
        let later = load.failures_since(noticed);
        println!("{service}-1 killed: {} requests failed with it", under_way.len());
        for failure in under_way.iter().chain(&later) {
            println!("  after {:?}: {}", failure.at - killed, failure.what);
        }
        assert!(under_way.len() <= AT_WORK, "more failed than were under way");
        assert!(later.is_empty(), "requests failed when the process was known to be gone");
        failed += under_way.len();
    }
    let done = load.stop().await;
    println!("{} processes killed: {} requests, {failed} failed", BUSY.len(), done.requests);
    world.keep(&done);
    world.hold().await;
    world.rebuilds_the_same();
}
