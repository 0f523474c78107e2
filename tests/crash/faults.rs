//! What the system stands on fails: the broker is away or has lost everything, the database does
//! not answer or is killed, the disk is full. Callers are told in time, nothing that was
//! acknowledged is lost, and the system comes back by itself.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pillion_tests::client::Answer;
use pillion_tests::system::{Servers, System};

use crate::world::{World, without_limits};

/// A caller learns that the database cannot be used within this (two seconds), with some room
/// for a busy machine.
const TOLD_DEADLINE: Duration = Duration::from_secs(2 + 1);
/// Writes are taken again within this, once the cause is gone; with some room.
const BACK_DEADLINE: Duration = Duration::from_secs(5 + 5);

/// How long the broker is away: as long as fifty posts take, or what `cargo xtask soak outage` asks
/// for.
fn outage() -> Duration {
    let seconds = std::env::var("PILLION_SOAK_OUTAGE_S").ok();
    Duration::from_secs(seconds.map_or(0, |text| text.parse().expect("whole seconds")))
}

/// A problem that says when to come back.
#[track_caller]
fn is_unavailable(answer: &Answer) {
    assert_eq!(answer.status.as_u16(), 503, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let retry_after: u32 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&retry_after), "{retry_after}");
}

/// Posts until one is taken; how long that took.
async fn until_taken(world: &mut World) -> Duration {
    let began = Instant::now();
    while world.post().await.status.as_u16() != 201 {
        assert!(began.elapsed() < BACK_DEADLINE, "writes are not taken again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_broker_the_system_takes_writes_and_catches_up_later() {
    let servers = Servers::start().await;
    let mut world = World::begin(System::start_on(&servers, without_limits)).await;
    world.system.launch();
    world.work(5).await;
    world.until_even().await;

    servers.nats.kill().await;
    let away = Instant::now();
    let mut posts = 0_u32;
    while posts < 50 || away.elapsed() < outage() {
        assert_eq!(world.post().await.status.as_u16(), 201);
        posts += 1;
        if posts > 50 {
            // A soak is about time, not about as much as the machine can do.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let metrics = world.system.admin().get("/metrics").send().await.text();
    assert!(metrics.contains("pillion_broker_up{service=\"tweets\"} 0"), "{metrics}");
    let lag = world.events_as_text(&["lag"]);
    assert!(lag.contains("broker down"), "{lag}");
    let away = away.elapsed();
    servers.nats.start_again().await;
    let back = Instant::now();
    world.until_even().await;
    println!(
        "broker away for {away:?}, {posts} posts; everybody had them {:?} later",
        back.elapsed()
    );
    world.hold().await;

    // The broker has lost what it had, while events come.
    servers.nats.wipe().await;
    for _ in 0..10 {
        assert_eq!(world.post().await.status.as_u16(), 201);
    }
    world.until_even().await;
    world.hold().await;

    // And while nobody was there to see it.
    world.system.stop();
    servers.nats.wipe().await;
    world.system.launch();
    world.until_even().await;
    world.hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_or_dies_is_told_in_time_and_nothing_is_lost() {
    let servers = Servers::start().await;
    let mut world = World::begin(System::start_on(&servers, without_limits)).await;
    world.system.launch();
    world.work(5).await;

    // It hangs while writes are under way, some of them in their commit.
    let working = world.work_beside(u32::MAX);
    tokio::time::sleep(Duration::from_millis(300)).await;
    servers.postgres.pause().await;
    let began = Instant::now();
    working.await.expect("no panic").add_to(&mut world);
    assert!(began.elapsed() < TOLD_DEADLINE * 2, "{:?}", began.elapsed());
    for _ in 0..3 {
        let began = Instant::now();
        is_unavailable(&world.post().await);
        assert!(began.elapsed() < TOLD_DEADLINE, "{:?}", began.elapsed());
    }
    servers.postgres.resume().await;
    let hung = until_taken(&mut world).await;

    // It dies, and is started again.
    let working = world.work_beside(u32::MAX);
    tokio::time::sleep(Duration::from_millis(300)).await;
    servers.postgres.kill().await;
    working.await.expect("no panic").add_to(&mut world);
    let began = Instant::now();
    is_unavailable(&world.post().await);
    assert!(began.elapsed() < TOLD_DEADLINE, "{:?}", began.elapsed());
    servers.postgres.start_again().await;
    let died = until_taken(&mut world).await;
    println!("writes taken again {hung:?} after a hang and {died:?} after a death");
    world.until_even().await;
    world.hold().await;
    println!("{}", world.report().await);
}

/// A disk of its own for the data folder, seen by the process only: it goes with it. The test
/// reaches it through the process's root.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_writes_go_on_when_there_is_room() {
    const DISK: &str = "48m";
    let mut system = System::new(without_limits, Vec::new());
    let data = system.data();
    system.on_a_disk_of(DISK);
    system.launch();
    let inside = |path: &std::path::Path| {
        PathBuf::from(format!("/proc/{}/root{}", system.pid().as_raw_nonzero(), path.display()))
    };
    let filler = inside(&data.join("filler"));
    let mut world = World::begin_running(system).await;
    world.work(5).await;

    fill(&filler);
    // What still fits into pages that are there already may be taken.
    let began = Instant::now();
    loop {
        let sent = Instant::now();
        let answer = world.post().await;
        assert!(sent.elapsed() < TOLD_DEADLINE, "{:?}", sent.elapsed());
        if answer.status.as_u16() != 201 {
            is_unavailable(&answer);
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "the disk is never full");
        fill(&filler);
    }
    for _ in 0..5 {
        is_unavailable(&world.post().await);
    }
    // Reads go on.
    world.read_home().await;
    std::fs::remove_file(&filler).expect("the filler");
    let back = until_taken(&mut world).await;
    println!("writes taken again {back:?} after there was room");
    world.until_even().await;
    world.hold().await;
}

/// Takes all the room that there is.
fn fill(path: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a file on the disk");
    let block = [0_u8; 4_096];
    while file.write_all(&block).is_ok() {}
}
