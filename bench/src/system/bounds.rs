//! What cannot be multiplied: a service's events are recorded by one writer, and taken up by one
//! consumer of each source. How much these take, in this process, without HTTP and plugins.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::body::Body;
use http::{Request, StatusCode, header};
use pillion_chassis::{Caller, Scopes};
use serde_json::json;
use tokio::task::JoinSet;
use tower_service::Service as _;

use crate::report::machine;
use crate::system::form::{Form, Stores};
use crate::system::latency::figure;
use crate::system::numbers::Numbers;
use crate::system::population::{Population, user_id};
use crate::system::seed::Span;
use crate::system::services::{Services, Store};
use crate::system::text::Writer;
use crate::workload::SCOPE;
use crate::{clock, places};

/// Posts at once: one shows how long a commit takes, many what the writer takes.
const POSTS_AT_ONCE: [usize; 2] = [1, 32];

/// Who follow the service tweets; the first one makes homes.
const FOLLOWERS: [&str; 4] = ["timelines", "search", "notifications", "engagements"];

/// The followers that a star should have, and its tweets.
const STAR_FOLLOWERS: usize = 1_000;
const STAR_TWEETS: u64 = 200;

/// How the bounds are measured.
#[derive(Clone, Debug)]
pub struct BoundsPlan {
    /// The size of the population.
    pub users: usize,
    /// How long tweets are posted.
    pub time: Duration,
}

/// Something that was done one after the other.
#[derive(Debug)]
struct Bound {
    what: String,
    per_second: f64,
    /// Cores that were busy meanwhile, of servers and of this process; with all of them busy it is
    /// the machine that is measured.
    cores: f64,
}

/// Measures on files and on servers, prints the table and writes the figures.
pub fn bounds(plan: &BoundsPlan) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (files, servers) = runtime.block_on(measure(plan))?;
    std::io::stdout().write_all(table(&files, &servers)?.as_bytes())?;
    let document = |bounds: &[Bound]| -> serde_json::Value {
        let bound = |bound: &Bound| json!({ "what": bound.what, "per_second": bound.per_second, "cores": bound.cores });
        bounds.iter().map(bound).collect()
    };
    let document = json!({
        "machine": machine(),
        "users": plan.users,
        "files": document(&files),
        "servers": document(&servers),
    });
    places::write_results("bounds", &document)
}

async fn measure(plan: &BoundsPlan) -> Result<(Vec<Bound>, Vec<Bound>)> {
    let stores = Stores::of(&[Form::Embedded, Form::Servers]).await?;
    let population = Arc::new(Population::power_law(plan.users));
    let mut all = Vec::new();
    for store in stores.all() {
        let site = Site { stores: &stores, store, population: population.clone() };
        all.push(site.measure(plan.time).await?);
    }
    let servers = all.pop().context("no store")?;
    Ok((all.pop().context("no store")?, servers))
}

/// One store, and who is in it.
struct Site<'a> {
    stores: &'a Stores,
    store: Store,
    population: Arc<Population>,
}

