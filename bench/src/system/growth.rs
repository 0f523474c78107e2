//! How costs grow with what is stored and with followers: one request after the other, on a
//! system that does nothing else.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::report::machine;
use crate::system::api::{Api, PAGE_TWEETS, check};
use crate::system::delivery::{Delivered, deliver};
use crate::system::latency::{Latencies, figure};
use crate::system::mix::per_request_us;
use crate::system::numbers::Numbers;
use crate::system::plans::{self, Plan};
use crate::system::population::Population;
use crate::system::running::{Place, Running};
use crate::system::seed::Span;
use crate::system::services::Services;
use crate::system::text::{Writer, word};
use crate::{clock, places};

/// The population whose tweets grow: everyone follows the same number of others.
const USERS: usize = 250;
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
    /// A word that one tweet has.
    SearchUnique,
    /// A word that some in a thousand tweets have.
    SearchRare,
    /// A word that some in a hundred tweets have.
    SearchCommon,
    /// Two words of which each is common.
    SearchBoth,
    /// One author's tweets.
    SearchAuthor,
    Post,
}

impl Asked {
    const ALL: [Self; 8] = [
        Self::Home,
        Self::User,
        Self::SearchUnique,
        Self::SearchRare,
        Self::SearchCommon,
        Self::SearchBoth,
        Self::SearchAuthor,
        Self::Post,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::User => "user timeline",
            Self::SearchUnique => "search, a word of one",
            Self::SearchRare => "search, a rare word",
            Self::SearchCommon => "search, a common word",
            Self::SearchBoth => "search, two common words",
            Self::SearchAuthor => "search, an author",
            Self::Post => "post, delivered to 10",
        }
    }

    /// Tweets that every answer has.
    fn tweets_min(self) -> usize {
        match self {
            Self::Home | Self::SearchCommon => PAGE_TWEETS,
            Self::User | Self::SearchAuthor => PAGE_TWEETS / 2,
            Self::SearchUnique | Self::SearchRare | Self::SearchBoth => 1,
            Self::Post => 0,
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
    let (mut stored, plans) = runtime.block_on(with_tweets(plan))?;
    let mut followed = runtime.block_on(with_followers(plan))?;
    let tables =
        table(&mut stored)? + &plans_table(&stored, &plans)? + &followers_table(&mut followed)?;
    std::io::stdout().write_all(tables.as_bytes())?;
    let document = json!({
        "machine": machine(),
        "requests": plan.requests,
        "tweets": stored.iter_mut().map(stored_document).collect::<Vec<_>>(),
        "plans": Asked::ALL.iter().zip(&plans).map(plans_document).collect::<Vec<_>>(),
        "followers": followed.iter_mut().map(followed_document).collect::<Vec<_>>(),
    });
    places::write_results("growth", &document)
}

async fn with_tweets(plan: &GrowthPlan) -> Result<(Vec<Stored>, Vec<Vec<Plan>>)> {
    let population = Population::even(USERS, FOLLOWING);
    let place = Place::new()?;
    let most = plan.tweets.last().copied().unwrap_or_default();
    let span = Span::new(most);
    let mut stored = Vec::new();
    let mut there = 0;
    for tweets in &plan.tweets {
        eprintln!("making tweets {} to {tweets}", there + 1);
        let services = Services::flowing(&place.store()).await?;
        if stored.is_empty() {
            services.population(&population).await?;
        }
        let anyone = |numbers: &mut Numbers| population.anyone(numbers);
        services.tweets(anyone, span, there..*tweets).await?;
        services.settle().await?;
        services.close().await?;
        there = *tweets;
        let running = place.start()?;
        let api = Api::new([running.url.as_str()], USERS)?;
        let first_tweets = plan.tweets.first().copied().unwrap_or_default();
        let requests = Requests { api: &api, population: &population, first_tweets };
        let mut costs = Vec::new();
        for asked in Asked::ALL {
            eprintln!("{} with {tweets} tweets", asked.name());
            let cost = cost(&running, plan.requests, |serial| requests.send(asked, serial));
            costs.push(cost.await.with_context(|| asked.name().to_owned())?);
        }
        running.stop()?;
        stored.push(Stored { tweets: *tweets, database_bytes: place.database_bytes()?, costs });
    }
    let mut plans = Vec::new();
    for asked in Asked::ALL {
        plans.push(explain(&place, &population, asked).await?);
    }
    Ok((stored, plans))
}

/// How the databases go about a request, asked of them while nothing is served.
async fn explain(place: &Place, population: &Population, asked: Asked) -> Result<Vec<Plan>> {
    let running = place.start_logging(plans::FILTER)?;
    let api = Api::new([running.url.as_str()], USERS)?;
    rest(&running).await?;
    let before = plans::statements(&place.log());
    Requests { api: &api, population, first_tweets: 1 }.send(asked, WARM_UP).await?;
    rest(&running).await?;
    let mut statements = plans::statements(&place.log());
    running.stop()?;
    // What runs without being asked for is nobody's cost.
    for (sql, times) in before {
        if let Some(all) = statements.get_mut(&sql) {
            *all = all.saturating_sub(times);
        }
    }
    statements.retain(|_sql, times| *times > 0);
    plans::plans(&place.data(), &statements).await
}

/// Requests of one population; the same serial number asks for the same, but for a post's text.
struct Requests<'a> {
    api: &'a Api,
    population: &'a Population,
    /// The tweets that were there first.
    first_tweets: u64,
}

