//! How costs grow with what is stored and with followers: one request after the other, on a
//! system that does nothing else.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::report::machine;
use crate::system::api::Api;
use crate::system::delivery::{Delivered, deliver};
use crate::system::latency::{Latencies, figure};
use crate::system::mix::per_request_us;
use crate::system::numbers::Numbers;
use crate::system::population::Population;
use crate::system::running::{Place, Running};
use crate::system::seed::{Seeder, Span};
use crate::system::text::{Writer, word};
use crate::{clock, places};

/// The population whose tweets grow: everyone follows the same number of others.
const USERS: usize = 1_000;
const FOLLOWING: usize = 10;

/// Requests before those that are measured: caches fill.
const WARM_UP: u64 = 50;

/// The server rests when it has used no CPU time for so long.
const REST: Duration = Duration::from_millis(250);

/// It must rest some time; it has little to do.
const REST_DEADLINE: Duration = Duration::from_mins(2);

/// Tweets whose delay is measured for each number of followers.
const DELIVERIES: u64 = 20;

/// A cost that has grown by less than this, while what is stored grew by powers of ten, is flat.
const FLAT: f64 = 1.5;

/// How the growth is measured.
#[derive(Clone, Debug)]
pub struct GrowthPlan {
    /// Stored tweets, ascending.
    pub tweets: Vec<u64>,
    /// Followers of an author.
    pub followers: Vec<usize>,
    /// Requests of each kind.
    pub requests: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Home,
    User,
    /// A word of which there are a few in ten thousand tweets.
    SearchRare,
    /// A word of every tenth tweet or so.
    SearchCommon,
    /// Two words of which each is common.
    SearchBoth,
    Post,
}

impl Asked {
    const ALL: [Self; 6] = [
        Self::Home,
        Self::User,
        Self::SearchRare,
        Self::SearchCommon,
        Self::SearchBoth,
        Self::Post,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Home => "home, 20 tweets",
            Self::User => "user timeline, 20 tweets",
            Self::SearchRare => "search, a rare word",
            Self::SearchCommon => "search, a common word",
            Self::SearchBoth => "search, two common words",
            Self::Post => "post, delivered to 10",
        }
    }
}

/// The cost of one kind of request.
#[derive(Debug)]
struct Cost {
    times: Latencies,
    /// CPU time of the server a request, with all that comes of it.
    cpu_us: f64,
}

/// All costs with so many stored tweets.
#[derive(Debug)]
struct Stored {
    tweets: u64,
    database_bytes: u64,
    costs: Vec<Cost>,
}

/// What a tweet costs whose author has so many followers.
#[derive(Debug)]
struct Followed {
    followers: usize,
    post: Cost,
    delivered: Delivered,
}