impl Site<'_> {
    async fn measure(&self, time: Duration) -> Result<Vec<Bound>> {
        let users = self.population.users();
        eprintln!("making {users} users and their follows");
        let services = Services::flowing(&self.store).await?;
        services.population(&self.population).await?;
        services.close().await?;

        let mut bounds = Vec::new();
        let mut services = Services::open(&self.store).await?;
        let mut tweets = 0;
        for at_once in POSTS_AT_ONCE {
            eprintln!("posts, {at_once} at once");
            let what = format!("posts, {at_once} at once");
            let bound = self.timed(what, async || {
                let posts = self.post(&services, at_once, time).await?;
                tweets += posts;
                Ok(posts)
            });
            bounds.push(bound.await?);
        }
        services.flow("tweets")?;
        services.settle_one("tweets").await?;
        for follower in FOLLOWERS {
            eprintln!("{tweets} tweets for {follower}");
            let what = format!("tweets that {follower} takes up");
            bounds.push(self.taken(&mut services, follower, what, tweets).await?);
        }
        services.close().await?;

        let star = self.population.with_followers(STAR_FOLLOWERS);
        let followers = self.population.followers(star).len();
        eprintln!("{STAR_TWEETS} tweets for {followers} homes each");
        let mut services = Services::open(&self.store).await?;
        services.tweets(|_| star, Span::new(STAR_TWEETS), 0..STAR_TWEETS).await?;
        services.flow("tweets")?;
        services.settle_one("tweets").await?;
        let what = format!("the same, {followers} followers");
        bounds.push(self.taken(&mut services, "timelines", what, STAR_TWEETS).await?);
        services.close().await?;
        Ok(bounds)
    }

    /// A service takes up all that there is.
    async fn taken(
        &self,
        services: &mut Services,
        follower: &str,
        what: String,
        events: u64,
    ) -> Result<Bound> {
        services.flow(follower)?;
        let bound = self.timed(what, async || {
            services.settle_one(follower).await?;
            Ok(events)
        });
        bound.await
    }

    async fn timed(&self, what: String, work: impl AsyncFnOnce() -> Result<u64>) -> Result<Bound> {
        let cpu = || -> Result<Duration> {
            let servers: Duration = self.stores.servers_cpu()?.values().sum();
            Ok(servers + Duration::from_nanos(clock::cpu_ns()))
        };
        let (began, before) = (Instant::now(), cpu()?);
        let done = work().await?;
        let took = began.elapsed().as_secs_f64();
        let cores = cpu()?.saturating_sub(before).as_secs_f64() / took;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let per_second = done as f64 / took;
        Ok(Bound { what, per_second, cores })
    }

    /// Posts as fast as it goes, with so many under way; gives their number.
    async fn post(&self, services: &Services, at_once: usize, time: Duration) -> Result<u64> {
        let (router, posts) = (services.router("tweets")?, Arc::new(AtomicU64::new(0)));
        let end = Instant::now() + time;
        let mut clients = JoinSet::new();
        for client in 0..at_once {
            let (mut router, posts) = (router.clone(), posts.clone());
            let population = self.population.clone();
            clients.spawn(async move {
                let (writer, mut numbers) = (Writer::new(), Numbers::new(client as u64));
                while Instant::now() < end {
                    let author = population.anyone(&mut numbers);
                    let text = writer.tweet(&mut numbers, clock::now_us());
                    let response = router.call(request(author, &text)?).await?;
                    let status = response.status();
                    ensure!(status == StatusCode::CREATED, "a post was answered with {status}");
                    posts.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(posts.load(Ordering::Relaxed))
    }
}

/// A post as the service gets it from behind its plugins.
fn request(author: usize, text: &str) -> Result<Request<Body>> {
    let caller = Caller {
        user_id: Some(user_id(author)),
        client_id: "bench".to_owned(),
        scopes: Scopes::parse(SCOPE),
    };
    let request = Request::post("/2/tweets")
        .header(header::CONTENT_TYPE, "application/json")
        .extension(caller)
        .body(json!({ "text": text }).to_string().into())?;
    Ok(request)
}

fn table(files: &[Bound], servers: &[Bound]) -> Result<String> {
    let mut out = String::new();
    writeln!(out, "\nwhat one writer and one consumer take, a second; and the cores busy with it")?;
    writeln!(out, "  {:<34} | {:>14} | PostgreSQL, NATS", "", "files")?;
    for (files, servers) in files.iter().zip(servers) {
        write!(out, "  {:<34}", files.what)?;
        for bound in [files, servers] {
            write!(
                out,
                " | {:>8} {:>5}",
                figure(Some(bound.per_second)),
                figure(Some(bound.cores))
            )?;
        }
        writeln!(out)?;
    }
    Ok(out)
}
