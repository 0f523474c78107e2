//! Any two parts lose each other for a while, and find each other again: nothing that was
//! acknowledged is lost, nothing is there twice, everything goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pillion_test_servers::{Network, Place};

use crate::world::World;

/// How long a cut lasts, unless `PILLION_SOAK_PARTITION_S` says otherwise.
const CUT: Duration = Duration::from_secs(6);
/// After a cut everything works again within this.
const BACK_DEADLINE: Duration = Duration::from_secs(20);
/// Tokens last for a quarter of an hour; one cut less than half of it.
const TOKENS: Duration = Duration::from_mins(6);
/// Nothing has failed for this long: it works again.
const QUIET: Duration = Duration::from_secs(2);

/// Cut at every run: one of each kind of way.
const USUAL: [(&str, &str); 8] = [
    ("gateway-1", "tweets-1"),
    ("tweets-1", "PostgreSQL"),
    ("tweets-1", "NATS"),
    ("timelines-1", "NATS"),
    ("engagements-1", "PostgreSQL"),
    ("tweets-1", "users-1"),
    ("identity-1", "users-1"),
    ("gateway-1", "identity-1"),
];

/// Two parts that talk, by their names.
type Pair = (String, String);

/// All ways on which something goes: every process to every other and to the servers.
fn all(world: &World) -> Vec<Pair> {
    let running = world.fleet.hosts().filter(|host| host.is_running());
    let names: Vec<String> = running.map(pillion_test_servers::Host::name).collect();
    let mut pairs = Vec::new();
    for (index, one) in names.iter().enumerate() {
        // Whoever has two is well with one, and the second is like the first.
        if one.ends_with("-2") {
            continue;
        }
        let others = names.iter().skip(index + 1).map(String::as_str);
        let servers = ["PostgreSQL", "NATS"];
        pairs.extend(others.chain(servers).map(|other| (one.clone(), other.to_owned())));
    }
    pairs
}

fn place(world: &World, name: &str) -> Place {
    match name {
        "PostgreSQL" => world.fleet.postgres.place().clone(),
        "NATS" => world.fleet.nats.place().clone(),
        _ => {
            let mut hosts = world.fleet.hosts();
            let found = hosts.find(|host| host.name() == name);
            found.unwrap_or_else(|| panic!("there is no part {name}")).place().clone()
        }
    }
}

pub(crate) async fn lose_and_double_nothing() {
    let network = Arc::new(Network::new());
    let mut world = World::start(Some(Arc::clone(&network))).await;
    let soak = std::env::var("PILLION_SOAK_PARTITION_S").ok();
    let usual = || USUAL.map(|(one, other)| (one.to_owned(), other.to_owned())).to_vec();
    let (pairs, cut) = match soak {
        None => (usual(), CUT),
        Some(seconds) => {
            let seconds = seconds.parse().expect("PILLION_SOAK_PARTITION_S is a number");
            let part = std::env::var("PILLION_SOAK_PART").ok();
            let mut pairs = all(&world);
            pairs.retain(|(one, other)| part.as_ref().is_none_or(|it| one == it || other == it));
            assert!(!pairs.is_empty(), "there is no part {part:?}");
            (pairs, Duration::from_secs(seconds))
        }
    };
    let mut logged_in = Instant::now();
    for (one, other) in pairs {
        if logged_in.elapsed() > TOKENS {
            world.log_in().await;
            logged_in = Instant::now();
        }
        let load = world.load(true);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        let parted = network.cut(&place(&world, &one), &place(&world, &other));
        tokio::time::sleep(cut).await;
        drop(parted);
        let healed = Instant::now();
        let meanwhile = load.failures_since(began).len();
        let back = loop {
            let last = load.failures_since(began).last().map_or(healed, |failure| failure.at);
            let last = last.max(healed);
            if last.elapsed() >= QUIET {
                break last - healed;
            }
            assert!(healed.elapsed() < BACK_DEADLINE, "{:?}", load.failures_since(healed));
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let failures = load.failures_since(began).len();
        let done = load.stop().await;
        println!(
            "{one} | {other}: {} requests, {meanwhile} failed within {cut:?}, {} after it, the \
             last {back:?} after it",
            done.requests,
            failures - meanwhile,
        );
        world.keep(&done);
    }
    world.log_in().await;
    world.hold().await;
    world.fleet.stop().await;
}
