//! Every process is restarted under load, and no request fails. A service with one process gets a
//! second one first, and loses the old one then.

use std::time::Instant;

use pillion_test_servers::{BUSY, Host, SERVICES};

use crate::world::{SEEN, World};

/// Services with one process.
fn alone() -> Vec<&'static str> {
    SERVICES.map(|(service, _)| service).into_iter().filter(|it| !BUSY.contains(it)).collect()
}

/// Ends processes in order, all at the same time.
async fn end(world: &mut World, which: impl Fn(&str, u8) -> bool) {
    let mut ending: Vec<_> =
        world.fleet.hosts_mut().filter(|host| which(host.service(), host.copy())).collect();
    for host in &ending {
        assert!(host.is_running(), "{} is to be ended", host.name());
    }
    for host in &mut ending {
        host.end();
    }
    for host in &mut ending {
        host.ended().await;
    }
}

/// Starts processes, and waits until the others have seen that they are ready.
async fn begin(world: &mut World, which: impl Fn(&str, u8) -> bool) {
    let mut starting: Vec<_> =
        world.fleet.hosts_mut().filter(|host| which(host.service(), host.copy())).collect();
    for host in &mut starting {
        host.launch();
    }
    for host in &mut starting {
        host.ready().await;
    }
    tokio::time::sleep(SEEN).await;
}

pub(crate) async fn nobody_notices(world: &mut World) {
    let began = Instant::now();
    let load = world.load(false);
    let alone = alone();
    let is_alone = |service: &str| alone.contains(&service);
    // Those that the streams' test started are there already.
    let second: Vec<&str> = world
        .fleet
        .hosts()
        .filter(|host| is_alone(host.service()) && host.copy() == 2 && !host.is_running())
        .map(Host::service)
        .collect();
    begin(world, |service, copy| copy == 2 && second.contains(&service)).await;
    // Of pairs the first, of the others the old one.
    end(world, |_, copy| copy == 1).await;
    begin(world, |service, copy| copy == 1 && !is_alone(service)).await;
    end(world, |service, copy| copy == 2 && !is_alone(service)).await;
    begin(world, |service, copy| copy == 2 && !is_alone(service)).await;
    let failures = load.failures_since(began);
    let done = load.stop().await;
    println!(
        "every process restarted within {:?}: {} requests, {} failed",
        began.elapsed(),
        done.requests,
        failures.len()
    );
    for failure in failures.iter().take(20) {
        println!("  after {:?}: {}", failure.at - began, failure.what);
    }
    assert!(failures.is_empty(), "requests failed");
    assert!(done.requests > 200, "that was no load");
    world.keep(&done);
    world.hold().await;
    world.rebuilds_the_same();
}
