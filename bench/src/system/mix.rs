//! The published mix of requests at rising rates, with the delay of tweets on the side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::clock;
use crate::system::api::{Api, PAGE_TWEETS, check};
use crate::system::delivery::{Delivered, deliver};
use crate::system::form::{Cpu, Form, Stores, System, since};
use crate::system::numbers::Numbers;
use crate::system::open_loop::{Kind, OpenLoop, Outcome};
use crate::system::population::Population;
use crate::system::seed::Span;
use crate::system::services::Services;
use crate::system::table;

/// Tweets that everyone has before the load begins.
const TWEETS_PER_USER: usize = 10;

/// Caches fill, connections open.
const WARM_UP: Duration = Duration::from_secs(5);

/// A system that was just started comes to rest, and then for so long nobody asks it anything.
const REST: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(5);

/// Between the tweets whose delay is measured.
const DELIVER_EVERY: Duration = Duration::from_secs(1);

/// The followers that their author should have.
const FOLLOWERS: usize = 1_000;

/// What is promised for 1,000 followers, in milliseconds.
pub(crate) const HOME_P99_MS: f64 = 25.0;
pub(crate) const POST_P99_MS: f64 = 50.0;
pub(crate) const DELIVERY_P99_MS: f64 = 1_000.0;

/// How the load goes.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// Sizes of populations.
    pub users: Vec<usize>,
    /// Requests a second, one after the other.
    pub rates: Vec<u32>,
    /// Length of each measurement.
    pub time: Duration,
    /// The forms of the system, in turns.
    pub forms: Vec<Form>,
    /// How often each has its turn; what was measured is put together.
    pub rounds: u32,
    /// Whether a form's turn ends at the first rate at which it misses an objective.
    pub saturate: bool,
}

/// All measurements of a form at a rate.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) form: Form,
    pub(crate) rate: u32,
    pub(crate) outcome: Outcome,
    pub(crate) delivered: Delivered,
    /// CPU time of the system.
    pub(crate) cpu: Cpu,
    /// CPU time of what loads it.
    pub(crate) own_cpu: Duration,
}

/// What was measured with one population.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) users: usize,
    pub(crate) follows: usize,
    pub(crate) star_followers: usize,
    /// Cores that a form uses when nobody asks it anything.
    pub(crate) idle: Vec<(Form, f64)>,
    pub(crate) rows: Vec<Row>,
}

/// Measures every population at every rate, prints the tables and writes the figures.
pub fn load(plan: &LoadPlan) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut all = Vec::new();
    for users in &plan.users {
        let mut measured = runtime
            .block_on(measure(*users, plan))
            .with_context(|| format!("with {users} users"))?;
        table::print(&mut measured)?;
        all.push(measured);
    }
    table::write(plan.time, &mut all)
}

async fn measure(users: usize, plan: &LoadPlan) -> Result<Measured> {
    let population = Arc::new(Population::power_law(users));
    let mut stores = Stores::of(&plan.forms).await?;
    let tweets = (users * TWEETS_PER_USER) as u64;
    for store in stores.all() {
        eprintln!("making {users} users, their follows and {tweets} tweets");
        let services = Services::flowing(&store).await?;
        services.population(&population).await?;
        let anyone = |numbers: &mut Numbers| population.anyone(numbers);
        services.tweets(anyone, Span::new(tweets), 0..tweets).await?;
        services.settle().await?;
        services.close().await?;
    }
    let star = population.with_followers(FOLLOWERS);
    let followers = population.followers(star);
    let serials = Arc::new(AtomicU64::new(clock::now_us()));
    let mut crowd = Crowd { population, star, followers, serials, rows: Vec::new() };
    let mut idle = Vec::new();
    for round in 0..plan.rounds {
        for form in &plan.forms {
            let system = stores.start(*form).await?;
            if round == 0 {
                idle.push((*form, cores_when_idle(&system).await?));
            }
            let loaded = crowd.load(*form, &system, plan).await;
            loaded.with_context(|| format!("the form `{}`", form.name()))?;
            system.stop().await.context("after the load")?;
        }
    }
    let Crowd { population, followers, rows, .. } = crowd;
    let (follows, star_followers) = (population.follows(), followers.len());
    Ok(Measured { users, follows, star_followers, idle, rows })
}

