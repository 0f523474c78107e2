//! What fills up a home that was cut and has become short since: older tweets out of the lists of
//! those whom its user follows.
//!
//! A home is complete above its *floor*, the id at which it was cut last. When tweets leave it, by an
//! unfollow, a block, a deletion, or while an author is deactivated, there is room for tweets below
//! the floor. They are not written back, for that would be a write into every follower's home: the
//! reader takes them from the authors' lists, which hold as many tweets as a home does. So nothing
//! has to be put back when the author is active again, and a rebuild makes the same tables.

use std::collections::{BTreeSet, HashMap, HashSet};

use pillion_chassis::page::Window;
use pillion_chassis::sql::query;
use pillion_chassis::{Backend, Database, DatabaseError, UserId};

use super::{Entry, Exclude, Store, home_floor, is_hidden, is_visible, may_be_at_home};
use crate::AUTHOR_TWEETS_MAX;

/// Tweets of each author that are read at first; four times as many each time that was too few.
const EACH_MIN: u32 = 8;
/// Tweets that are read at most, of all authors together, unless [`EACH_MIN`] of each are more. Who
/// follows so many that this is too few may miss some of the most active authors' tweets there.
const READ_MAX: u32 = 20_000;

/// How many tweets the home of the user `$1` shows above its floor `$2`, and of how many authors it
/// holds tweets.
pub(crate) const KEPT: &str = concat!(
    "SELECT (SELECT count(*) FROM home AS h WHERE h.user_id = $1 AND h.tweet_id > $2 AND ",
    is_visible!("h"),
    "), (SELECT count(*) FROM follow AS f WHERE f.follower_id = $1 AND NOT f.pulled)"
);

/// The latest `$3` tweets of each author up to the id `$2`, and whether each may be at home.
macro_rules! latest_of_each {
    ($of_each:literal) => {
        concat!(
            "SELECT p.tweet_id, p.author_id, p.retweeted_id, p.reply_to_author_id IS NOT NULL,
                    p.fanned_out AND ",
            is_visible!("p"),
            " AND ",
            may_be_at_home!(),
            " FROM follow AS f CROSS JOIN ",
            $of_each
        )
    };
}

pub(crate) const LATEST_SQLITE: &str = latest_of_each!(
    "post AS p
     WHERE f.follower_id = $1 AND NOT f.pulled
       AND p.tweet_id IN (SELECT q.tweet_id FROM post AS q
                          WHERE q.author_id = f.followee_id AND q.tweet_id <= $2
                          ORDER BY q.tweet_id DESC LIMIT $3)"
);
pub(crate) const LATEST_POSTGRES: &str = latest_of_each!(
    "LATERAL (SELECT q.* FROM post AS q
              WHERE q.author_id = f.followee_id AND q.tweet_id <= $2
              ORDER BY q.tweet_id DESC LIMIT $3) AS p
     WHERE f.follower_id = $1 AND NOT f.pulled"
);

/// A tweet of an author's list.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: i64,
    author_id: i64,
    retweeted_id: Option<i64>,
    is_reply: bool,
    /// Whether it may be at home.
    shown: bool,
}

/// What fills up a home: below its floor, the newest first.
#[derive(Debug, Default)]
pub(super) struct Older(Vec<Entry>);

impl Older {
    /// What of it is in a window.
    pub(super) fn within(&self, window: &Window) -> impl Iterator<Item = Entry> {
        let (above, below) = (window.above, window.below);
        self.0.iter().copied().filter(move |entry| entry.id > above && entry.id < below)
    }

    /// Whether this is one of it.
    pub(super) fn has(&self, id: i64) -> bool {
        self.0.binary_search_by(|entry| id.cmp(&entry.id)).is_ok()
    }
}

/// Down to which id a home is complete.
pub(super) async fn floor(database: &Database, user_id: UserId) -> Result<i64, DatabaseError> {
    let (floor,): (i64,) =
        query(concat!("SELECT ", home_floor!())).bind(user_id).fetch_one(database).await?;
    Ok(floor)
}

