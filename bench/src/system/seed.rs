//! Fills services with a population and its tweets, as they themselves would.
//!
//! Every user, follow and tweet is an event that its service records in its own log, and that
//! the others take up through the broker; only the requests are left out. A million of them over
//! HTTP, through every plugin, would take most of an hour.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;
use pillion_chassis::{Timestamp, TweetId};
use pillion_events::{
    Event, GraphEvent, Relation, ReplySettings, TweetEvent, TweetPosted, UserEvent, UserRegistered,
};

use crate::clock;
use crate::system::numbers::Numbers;
use crate::system::population::{Population, user_id};
use crate::system::services::Services;
use crate::system::text::Writer;

/// Events that are recorded in one transaction.
const BATCH_EVENTS: usize = 1_000;

/// How often it says how far it is.
const TELL: Duration = Duration::from_secs(10);

/// How far back the first tweet lies: within the seven days that search covers.
const BACK: Duration = Duration::from_hours(6 * 24);

/// Where snowflakes begin, in milliseconds since 1970, and the bits behind their time.
const EPOCH_MS: u64 = 1_288_834_974_657;
const BELOW_TIME_BITS: u32 = 22;

/// A node of snowflakes that no running process is.
const NODE: u64 = 1_023 << 12;

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

impl Services {
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

    /// Posts the tweets with these serial numbers, each by whom `author` picks; does not wait until
    /// they are everywhere.
    pub(crate) async fn tweets(
        &self,
        author: impl Fn(&mut Numbers) -> usize,
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
                author_id: user_id(author(&mut numbers)),
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
        self.record("tweets", tweets).await
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
}

fn micros(us: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(us).unwrap_or_default())
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