impl Requests<'_> {
    async fn send(&self, asked: Asked, serial: u64) -> Result<()> {
        let mut numbers = Numbers::new(serial);
        let user = self.population.anyone(&mut numbers);
        let search = async |query: String| self.api.search(user, &query).await;
        let page = match asked {
            Asked::Home => self.api.home(user).await,
            Asked::User => self.api.tweets_of(user, self.population.anyone(&mut numbers)).await,
            Asked::SearchUnique => {
                let of_first = numbers.below(usize::try_from(self.first_tweets)?);
                search(format!("n{of_first}")).await
            }
            Asked::SearchRare => search(word(300 + numbers.below(100))).await,
            Asked::SearchCommon => search(word(8 + numbers.below(16))).await,
            Asked::SearchBoth => {
                let first = word(numbers.below(4));
                search(format!("{first} {}", word(4 + numbers.below(4)))).await
            }
            Asked::SearchAuthor => {
                search(format!("from:user_{}", self.population.anyone(&mut numbers))).await
            }
            Asked::Post => {
                let text = Writer::new().tweet(&mut numbers, clock::now_us());
                return self.api.post(user, &text).await.map(drop);
            }
        };
        check(asked.name(), &page?, asked.tweets_min())
    }
}

async fn with_followers(plan: &GrowthPlan) -> Result<Vec<Followed>> {
    let population = Population::stars(&plan.followers);
    eprintln!("making {} users for accounts with many followers", population.users());
    let place = Place::new()?;
    let services = Services::flowing(&place.store()).await?;
    services.population(&population).await?;
    services.close().await?;
    let running = place.start()?;
    let api = Api::new([running.url.as_str()], population.users())?;
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
        let grown = grown(stored, index);
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

/// By how much the CPU time of a kind of request has grown from the first to the last step.
fn grown(stored: &[Stored], index: usize) -> Option<f64> {
    let cpu_us = |step: &Stored| Some(step.costs.get(index)?.cpu_us);
    Some(cpu_us(stored.last()?)? / cpu_us(stored.first()?)?)
}

/// The plans behind every cost that is not flat, those first that may be the cause.
fn plans_table(stored: &[Stored], plans: &[Vec<Plan>]) -> Result<String> {
    let mut out = String::new();
    for (index, (asked, plans)) in Asked::ALL.iter().zip(plans).enumerate() {
        if grown(stored, index).is_none_or(|grown| grown <= FLAT) {
            continue;
        }
        writeln!(out, "\nplans of what grows: {}", asked.name())?;
        if plans.is_empty() {
            writeln!(out, "  no statement was logged")?;
        }
        let (grow, others): (Vec<_>, Vec<_>) = plans.iter().partition(|plan| plan.may_grow());
        for plan in grow {
            writeln!(out, "  {} ({} x): {}", plan.service, plan.times, plan.sql)?;
            for step in &plan.steps {
                writeln!(out, "      {step}")?;
            }
        }
        writeln!(out, "  and {} statements that search by keys only", others.len())?;
    }
    Ok(out)
}

fn plans_document((asked, plans): (&Asked, &Vec<Plan>)) -> Value {
    let plans = plans.iter().map(|plan| {
        json!({
            "service": plan.service, "times": plan.times, "sql": plan.sql, "steps": plan.steps,
            "may_grow": plan.may_grow(),
        })
    });
    json!({ "request": asked.name(), "plans": plans.collect::<Vec<_>>() })
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