impl Store {
    /// What fills up the user's home. Of what the home shows above its floor nothing is repeated.
    pub(super) async fn older(
        &self,
        user_id: UserId,
        floor: i64,
        exclude: Exclude,
    ) -> Result<Older, DatabaseError> {
        let (kept, authors): (i64, i64) =
            query(KEPT).bind(user_id).bind(floor).fetch_one(&self.database).await?;
        let missing = i64::from(self.limits.home_tweets_max).saturating_sub(kept);
        let Ok(missing @ 1..) = usize::try_from(missing) else {
            return Ok(Older::default());
        };
        let authors = u32::try_from(authors).unwrap_or(u32::MAX).max(1);
        let mut found = self.latest(user_id, floor, missing, authors).await?;
        found.retain(|tweet| {
            !(exclude.replies && tweet.is_reply || exclude.retweets && tweet.retweeted_id.is_some())
        });
        let entry = |tweet: &Candidate| Entry { id: tweet.id, shared_id: tweet.retweeted_id };
        if exclude.retweets {
            return Ok(Older(found.iter().map(entry).collect()));
        }
        let shared = |tweet: &Candidate| tweet.retweeted_id.unwrap_or(tweet.id);
        let tweets: BTreeSet<i64> = found.iter().map(shared).collect();
        let mut seen: HashSet<i64> = if tweets.is_empty() {
            HashSet::new()
        } else {
            self.first_at_home(user_id, tweets, exclude, floor).await?.into_keys().collect()
        };
        // Each tweet is there once, where it is first.
        found.reverse();
        found.retain(|tweet| seen.insert(shared(tweet)));
        found.reverse();
        Ok(Older(found.iter().map(entry).collect()))
    }

    /// The newest tweets below the floor that may be at home, as many as are missing.
    async fn latest(
        &self,
        user_id: UserId,
        floor: i64,
        missing: usize,
        authors: u32,
    ) -> Result<Vec<Candidate>, DatabaseError> {
        let sql = match self.database.backend() {
            Backend::Sqlite => LATEST_SQLITE,
            Backend::Postgres => LATEST_POSTGRES,
        };
        let fair = u32::try_from(missing).unwrap_or(u32::MAX).saturating_mul(2) / authors;
        let mut each = fair.clamp(EACH_MIN, AUTHOR_TWEETS_MAX);
        loop {
            let rows: Vec<(i64, i64, Option<i64>, bool, bool)> =
                query(sql).bind(user_id).bind(floor).bind(each).fetch_all(&self.database).await?;
            let mut found: Vec<Candidate> = rows.into_iter().map(Candidate::from).collect();
            let known_above = known_above(&found, each as usize);
            found.retain(|tweet| tweet.shown);
            found.sort_unstable_by_key(|tweet| std::cmp::Reverse(tweet.id));
            let known = found.iter().take_while(|tweet| tweet.id >= known_above).count();
            let more = each.saturating_mul(4).min(AUTHOR_TWEETS_MAX);
            if known >= missing || more == each || more.saturating_mul(authors) > READ_MAX {
                found.truncate(missing);
                return Ok(found);
            }
            each = more;
        }
    }
}

/// Down to which id nothing is missing among the latest `each` of each author: an author who has so
/// many may have more.
fn known_above(found: &[Candidate], each: usize) -> i64 {
    let mut authors: HashMap<i64, (usize, i64)> = HashMap::new();
    for tweet in found {
        let (count, last) = authors.entry(tweet.author_id).or_insert((0, i64::MAX));
        *count += 1;
        *last = tweet.id.min(*last);
    }
    let cut = authors.into_values().filter(|(count, _)| *count >= each);
    cut.map(|(_, last)| last).max().unwrap_or(i64::MIN)
}

impl From<(i64, i64, Option<i64>, bool, bool)> for Candidate {
    fn from(row: (i64, i64, Option<i64>, bool, bool)) -> Self {
        let (id, author_id, retweeted_id, is_reply, shown) = row;
        Self { id, author_id, retweeted_id, is_reply, shown }
    }
}
