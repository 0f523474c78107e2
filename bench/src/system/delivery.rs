//! How long a tweet takes from its author to the home timelines of those who follow.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::system::api::{Api, holds};
use crate::system::latency::Latencies;
use crate::system::numbers::Numbers;

/// Followers that are looked at for each tweet, picked blindly: all of them would be a load of
/// their own.
const SAMPLE: usize = 10;

/// Between two looks at the same home: how exact the figures are.
const LOOK: Duration = Duration::from_millis(20);

/// A tweet that is nowhere to be seen after this counts as never seen.
const DEADLINE: Duration = Duration::from_secs(30);

/// What became of a tweet, or of several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivered {
    /// From the moment at which it was sent until a follower saw it.
    pub(crate) seen: Latencies,
    /// Followers that never saw it.
    pub(crate) unseen: u64,
    /// From the moment at which it was sent until it was acknowledged.
    pub(crate) posted: Latencies,
    /// Tweets that could not be posted or looked for.
    pub(crate) failed: u64,
    /// All requests that this took.
    pub(crate) requests: usize,
}

impl Delivered {
    pub(crate) fn extend(&mut self, other: Self) {
        self.seen.extend(other.seen);
        self.posted.extend(other.posted);
        self.unseen += other.unseen;
        self.failed += other.failed;
        self.requests += other.requests;
    }
}

/// Posts a tweet and looks for it in the homes of some followers.
pub(crate) async fn deliver(
    api: &Api,
    author: usize,
    text: &str,
    followers: &[usize],
    numbers: &mut Numbers,
) -> Result<Delivered> {
    let mut waiting: Vec<usize> = if followers.len() <= SAMPLE {
        followers.to_vec()
    } else {
        let picks = (0..SAMPLE).map(|_| followers.get(numbers.below(followers.len())).copied());
        picks.flatten().collect()
    };
    let mut delivered = Delivered::default();
    let sent = Instant::now();
    let id = api.post(author, text).await?;
    delivered.posted.add(sent.elapsed());
    delivered.requests += 1;
    while !waiting.is_empty() && sent.elapsed() < DEADLINE {
        let began = Instant::now();
        let mut still = Vec::new();
        for follower in waiting {
            delivered.requests += 1;
            if holds(&api.home(follower).await?, &id) {
                delivered.seen.add(sent.elapsed());
            } else {
                still.push(follower);
            }
        }
        waiting = still;
        if !waiting.is_empty() {
            tokio::time::sleep(LOOK.saturating_sub(began.elapsed())).await;
        }
    }
    delivered.unseen = waiting.len() as u64;
    Ok(delivered)
}
