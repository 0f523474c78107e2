//! Any two parts lose each other for a while, and find each other again: nothing that was
//! acknowledged is lost, nothing is there twice, every saga comes to an end, everything goes on.
//!
//! A part is a service with all of its processes, one process of it, or a server. Several pairs are
//! cut at once, none of them with a part of another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pillion_test_servers::{Network, Place, SERVICES};

use crate::world::World;

/// How long a cut lasts, unless `PILLION_SOAK_PARTITION_S` says otherwise.
const CUT: Duration = Duration::from_secs(6);
/// After a cut everything works again within this.
const BACK_DEADLINE: Duration = Duration::from_secs(20);
/// Tokens last for a quarter of an hour; one round less than half of it.
const TOKENS: Duration = Duration::from_mins(6);
/// Nothing has failed for this long: it works again.
const QUIET: Duration = Duration::from_secs(2);

/// Cut at every run: one of each kind of way, with the other process of a pair in reach.
const USUAL: [&[(&str, &str)]; 3] = [
    &[
        ("gateway-1", "tweets-1"),
        ("timelines-1", "NATS"),
        ("engagements-1", "PostgreSQL"),
        ("identity-1", "users-1"),
    ],
    &[("tweets-1", "PostgreSQL"), ("gateway-1", "Redis")],
    &[("tweets-1", "NATS"), ("gateway-1", "identity-1"), ("users", "graph")],
];

/// Two parts, by their names.
type Pair = (String, String);

/// Every part of a fleet.
fn parts() -> Vec<&'static str> {
    SERVICES.iter().map(|(service, _)| *service).chain(["PostgreSQL", "NATS", "Redis"]).collect()
}

/// Every two parts once, in rounds in which each part has another one: one keeps its seat at a
/// round table, and the others move on.
fn rounds(parts: &[&str]) -> Vec<Vec<Pair>> {
    let Some((seated, others)) = parts.split_last() else { return Vec::new() };
    assert_eq!(parts.len() % 2, 0, "somebody would be alone");
    let round = |round: usize| {
        let at = |seat: usize| others[(round + seat) % others.len()];
        let across = (1..=others.len() / 2).map(|seat| (at(seat), at(others.len() - seat)));
        let pairs = std::iter::once((at(0), *seated)).chain(across);
        pairs.map(|(one, other)| (one.to_owned(), other.to_owned())).collect()
    };
    (0..others.len()).map(round).collect()
}

/// The rounds of this run and how long each lasts. `PILLION_SOAK_PART` leaves only pairs with that
/// part, or one pair: `users` or `users,NATS`.
fn asked_for() -> (Vec<Vec<Pair>>, Duration) {
    let Ok(seconds) = std::env::var("PILLION_SOAK_PARTITION_S") else {
        let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        return (USUAL.map(|pairs| pairs.iter().map(owned).collect()).to_vec(), CUT);
    };
    let cut = Duration::from_secs(seconds.parse().expect("PILLION_SOAK_PARTITION_S is a number"));
    let only = std::env::var("PILLION_SOAK_PART").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|part| !part.is_empty()).collect();
    let mut rounds = rounds(&parts());
    for pairs in &mut rounds {
        pairs.retain(|(one, other)| only.iter().all(|part| one == part || other == part));
    }
    rounds.retain(|pairs| !pairs.is_empty());
    assert!(!rounds.is_empty(), "there is no such pair: {only:?} of {:?}", parts());
    (rounds, cut)
}

/// Where a part is.
fn places(world: &World, name: &str) -> Vec<Place> {
    let fleet = &world.fleet;
    match name {
        "PostgreSQL" => vec![fleet.postgres.place().clone()],
        "NATS" => vec![fleet.nats.place().clone()],
        "Redis" => vec![fleet.redis.place().clone()],
        _ => {
            let of_it = fleet.hosts().filter(|host| host.is_running());
            let of_it = of_it.filter(|host| host.service() == name || host.name() == name);
            let places: Vec<Place> = of_it.map(|host| host.place().clone()).collect();
            assert!(!places.is_empty(), "there is no part {name}");
            places
        }
    }
}

pub(crate) async fn lose_and_double_nothing() {
    let network = Arc::new(Network::new());
    let mut world = World::start(Some(Arc::clone(&network))).await;
    let (rounds, cut) = asked_for();
    let is_long = cut > CUT;
    let mut logged_in = Instant::now();
    for (number, pairs) in (1..).zip(&rounds) {
        if logged_in.elapsed() > TOKENS {
            world.log_in().await;
            logged_in = Instant::now();
        }
        println!("round {number} of {}: {}", rounds.len(), told(pairs));
        round(&mut world, &network, pairs, cut).await;
        if is_long {
            world.hold().await;
        }
    }
    world.log_in().await;
    world.hold().await;
    world.rebuilds_the_same();
    world.fleet.stop().await;
}

fn told(pairs: &[Pair]) -> String {
    let told: Vec<String> = pairs.iter().map(|(one, other)| format!("{one} | {other}")).collect();
    told.join(", ")
}

/// Cuts these pairs for a while under load, and waits until everything works again.
async fn round(world: &mut World, network: &Network, pairs: &[Pair], cut: Duration) {
    let load = world.load(true);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    let mut parted = Vec::new();
    for (one, other) in pairs {
        for one in places(world, one) {
            for other in places(world, other) {
                parted.push(network.cut(&one, &other));
            }
        }
    }
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
        "  {} requests, {meanwhile} failed within {cut:?}, {} after it, the last {back:?} after it",
        done.requests,
        failures - meanwhile,
    );
    world.keep(&done);
}

#[test]
fn every_two_parts_lose_each_other_once() {
    let parts = parts();
    let rounds = rounds(&parts);
    assert_eq!(rounds.len(), parts.len() - 1);
    let mut all = std::collections::BTreeSet::new();
    for pairs in &rounds {
        let mut busy: Vec<&str> =
            pairs.iter().flat_map(|(one, other)| [one.as_str(), other]).collect();
        busy.sort_unstable();
        busy.dedup();
        assert_eq!(busy.len(), parts.len(), "{pairs:?}");
        all.extend(pairs.iter().map(|(one, other)| [one.min(other), one.max(other)]));
    }
    assert_eq!(all.len(), parts.len() * (parts.len() - 1) / 2);
}
