//! Every place where something is half done, ten times each, on both back ends; and kills at any
//! moment.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use pillion_tests::system::{Servers, System};

use crate::world::{World, told, without_limits};

/// Before and after what is done at one place only. `chassis` has the places by these names.
const POINTS: [&str; 7] = [
    "commit.before",
    "commit.after",
    "publish.before",
    "publish.after",
    "deliver.after",
    "inbox.commit.before",
    "inbox.commit.after",
];

/// Crashes at each place.
const RUNS: u32 = 10;

/// Writes of each account in one round; most places come by much earlier.
const ROUND_WRITES: u32 = 60;

/// Rounds go on until the process has met its end, within this time.
const MEET_DEADLINE: Duration = Duration::from_mins(1);

/// Between two rounds: the events of one may still be on their way to the place.
const ROUND_PAUSE: Duration = Duration::from_millis(300);

/// How long the process may need to come to an end that it has met.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// SIGABRT.
const ABORTED: i32 = 6;

async fn crash_at_every_point(mut world: World) {
    let mut met = BTreeMap::new();
    for point in POINTS {
        for run in 0..RUNS {
            // Another of the many times that a run comes by.
            let nth = 1 + (run * 7) % 23;
            world.system.once("PILLION_CRASH_AT", &format!("{point}:{nth}"));
            // It may meet its end before it is ready: it resumes what the last one left.
            if world.system.try_launch() {
                let began = Instant::now();
                loop {
                    world.work(ROUND_WRITES).await;
                    tokio::time::sleep(ROUND_PAUSE).await;
                    if !world.system.is_alive() {
                        break;
                    }
                    assert!(began.elapsed() < MEET_DEADLINE, "{point}:{nth} was not met");
                }
            }
            // Ended by the abort at that place, and by nothing else.
            let ending = world.system.ending().expect("it has ended");
            assert_eq!(ending.signal(), Some(ABORTED), "{point}:{nth}: {}", world.system.log());
            *met.entry(point).or_insert(0) += 1;
        }
        world.check().await;
        world.system.stop();
    }
    world.system.launch();
    println!("{}; {}", told(&met), world.report().await);
    assert_eq!(met, POINTS.map(|point| (point, RUNS)).into(), "a place was not met in every run");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_reordered_on_files() {
    crash_at_every_point(World::begin(System::start_with(without_limits)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_reordered_on_servers() {
    let servers = Servers::start().await;
    crash_at_every_point(World::begin(System::start_on(&servers, without_limits)).await).await;
}

/// Kills at any moment, of a new system every now and then, which bounds what has to be compared.
async fn kills_at_any_moment(begin: impl AsyncFn() -> (World, Option<Servers>)) {
    /// `PILLION_SOAK_KILLS` sets another number.
    const KILLS: u32 = 10;
    const CHECK_EVERY: u32 = 10;
    const KILLS_OF_ONE_SYSTEM_MAX: u32 = 50;
    let kills = match std::env::var("PILLION_SOAK_KILLS") {
        Ok(kills) => kills.parse().expect("a number of kills"),
        Err(_) => KILLS,
    };
    let (mut world, mut servers) = begin().await;
    for kill in 1..=kills {
        world.system.launch();
        // Spread over the life of a process: while it takes up the rest of the last one, and
        // later.
        let after = Duration::from_millis(u64::from(kill * 37 % 400));
        let pid = world.system.pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(after);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)
        });
        world.work(u32::MAX).await;
        killer.join().expect("no panic").expect("a child of ours");
        assert!(world.system.ended(END_DEADLINE).await);
        if kill % CHECK_EVERY == 0 || kill == kills {
            world.check().await;
            println!("{kill} kills: {}", world.report().await);
            world.system.stop();
        }
        if kill % KILLS_OF_ONE_SYSTEM_MAX == 0 {
            drop((world, servers));
            (world, servers) = begin().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_leave_what_was_acknowledged_on_files() {
    kills_at_any_moment(async || (World::begin(System::start_with(without_limits)).await, None))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_leave_what_was_acknowledged_on_servers() {
    kills_at_any_moment(async || {
        let servers = Servers::start().await;
        (World::begin(System::start_on(&servers, without_limits)).await, Some(servers))
    })
    .await;
}