async fn cores_when_idle(system: &System<'_>) -> Result<f64> {
    tokio::time::sleep(REST).await;
    let (began, before) = (Instant::now(), system.cpu()?);
    tokio::time::sleep(IDLE).await;
    let used: Duration = since(&before, &system.cpu()?).values().sum();
    Ok(used.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// Who loads a system, and what came of it so far.
struct Crowd {
    population: Arc<Population>,
    star: usize,
    followers: Vec<usize>,
    serials: Arc<AtomicU64>,
    rows: Vec<Row>,
}

impl Crowd {
    /// One turn of a form.
    async fn load(&mut self, form: Form, system: &System<'_>, plan: &LoadPlan) -> Result<()> {
        let urls = system.urls.iter().map(String::as_str);
        let api = Arc::new(Api::new(urls, self.population.users())?);
        let first = self.followers.first().copied().unwrap_or(0);
        check("a home", &api.home(first).await?, PAGE_TWEETS / 2)?;
        check("a user timeline", &api.tweets_of(0, self.star).await?, 1)?;
        let population = self.population.clone();
        let open_loop = |rate: u32, time: Duration| OpenLoop {
            api: api.clone(),
            population: population.clone(),
            rate: f64::from(rate),
            time,
        };
        let slowest = plan.rates.first().copied().unwrap_or(1);
        open_loop(slowest, WARM_UP).run(&self.serials).await?;
        for rate in &plan.rates {
            let (name, seconds) = (form.name(), plan.time.as_secs());
            eprintln!("{name}: {rate} requests a second for {seconds} s");
            let (before, own_before) = (system.cpu()?, clock::cpu_ns());
            let deliveries = self.deliveries(&api, plan.time);
            let loaded = open_loop(*rate, plan.time).run(&self.serials);
            let (outcome, delivered) = tokio::try_join!(loaded, deliveries)?;
            let cpu = since(&before, &system.cpu()?);
            let own_cpu = Duration::from_nanos(clock::cpu_ns().saturating_sub(own_before));
            let mut row = Row { form, rate: *rate, outcome, delivered, cpu, own_cpu };
            let is_missed = !row.meets_objectives();
            self.add(row);
            if plan.saturate && is_missed {
                break;
            }
        }
        Ok(())
    }

    fn add(&mut self, row: Row) {
        let same = |other: &&mut Row| other.form == row.form && other.rate == row.rate;
        match self.rows.iter_mut().find(same) {
            None => self.rows.push(row),
            Some(there) => {
                there.outcome.extend(row.outcome);
                there.delivered.extend(row.delivered);
                for (part, time) in row.cpu {
                    *there.cpu.entry(part).or_default() += time;
                }
                there.own_cpu += row.own_cpu;
            }
        }
    }

    /// Posts as the star now and then, and looks when the tweets arrive.
    async fn deliveries(&self, api: &Api, time: Duration) -> Result<Delivered> {
        let mut numbers = Numbers::new(self.star as u64);
        let mut all = Delivered::default();
        let began = Instant::now();
        while began.elapsed() < time {
            let round = Instant::now();
            let text = format!("how fast is this {}", self.serials.fetch_add(1, Ordering::Relaxed));
            match deliver(api, self.star, &text, &self.followers, &mut numbers).await {
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
}

impl Row {
    /// CPU time of the system for a request that succeeded, those for measuring delays included.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.per_request_us(self.cpu.values().sum())
    }

    /// Of a part of it.
    pub(crate) fn per_request_us(&self, cpu: Duration) -> f64 {
        per_request_us(cpu, self.outcome.answered() + self.delivered.requests)
    }

    /// Whether everything that is promised held, without a failure.
    pub(crate) fn meets_objectives(&mut self) -> bool {
        let mut within = |kind: Kind, bound: f64| {
            let times = self.outcome.times.get_mut(&kind);
            times.and_then(|times| times.percentile_ms(99.0)).is_some_and(|ms| ms <= bound)
        };
        within(Kind::Home, HOME_P99_MS)
            && within(Kind::Post, POST_P99_MS)
            && self.delivered.seen.percentile_ms(99.0).is_some_and(|ms| ms <= DELIVERY_P99_MS)
            && self.delivered.unseen + self.delivered.failed == 0
            && self.outcome.failed + self.outcome.unsent == 0
    }
}

/// CPU time of one of so many requests, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn per_request_us(cpu: Duration, requests: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / requests.max(1) as f64
}
