//! Fills a data folder with a population and its tweets, as the services themselves would.
//!
//! Every user, follow and tweet is an event that its service records in its own log, and that
//! the others take up through the broker; only the requests are left out. A million of them over
//! HTTP, through every plugin, would take most of an hour.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::Extension;
use pillion_chassis::broker::EmbeddedBroker;
use pillion_chassis::{
    Broker, Caller, Database, Deps, Ids, InProcessPeers, Journal, Scopes, ServiceKeys,
    ServiceTokens, Shutdown, SystemClock, SystemRandom, Timestamp, TweetId, personal,
    service_token,
};
use pillion_events::{
    Event, GraphEvent, Relation, ReplySettings, TweetEvent, TweetPosted, UserEvent, UserRegistered,
};
use tokio::task::JoinSet;

use crate::clock;
use crate::system::numbers::Numbers;
use crate::system::population::{Population, user_id};
use crate::system::text::Writer;

/// Events that are recorded in one transaction.
const BATCH_EVENTS: usize = 1_000;

/// How often it looks whether everything has arrived.
const POLL: Duration = Duration::from_millis(50);

/// How often it says how far it is.
const TELL: Duration = Duration::from_secs(10);

/// Longer than this without a single event taken up means that something is broken.
const STUCK: Duration = Duration::from_mins(1);

/// How far back the first tweet lies: within the seven days that search covers.
const BACK: Duration = Duration::from_hours(6 * 24);

/// Where snowflakes begin, in milliseconds since 1970, and the bits behind their time.
const EPOCH_MS: u64 = 1_288_834_974_657;
const BELOW_TIME_BITS: u32 = 22;

/// A node of snowflakes that no running process is.
const NODE: u64 = 1_023 << 12;

/// Services on a data folder, without anything that serves.
#[derive(Debug)]
pub(crate) struct Seeder {
    journals: Vec<Journal>,
    broker: Arc<EmbeddedBroker>,
    workers: JoinSet<()>,
    shutdown: pillion_chassis::service::ShutdownTrigger,
}

/// The time over which tweets are spread evenly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    begin_us: u64,
    gap_us: u64,
}

impl Span {
    /// For so many tweets, the last of which is some moments old.
    pub(crate) fn new(tweets: u64) -> Self {
        Self {
            begin_us: clock::now_us().saturating_sub(us(BACK)),
            gap_us: us(BACK) / tweets.max(1),
        }
    }
}

impl Seeder {
    /// Opens the folder, which may hold something already.
    pub(crate) async fn open(data: &Path) -> Result<Self> {
        let clock = Arc::new(SystemClock);
        let ids = Arc::new(Ids::new(clock.clone(), 0)?);
        let peers = Arc::new(InProcessPeers::new());
        // Nobody looks at it: see below.
        let keys = ServiceKeys::passing(&SystemRandom)?;
        let tokens = ServiceTokens::new("bench", keys, "", "", clock.clone(), &SystemRandom)?;
        let service_tokens = Arc::new(tokens);
        let deps = async |service: &str| -> Result<Deps> {
            let path = data.join(format!("{service}.sqlite"));
            let database = Database::open(&path).await?;
            let (clock, ids, peers) = (clock.clone(), ids.clone(), peers.clone());
            let service_tokens = service_tokens.clone();
            let random = Arc::new(SystemRandom);
            Ok(Deps { clock, ids, random, database, peers, service_tokens })
        };
        let services = [
            pillion_users::service(deps("users").await?).await?,
            pillion_graph::service(deps("graph").await?).await?,
            pillion_tweets::service(deps("tweets").await?).await?,
            pillion_engagements::service(deps("engagements").await?).await?,
            pillion_timelines::service(deps("timelines").await?).await?,
            pillion_search::service(deps("search").await?).await?,
            pillion_notifications::service(deps("notifications").await?).await?,
        ];
        let broker = Arc::new(EmbeddedBroker::open(data.join("broker.sqlite")).await?);
        let carrier: Arc<dyn Broker> = broker.clone();
        let (trigger, shutdown) = Shutdown::new();
        let mut workers = JoinSet::new();
        let mut journals = Vec::new();
        // What the auth plugin would make of a service's token.
        let caller = Caller {
            user_id: None,
            client_id: "service:bench".to_owned(),
            scopes: Scopes::parse(service_token::SCOPE),
        };
        for service in services {
            let service = personal::exchange(service, peers.clone(), service_tokens.clone());
            peers.register(service.name, service.router.layer(Extension(caller.clone())));
            let Some(journal) = service.journal else { continue };
            for worker in journal.workers(&carrier) {
                workers.spawn(worker.run(shutdown.clone()));
            }
            journals.push(journal);
        }
        Ok(Self { journals, broker, workers, shutdown: trigger })
    }