/// Measures, prints the tables and writes the figures.
pub fn growth(plan: &GrowthPlan) -> Result<()> {
    if !plan.tweets.is_sorted() {
        bail!("numbers of tweets must ascend: each step adds to the one before");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut stored = runtime.block_on(with_tweets(plan))?;
    let mut followed = runtime.block_on(with_followers(plan))?;
    let tables = table(&mut stored)? + &followers_table(&mut followed)?;
    std::io::stdout().write_all(tables.as_bytes())?;
    let document = json!({
        "machine": machine(),
        "requests": plan.requests,
        "tweets": stored.iter_mut().map(stored_document).collect::<Vec<_>>(),
        "followers": followed.iter_mut().map(followed_document).collect::<Vec<_>>(),
    });
    places::write_results("growth", &document)
}

async fn with_tweets(plan: &GrowthPlan) -> Result<Vec<Stored>> {
    let population = Population::even(USERS, FOLLOWING);
    let place = Place::new()?;
    let most = plan.tweets.last().copied().unwrap_or_default();
    let span = Span::new(most);
    let mut stored = Vec::new();
    let mut there = 0;
    for tweets in &plan.tweets {
        eprintln!("making tweets {} to {tweets}", there + 1);
        let seeder = Seeder::open(&place.data()).await?;
        if stored.is_empty() {
            seeder.population(&population).await?;
        }
        seeder.tweets(&population, span, there..*tweets).await?;
        seeder.close().await?;
        there = *tweets;
        let running = place.start()?;
        let api = Api::new(&running.url, USERS)?;
        let mut costs = Vec::new();
        for asked in Asked::ALL {
            eprintln!("{} with {tweets} tweets", asked.name());
            let cost =
                cost(&running, plan.requests, |serial| ask(&api, &population, asked, serial));
            costs.push(cost.await.with_context(|| asked.name().to_owned())?);
        }
        running.stop()?;
        stored.push(Stored { tweets: *tweets, database_bytes: place.database_bytes()?, costs });
    }
    Ok(stored)
}

/// A request; the same for the same serial number but for a tweet's text.
async fn ask(api: &Api, population: &Population, asked: Asked, serial: u64) -> Result<()> {
    let mut numbers = Numbers::new(serial);
    let user = population.anyone(&mut numbers);
    match asked {
        Asked::Home => api.home(user).await.map(drop),
        Asked::User => {
            let of = population.anyone(&mut numbers);
            api.tweets_of(user, of).await.map(drop)
        }
        Asked::SearchRare => {
            let rare = word(8_000 + numbers.below(4_000));
            api.search(user, &rare).await.map(drop)
        }
        Asked::SearchCommon => api.search(user, &word(4 + numbers.below(8))).await.map(drop),
        Asked::SearchBoth => {
            let first = numbers.below(4);
            let words = format!("{} {}", word(first), word(4 + numbers.below(4)));
            api.search(user, &words).await.map(drop)
        }
        Asked::Post => {
            let text = Writer::new().tweet(&mut numbers, clock::now_us());
            api.post(user, &text).await.map(drop)
        }
    }
}

async fn with_followers(plan: &GrowthPlan) -> Result<Vec<Followed>> {
    let population = Population::stars(&plan.followers);
    eprintln!("making {} users for accounts with many followers", population.users());
    let place = Place::new()?;
    let seeder = Seeder::open(&place.data()).await?;
    seeder.population(&population).await?;
    seeder.close().await?;
    let running = place.start()?;
    let api = Api::new(&running.url, population.users())?;
    let mut followed = Vec::new();
    for (star, followers) in plan.followers.iter().enumerate() {
        eprintln!("posts with {followers} followers");
        let text = || format!("to all of you {}", clock::now_us());
        let posting = async |_serial| api.post(star, &text()).await.map(drop);
        let post = cost(&running, DELIVERIES, posting).await?;
        let all = population.followers(star);
        let (mut delivered, mut numbers) = (Delivered::default(), Numbers::new(1));
        for _ in 0..DELIVERIES {
            delivered.extend(deliver(&api, star, &text(), &all, &mut numbers).await?);
            rest(&running).await?;
        }
        followed.push(Followed { followers: *followers, post, delivered });
    }
    running.stop()?;
    Ok(followed)
}

/// Asks one thing after the other and counts all CPU time until the server rests again.
async fn cost(
    running: &Running,
    requests: u64,
    ask: impl AsyncFn(u64) -> Result<()>,
) -> Result<Cost> {
    for serial in 0..WARM_UP.min(requests) {
        ask(serial).await?;
    }
    let before = rest(running).await?;
    let mut times = Latencies::default();
    for serial in 0..requests {
        let began = Instant::now();
        ask(WARM_UP + serial).await?;
        times.add(began.elapsed());
    }
    let cpu = rest(running).await?.saturating_sub(before);
    Ok(Cost { times, cpu_us: per_request_us(cpu, usize::try_from(requests)?) })
}

/// Waits until the server has nothing to do; gives the CPU time that it has used so far.
async fn rest(running: &Running) -> Result<Duration> {
    let began = Instant::now();
    let mut before = running.cpu()?;
    while began.elapsed() < REST_DEADLINE {
        tokio::time::sleep(REST).await;
        let now = running.cpu()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    bail!("the server does not come to rest")
}

fn table(stored: &mut [Stored]) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "\ncosts and stored tweets: {USERS} users who follow {FOLLOWING} each; server's CPU us a \
         request, and its time in ms"
    )?;
    write!(out, "  {:<26}", "stored tweets")?;
    for step in &*stored {
        write!(out, " | {:>8} CPU    p50    p99", step.tweets)?;
    }
    writeln!(out, " | CPU grows")?;
    for (index, asked) in Asked::ALL.iter().enumerate() {
        write!(out, "  {:<26}", asked.name())?;
        for step in &mut *stored {
            let Some(cost) = step.costs.get_mut(index) else { continue };
            let [half, most] =
                [50.0, 99.0].map(|percent| figure(cost.times.percentile_ms(percent)));
            write!(out, " | {:>12} {half:>6} {most:>6}", figure(Some(cost.cpu_us)))?;
        }
        let costs = || stored.iter().filter_map(|step| Some(step.costs.get(index)?.cpu_us));
        let grown = costs().next_back().zip(costs().next()).map(|(last, first)| last / first);
        let verdict = if grown.is_some_and(|grown| grown > FLAT) { "grows" } else { "flat" };
        writeln!(out, " | x {} {verdict}", figure(grown))?;
    }
    write!(out, "  {:<26}", "databases, MB")?;
    for step in &*stored {
        write!(out, " | {:>12} {:>13}", step.database_bytes / 1_000_000, "")?;
    }
    writeln!(out)?;
    Ok(out)
}

fn followers_table(followed: &mut [Followed]) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "\nposts and followers: server's CPU us a post with its delivery; times in ms; delay from \
         sending until followers see it"
    )?;
    writeln!(
        out,
        "  followers |  CPU us/post   us/follower | post p50    p99 | delay p50    p99 unseen"
    )?;
    for it in followed {
        let [half, most] = [50.0, 99.0].map(|percent| figure(it.post.times.percentile_ms(percent)));
        let [seen, last] =
            [50.0, 99.0].map(|percent| figure(it.delivered.seen.percentile_ms(percent)));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = it.post.cpu_us / it.followers.max(1) as f64;
        writeln!(
            out,
            "  {:>9} | {:>12} {:>13} | {half:>8} {most:>6} | {seen:>9} {last:>6} {:>6}",
            it.followers,
            figure(Some(it.post.cpu_us)),
            figure(Some(each)),
            it.delivered.unseen
        )?;
    }
    Ok(out)
}

fn cost_document(cost: &mut Cost) -> Value {
    let [p50, p99] = [50.0, 99.0].map(|percent| cost.times.percentile_ms(percent));
    json!({ "cpu_us": cost.cpu_us, "p50_ms": p50, "p99_ms": p99 })
}

fn stored_document(stored: &mut Stored) -> Value {
    let costs = Asked::ALL.iter().zip(&mut stored.costs);
    let costs = costs.map(|(asked, cost)| (asked.name().to_owned(), cost_document(cost)));
    json!({
        "tweets": stored.tweets, "database_bytes": stored.database_bytes,
        "costs": costs.collect::<serde_json::Map<_, _>>(),
    })
}

fn followed_document(followed: &mut Followed) -> Value {
    let [p50, p99] = [50.0, 99.0].map(|percent| followed.delivered.seen.percentile_ms(percent));
    json!({
        "followers": followed.followers, "post": cost_document(&mut followed.post),
        "delay_p50_ms": p50, "delay_p99_ms": p99, "unseen": followed.delivered.unseen,
    })
}
