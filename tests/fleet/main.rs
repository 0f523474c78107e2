//! Pillion as a fleet: streams that bring what any process took up, limits that hold over all
//! gateways, restarts that nobody notices, a process of a pair that dies, and parts that lose each
//! other.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a suite that finds what it did not expect ends there, with the reason; figures are \
              printed"
)]

mod kills;
mod limits;
mod load;
mod partitions;
mod restarts;
mod streams;
mod world;

use tokio::sync::Mutex;
use world::World;

/// A fleet is a dozen processes and more: one at a time.
static ONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_carries_on_while_its_processes_come_and_go() {
    let _alone = ONE.lock().await;
    let mut world = World::start(None).await;
    streams::bring_what_any_process_took_up(&mut world).await;
    limits::are_exact_over_all_gateways(&world).await;
    restarts::nobody_notices(&mut world).await;
    kills::the_other_one_carries_on(&mut world).await;
    world.fleet.stop().await;
}

#[test]
fn partitions_lose_and_double_nothing() {
    if !pillion_tests::fleet::in_own_network("partitions_lose_and_double_nothing") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("threads").block_on(async {
        let _alone = ONE.lock().await;
        partitions::lose_and_double_nothing().await;
    });
}