    /// Registers everyone and makes them follow whom they follow.
    pub(crate) async fn population(&self, population: &Population) -> Result<()> {
        let at = micros(clock::now_us().saturating_sub(2 * us(BACK)));
        let users = (0..population.users()).map(|user| {
            let event = UserEvent::Registered(UserRegistered {
                user_id: user_id(user),
                username: format!("user_{user}"),
                name: format!("User {user}"),
                description: None,
                location: None,
                url: None,
                created_at: at,
            });
            (format!("user/{}", user_id(user)), 0, event, at)
        });
        self.record("users", users).await?;
        self.settle().await?;
        let follows = (0..population.users()).flat_map(|user| {
            (0_i64..).zip(population.following(user)).map(move |(version, target)| {
                let (user_id, target_user_id) = (user_id(user), user_id(*target));
                let event = GraphEvent::Followed(Relation { user_id, target_user_id, at });
                (format!("user/{user_id}"), version, event, at)
            })
        });
        self.record("graph", follows).await?;
        self.settle().await
    }

    /// Posts the tweets with these serial numbers; authors take turns blindly.
    pub(crate) async fn tweets(
        &self,
        population: &Population,
        span: Span,
        serials: Range<u64>,
    ) -> Result<()> {
        let writer = Writer::new();
        let mut numbers = Numbers::new(serials.start);
        let tweets = serials.map(|serial| {
            let ms = (span.begin_us + serial * span.gap_us) / 1_000;
            // Those of the same millisecond still differ.
            let id = ((ms - EPOCH_MS) << BELOW_TIME_BITS) | NODE | (serial & 0xfff);
            let tweet_id = TweetId::generated(id);
            let created_at = micros(ms * 1_000);
            let event = TweetEvent::Posted(TweetPosted {
                tweet_id,
                author_id: user_id(population.anyone(&mut numbers)),
                text: writer.tweet(&mut numbers, serial),
                conversation_id: tweet_id,
                replied_to: None,
                quoted: None,
                mentions: Vec::new(),
                reply_settings: ReplySettings::Everyone,
                client_id: "bench".to_owned(),
                created_at,
            });
            (format!("tweet/{tweet_id}"), 0, event, created_at)
        });
        self.record("tweets", tweets).await?;
        self.settle().await
    }

    fn journal(&self, service: &str) -> Result<&Journal> {
        let found = self.journals.iter().find(|journal| journal.name() == service);
        found.with_context(|| format!("the service {service} has no events"))
    }

    async fn record<E: Event>(
        &self,
        service: &str,
        mut events: impl Iterator<Item = (String, i64, E, Timestamp)>,
    ) -> Result<()> {
        let journal = self.journal(service)?;
        let (mut count, mut told) = (0_u64, Instant::now());
        loop {
            let batch: Vec<_> = events.by_ref().take(BATCH_EVENTS).collect();
            if batch.is_empty() {
                return Ok(());
            }
            count += batch.len() as u64;
            let mut transaction = journal.database().write().await?;
            for (stream, version, event, at) in batch {
                journal.record(&mut transaction, &stream, version, &event, at).await?;
            }
            transaction.commit().await?;
            if told.elapsed() > TELL {
                told = Instant::now();
                eprintln!("  {count} events of {service} recorded");
            }
        }
    }

    /// Waits until every service has taken up every event.
    async fn settle(&self) -> Result<()> {
        let (mut least, mut moved, mut told) = (i64::MAX, Instant::now(), Instant::now());
        loop {
            let lag = self.lag().await?;
            if lag == 0 {
                return Ok(());
            }
            if lag < least {
                (least, moved) = (lag, Instant::now());
            } else if moved.elapsed() > STUCK {
                bail!("events are not taken up: {lag} are left and stay so");
            }
            if told.elapsed() > TELL {
                told = Instant::now();
                eprintln!("  {lag} events to be taken up");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Events that are not yet published, and those that are not yet taken up, over all services.
    async fn lag(&self) -> Result<i64> {
        let mut lag = 0;
        for journal in &self.journals {
            let status = journal.status(Some(&*self.broker)).await?;
            if status.parked > 0 {
                bail!("{} could not take up {} events", status.service, status.parked);
            }
            lag += status.recorded - status.published.context("the broker fails")?;
            for source in status.sources {
                lag += source.lag.context("the broker fails")?;
            }
        }
        Ok(lag)
    }

    /// Closes every file.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.shutdown.request();
        while let Some(ended) = self.workers.join_next().await {
            ended?;
        }
        for journal in &self.journals {
            journal.database().close().await;
        }
        self.broker.close().await;
        Ok(())
    }
}

fn micros(us: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(us).unwrap_or_default())
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
