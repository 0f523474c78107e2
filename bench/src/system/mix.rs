//! The published mix of requests at rising rates, with the delay of tweets on the side.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::report::machine;
use crate::system::api::{Api, PAGE_TWEETS, check};
use crate::system::delivery::{Delivered, deliver};
use crate::system::latency::figure;
use crate::system::numbers::Numbers;
use crate::system::open_loop::{Kind, OpenLoop, Outcome};
use crate::system::population::Population;
use crate::system::running::{Place, Running};
use crate::system::seed::{Seeder, Span};
use crate::{clock, places};

/// Tweets that everyone has before the load begins.
const TWEETS_PER_USER: usize = 10;

/// Caches fill, connections open.
const WARM_UP: Duration = Duration::from_secs(5);

/// Between the tweets whose delay is measured.
const DELIVER_EVERY: Duration = Duration::from_secs(1);

/// The followers that their author should have.
const FOLLOWERS: usize = 1_000;

/// What is promised for 1,000 followers, in milliseconds.
const HOME_P99_MS: f64 = 25.0;
const POST_P99_MS: f64 = 50.0;
const DELIVERY_P99_MS: f64 = 1_000.0;

/// How the load goes.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// Sizes of populations.
    pub users: Vec<usize>,
    /// Requests a second, one after the other.
    pub rates: Vec<u32>,
    /// Length of each measurement.
    pub time: Duration,
}

/// One measurement.
#[derive(Debug)]
struct Row {
    rate: u32,
    outcome: Outcome,
    delivered: Delivered,
    /// CPU time of the server a request that succeeded, those for measuring delays included.
    cpu_us: f64,
}

/// What was measured with one population.
#[derive(Debug)]
struct Measured {
    users: usize,
    follows: usize,
    star_followers: usize,
    rows: Vec<Row>,
}

/// Measures every population at every rate, prints the tables and writes the figures.
pub fn load(plan: &LoadPlan) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut all = Vec::new();
    for users in &plan.users {
        let mut measured = runtime
            .block_on(measure(*users, plan))
            .with_context(|| format!("with {users} users"))?;
        std::io::stdout().write_all(table(&mut measured)?.as_bytes())?;
        all.push(measured);
    }
    let document = json!({
        "machine": machine(),
        "seconds": plan.time.as_secs(),
        "populations": all.iter_mut().map(document).collect::<Vec<_>>(),
    });
    places::write_results("load", &document)
}

async fn measure(users: usize, plan: &LoadPlan) -> Result<Measured> {
    eprintln!("making {users} users, their follows and {} tweets", users * TWEETS_PER_USER);
    let population = Arc::new(Population::power_law(users));
    let place = Place::new()?;
    let seeder = Seeder::open(&place.data()).await?;
    seeder.population(&population).await?;
    let tweets = (users * TWEETS_PER_USER) as u64;
    seeder.tweets(&population, Span::new(tweets), 0..tweets).await?;
    seeder.close().await?;

    let running = place.start()?;
    let api = Arc::new(Api::new(&running.url, users)?);
    let star = population.with_followers(FOLLOWERS);
    let followers = population.followers(star);
    let serials = Arc::new(AtomicU64::new(clock::now_us()));
    let open_loop = |rate: u32, time: Duration| OpenLoop {
        api: api.clone(),
        population: population.clone(),
        rate: f64::from(rate),
        time,
    };
    check("a home", &api.home(followers.first().copied().unwrap_or(0)).await?, PAGE_TWEETS / 2)?;
    check("a user timeline", &api.tweets_of(0, star).await?, 1)?;
    let first = plan.rates.first().copied().unwrap_or(1);
    open_loop(first, WARM_UP).run(&serials).await?;
    let mut rows = Vec::new();
    for rate in &plan.rates {
        eprintln!("{rate} requests a second for {} s", plan.time.as_secs());
        let before = running.cpu()?;
        let deliveries = deliveries(&api, star, &followers, plan.time, &serials);
        let loaded = open_loop(*rate, plan.time).run(&serials);
        let (outcome, delivered) = tokio::try_join!(loaded, deliveries)?;
        let cpu = running.cpu()?.saturating_sub(before);
        let requests = outcome.answered() + delivered.requests;
        rows.push(Row { rate: *rate, outcome, cpu_us: per_request_us(cpu, requests), delivered });
    }
    stop(running)?;
    let (follows, star_followers) = (population.follows(), followers.len());
    Ok(Measured { users, follows, star_followers, rows })
}

fn stop(running: Running) -> Result<()> {
    running.stop().context("after the load")
}

/// Posts as the star now and then, and looks when the tweets arrive.
async fn deliveries(
    api: &Api,
    star: usize,
    followers: &[usize],
    time: Duration,
    serials: &AtomicU64,
) -> Result<Delivered> {
    let mut numbers = Numbers::new(star as u64);
    let mut all = Delivered::default();
    let began = Instant::now();
    while began.elapsed() < time {
        let round = Instant::now();
        let text = format!("how fast is this {}", serials.fetch_add(1, Ordering::Relaxed));
        match deliver(api, star, &text, followers, &mut numbers).await {
            Ok(delivered) => all.extend(delivered),
            // As under the load itself: one that fails is counted, and the next one comes.
            Err(error) => {
                all.failed += 1;
                eprintln!("  a delivery failed: {error:#}");
            }
        }
        tokio::time::sleep(DELIVER_EVERY.saturating_sub(round.elapsed())).await;
    }
    Ok(all)
}

/// CPU time of one of so many requests, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn per_request_us(cpu: Duration, requests: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / requests.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(outcome: &Outcome) -> f64 {
    outcome.answered() as f64 / outcome.took.as_secs_f64()
}

fn table(measured: &mut Measured) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "\n{} users, {} follows; 60 % home, 30 % user timeline, 10 % post; open loop, every \
         plugin; times in ms;\ndelay until 99 % of the homes looked at have the tweet of an \
         account with {} followers",
        measured.users, measured.follows, measured.star_followers
    )?;
    writeln!(
        out,
        "  rate/s  answered/s  failed  CPU us/req |  home p50    p99 |  user p50    p99 |  post \
         p50    p99 | delay p50    p99 unseen"
    )?;
    for row in &mut measured.rows {
        let failed = row.outcome.failed + row.outcome.unsent + row.delivered.failed;
        write!(
            out,
            "  {:>6} {:>11} {failed:>7} {:>11} |",
            row.rate,
            figure(Some(per_second(&row.outcome))),
            figure(Some(row.cpu_us))
        )?;
        for kind in Kind::ALL {
            let mut times = row.outcome.times.get(&kind).cloned().unwrap_or_default();
            let [half, most] = [50.0, 99.0].map(|percent| figure(times.percentile_ms(percent)));
            write!(out, " {half:>9} {most:>6} |")?;
        }
        let [half, most] =
            [50.0, 99.0].map(|percent| figure(row.delivered.seen.percentile_ms(percent)));
        writeln!(out, " {half:>9} {most:>6} {:>6}", row.delivered.unseen)?;
        for (what, count) in &row.outcome.failures {
            writeln!(out, "          {count} x {what}")?;
        }
    }
    writeln!(out, "  objectives (p99, at the highest rate without a failure that meets them all)")?;
    writeln!(out, "  {}", objectives(measured))?;
    Ok(out)
}

/// The highest rate at which everything that is promised held.
fn objectives(measured: &mut Measured) -> String {
    let holds = |row: &mut Row| {
        let mut within = |kind: Kind, bound: f64| {
            let times = row.outcome.times.get_mut(&kind);
            times.and_then(|times| times.percentile_ms(99.0)).is_some_and(|ms| ms <= bound)
        };
        within(Kind::Home, HOME_P99_MS)
            && within(Kind::Post, POST_P99_MS)
            && row.delivered.seen.percentile_ms(99.0).is_some_and(|ms| ms <= DELIVERY_P99_MS)
            && row.delivered.unseen + row.delivered.failed == 0
            && row.outcome.failed + row.outcome.unsent == 0
    };
    let best = measured.rows.iter_mut().filter_map(|row| holds(row).then_some(row.rate)).max();
    let bounds = format!(
        "home <= {HOME_P99_MS} ms, post <= {POST_P99_MS} ms, delay <= {DELIVERY_P99_MS} ms"
    );
    match best {
        Some(rate) => format!("{bounds}: met up to {rate} requests/s"),
        None => format!("{bounds}: met at none of these rates"),
    }
}

fn document(measured: &mut Measured) -> Value {
    let rows: Vec<Value> = measured
        .rows
        .iter_mut()
        .map(|row| {
            let mut times = serde_json::Map::new();
            for (kind, latencies) in &mut row.outcome.times {
                let figures = [50.0, 99.0, 99.9, 100.0].map(|p| latencies.percentile_ms(p));
                times.insert(kind.name().to_owned(), percentiles(figures));
            }
            let seen = [50.0, 99.0, 99.9, 100.0].map(|p| row.delivered.seen.percentile_ms(p));
            json!({
                "rate": row.rate,
                "answered_per_second": per_second(&row.outcome),
                "failed": row.outcome.failed, "unsent": row.outcome.unsent,
                "failures": row.outcome.failures,
                "cpu_us": row.cpu_us,
                "times_ms": times,
                "delay_ms": percentiles(seen), "unseen": row.delivered.unseen,
            })
        })
        .collect();
    json!({
        "users": measured.users, "follows": measured.follows,
        "star_followers": measured.star_followers, "rows": rows,
    })
}

fn percentiles([p50, p99, p999, max]: [Option<f64>; 4]) -> Value {
    json!({ "p50": p50, "p99": p99, "p99.9": p999, "max": max })
}
