//! The service's tables: read here, written by the modules below, which only the projection
//! calls.

pub(crate) mod accounts;
pub(crate) mod follows;
pub(crate) mod mentions;
pub(crate) mod posts;
pub(crate) mod refill;
pub(crate) mod settling;

use std::collections::{BTreeSet, HashMap};

use pillion_chassis::page::Window;
use pillion_chassis::sql::{list, query};
use pillion_chassis::{Database, DatabaseError, Migrations, TweetId, UserId};

use self::accounts::Standing;
use self::refill::Older;
use crate::Limits;

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// Whether the user of the follow `f` may have the tweet `p` of its followee at home. A reply is
/// only for those who follow both ends of the conversation; one's own tweets are always at home.
/// As everyone follows themself, this lets in the replies to oneself, too.
macro_rules! may_be_at_home {
    () => {
        "(p.reply_to_author_id IS NULL OR p.reply_to_author_id = p.author_id
          OR p.author_id = f.follower_id
          OR EXISTS (SELECT 1 FROM follow AS g
                     WHERE g.follower_id = f.follower_id AND g.followee_id = p.reply_to_author_id))"
    };
}
pub(crate) use may_be_at_home;

/// Down to which id the home of the user `$1` is complete; -1 if it was never cut.
macro_rules! home_floor {
    () => {
        "coalesce((SELECT a.home_floor FROM account AS a WHERE a.user_id = $1), -1)"
    };
}
pub(crate) use home_floor;

/// Whether a user is deactivated.
macro_rules! is_hidden {
    ($($user:tt)+) => {
        concat!("EXISTS (SELECT 1 FROM hidden_user AS u WHERE u.user_id = ", $($user)+, ")")
    };
}

/// Whether the tweet of this row may be shown to the user `$1`: neither of the two nor whose tweet
/// it repeats is deactivated, and no reply to such a one is shown but to its author. One look-up
/// for each, as one for all of them by a list takes five times as long; and none of them beside an
/// `OR`, or a server would read the whole table.
macro_rules! is_visible {
    ($row:literal) => {
        concat!(
            "NOT ",
            is_hidden!("$1"),
            " AND NOT ",
            is_hidden!($row, ".author_id"),
            " AND NOT ",
            is_hidden!($row, ".retweeted_author_id"),
            " AND NOT ",
            is_hidden!($row, ".reply_to_author_id AND ", $row, ".author_id <> $1")
        )
    };
}
pub(crate) use {is_hidden, is_visible};

/// The ids in the user's home, and what those share that are retweets, and down to which id the home
/// is complete: one range of the primary key, in its order.
macro_rules! home_page {
    ($order:literal) => {
        concat!(
            "SELECT h.tweet_id, h.retweeted_id, ",
            home_floor!(),
            " FROM home AS h
             WHERE h.user_id = $1 AND h.tweet_id > $2 AND h.tweet_id < $3
               AND (NOT $4 OR h.reply_to_author_id IS NULL)
               AND (NOT $5 OR h.retweeted_id IS NULL)
               AND ",
            is_visible!("h"),
            " ORDER BY h.tweet_id ",
            $order,
            " LIMIT $6"
        )
    };
}

/// What the user's home gets from authors with very many followers: a range of each author's
/// list. Sorts at most [`crate::AUTHOR_TWEETS_MAX`] ids an author; the sum is there lest a planner
/// reads everybody's tweets in the order of their ids until the page is full.
macro_rules! merged_page {
    ($order:literal) => {
        concat!(
            "SELECT p.tweet_id, p.retweeted_id, ",
            home_floor!(),
            " FROM follow AS f CROSS JOIN post AS p
             WHERE f.follower_id = $1 AND f.merged
               AND p.author_id = f.followee_id AND (f.pulled OR NOT p.fanned_out)
               AND p.tweet_id > $2 AND p.tweet_id < $3
               AND (NOT $4 OR p.reply_to_author_id IS NULL)
               AND (NOT $5 OR p.retweeted_id IS NULL)
               AND ",
            is_visible!("p"),
            " AND ",
            may_be_at_home!(),
            " ORDER BY p.tweet_id + 0 ",
            $order,
            " LIMIT $6"
        )
    };
}

pub(crate) const HOME_LATEST: &str = home_page!("DESC");
pub(crate) const HOME_EARLIEST: &str = home_page!("ASC");
pub(crate) const MERGED_LATEST: &str = merged_page!("DESC");
pub(crate) const MERGED_EARLIEST: &str = merged_page!("ASC");

/// With which id each of the tweets `$2` is first in the user's home, as itself or shared; as
/// itself not where it is a reply and `$3` leaves these out. The four parts are the tweet and its
/// retweets in the home, as far as it is complete (above `$4`), and both among what is merged.
pub(crate) const FIRST_AT_HOME: &str = concat!(
    "SELECT shared_id, min(tweet_id) FROM (
     SELECT r.id AS shared_id, h.tweet_id
     FROM (SELECT CAST(value AS BIGINT) AS id FROM json_each($2)) AS r CROSS JOIN home AS h
     WHERE h.user_id = $1 AND h.tweet_id = r.id AND h.tweet_id > $4
       AND (NOT $3 OR h.reply_to_author_id IS NULL) AND ",
    is_visible!("h"),
    " UNION ALL
     SELECT r.id, h.tweet_id
     FROM (SELECT CAST(value AS BIGINT) AS id FROM json_each($2)) AS r CROSS JOIN home AS h
     WHERE h.user_id = $1 AND h.retweeted_id = r.id AND h.tweet_id > $4 AND NOT ",
    is_hidden!("h.author_id"),
    " AND NOT ",
    is_hidden!("h.retweeted_author_id"),
    " UNION ALL
     SELECT r.id, p.tweet_id
     FROM (SELECT CAST(value AS BIGINT) AS id FROM json_each($2)) AS r
     CROSS JOIN post AS p CROSS JOIN follow AS f
     WHERE p.tweet_id = r.id AND f.follower_id = $1 AND f.followee_id = p.author_id
       AND f.merged AND (f.pulled OR NOT p.fanned_out)
       AND (NOT $3 OR p.reply_to_author_id IS NULL) AND ",
    is_visible!("p"),
    " AND ",
    may_be_at_home!(),
    " UNION ALL
     SELECT r.id, p.tweet_id
     FROM (SELECT CAST(value AS BIGINT) AS id FROM json_each($2)) AS r
     CROSS JOIN follow AS f CROSS JOIN post AS p
     WHERE f.follower_id = $1 AND f.merged
       AND p.retweeted_id = r.id AND p.author_id = f.followee_id
       AND (f.pulled OR NOT p.fanned_out) AND ",
    is_visible!("p"),
    ") AS at_home GROUP BY shared_id"
);

/// The tweets that mention the user `$1`, without those of deactivated authors.
macro_rules! mentions_page {
    ($order:literal) => {
        concat!(
            "SELECT m.tweet_id FROM mention AS m
             WHERE m.user_id = $1 AND m.tweet_id > $2 AND m.tweet_id < $3
               AND NOT ",
            is_hidden!("$1"),
            " AND NOT ",
            is_hidden!("m.author_id"),
            " ORDER BY m.tweet_id ",
            $order,
            " LIMIT $4"
        )
    };
}

pub(crate) const MENTIONS_LATEST: &str = mentions_page!("DESC");
pub(crate) const MENTIONS_EARLIEST: &str = mentions_page!("ASC");

/// Reads the timelines.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
    limits: Limits,
}

/// A tweet at home.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: i64,
    /// Of a retweet: what it shares.
    shared_id: Option<i64>,
}

/// What a reader does not want at home.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exclude {
    pub(crate) replies: bool,
    pub(crate) retweets: bool,
}

impl Store {
    /// On a migrated database.
    pub(crate) fn new(database: Database, limits: Limits) -> Self {
        Self { database, limits }
    }

    /// The ids of a user's home in the order of the window: those kept for the user, merged with
    /// those of authors with very many followers. A retweet of what is at home before it is left
    /// out; when a page is not full for that, the rest of the home is read at once. Below where the
    /// home was cut, it is filled up from the authors' lists, if it is short.
    pub(crate) async fn home(
        &self,
        user_id: UserId,
        window: &Window,
        exclude: Exclude,
    ) -> Result<Vec<TweetId>, DatabaseError> {
        let mut rest = *window;
        let mut ids = Vec::new();
        let mut older = None;
        loop {
            let (mut entries, floor) = self.entries(user_id, &rest, exclude, &mut older).await?;
            let is_last = entries.len() < rest.count_max as usize;
            if let Some(entry) = entries.last() {
                let border = if rest.newest_first { &mut rest.below } else { &mut rest.above };
                *border = entry.id;
            }
            self.leave_out_repeats(user_id, &mut entries, exclude, (floor, older.as_ref())).await?;
            ids.extend(entries.into_iter().filter_map(|entry| TweetId::from_i64(entry.id)));
            if is_last || ids.len() >= window.count_max as usize {
                ids.truncate(window.count_max as usize);
                return Ok(ids);
            }
            rest.count_max = self.limits.home_tweets_max;
        }
    }

    /// What is in the window, retweets of the same tweet among it, and down to which id the home is
    /// complete. `older` is what fills it up, read once it is needed.
    async fn entries(
        &self,
        user_id: UserId,
        window: &Window,
        exclude: Exclude,
        older: &mut Option<Older>,
    ) -> Result<(Vec<Entry>, i64), DatabaseError> {
        let (home, merged) = if window.newest_first {
            (HOME_LATEST, MERGED_LATEST)
        } else {
            (HOME_EARLIEST, MERGED_EARLIEST)
        };
        let mut entries: Vec<Entry> = Vec::new();
        // From the oldest on, a page must not be filled with what is left out below.
        let mut known_floor = if window.newest_first {
            None
        } else {
            Some(refill::floor(&self.database, user_id).await?)
        };
        // A tweet is in one of the two for good, so that one that comes in between the two reads
        // is not lost, nor there twice.
        for (sql, is_home) in [(home, true), (merged, false)] {
            let from = known_floor.filter(|_| is_home).unwrap_or(window.above);
            let found: Vec<(i64, Option<i64>, i64)> = query(sql)
                .bind(user_id)
                .bind(window.above.max(from))
                .bind(window.below)
                .bind(exclude.replies)
                .bind(exclude.retweets)
                .bind(window.count_max)
                .fetch_all(&self.database)
                .await?;
            for (id, shared_id, floor) in found {
                let floor = *known_floor.get_or_insert(floor);
                // What came late, below where the home was cut, is among what fills it up.
                if !is_home || id > floor {
                    entries.push(Entry { id, shared_id });
                }
            }
        }
        let floor = match known_floor {
            Some(floor) => floor,
            None => refill::floor(&self.database, user_id).await?,
        };
        put_in_order(&mut entries, window);
        let reaches_floor = if window.newest_first {
            let is_full = entries.len() == window.count_max as usize;
            !is_full || entries.last().is_some_and(|last| last.id <= floor)
        } else {
            true
        };
        if floor > window.above && reaches_floor {
            if older.is_none() {
                *older = Some(self.older(user_id, floor, exclude).await?);
            }
            let filling = older.iter().flat_map(|older| older.within(window));
            entries.extend(filling);
            put_in_order(&mut entries, window);
        }
        Ok((entries, floor))
    }

    /// Leaves out the retweets of what is at home before them. Of what fills the home up, each
    /// tweet was left out already that is at home elsewhere.
    async fn leave_out_repeats(
        &self,
        user_id: UserId,
        entries: &mut Vec<Entry>,
        exclude: Exclude,
        (floor, older): (i64, Option<&Older>),
    ) -> Result<(), DatabaseError> {
        let fills_up = |entry: &Entry| older.is_some_and(|older| older.has(entry.id));
        let shared: BTreeSet<i64> = entries
            .iter()
            .filter(|entry| !fills_up(entry))
            .filter_map(|entry| entry.shared_id)
            .collect();
        if shared.is_empty() {
            return Ok(());
        }
        let first = self.first_at_home(user_id, shared, exclude, floor).await?;
        entries.retain(|entry| {
            let first = entry.shared_id.and_then(|shared| first.get(&shared));
            fills_up(entry) || first.is_none_or(|first| *first >= entry.id)
        });
        Ok(())
    }

    /// With which id each of these tweets is first in the user's home, without what fills it up.
    async fn first_at_home(
        &self,
        user_id: UserId,
        shared: BTreeSet<i64>,
        exclude: Exclude,
        floor: i64,
    ) -> Result<HashMap<i64, i64>, DatabaseError> {
        let first: Vec<(i64, i64)> = query(FIRST_AT_HOME)
            .bind(user_id)
            .bind(list(shared))
            .bind(exclude.replies)
            .bind(floor)
            .fetch_all(&self.database)
            .await?;
        Ok(first.into_iter().collect())
    }

    /// The ids of the tweets that mention a user, in the order of the window.
    pub(crate) async fn mentions(
        &self,
        user_id: UserId,
        window: &Window,
    ) -> Result<Vec<TweetId>, DatabaseError> {
        let sql = if window.newest_first { MENTIONS_LATEST } else { MENTIONS_EARLIEST };
        let found: Vec<(i64,)> = query(sql)
            .bind(user_id)
            .bind(window.above)
            .bind(window.below)
            .bind(window.count_max)
            .fetch_all(&self.database)
            .await?;
        Ok(found.into_iter().filter_map(|(id,)| TweetId::from_i64(id)).collect())
    }

    /// Whether there is such an account, as far as the service has heard.
    pub(crate) async fn is_known(&self, user_id: UserId) -> Result<bool, DatabaseError> {
        Ok(accounts::standing(&self.database, user_id).await? == Standing::There)
    }

    /// Whether there was such an account.
    pub(crate) async fn is_gone(&self, user_id: UserId) -> Result<bool, DatabaseError> {
        let standing = accounts::standing(&self.database, user_id).await?;
        Ok(matches!(standing, Standing::Hidden | Standing::Deleted))
    }
}

/// Sorts as the window wants it, each id once, and cuts what is too many.
fn put_in_order(entries: &mut Vec<Entry>, window: &Window) {
    entries.sort_unstable_by_key(|entry| entry.id);
    entries.dedup_by_key(|entry| entry.id);
    if window.newest_first {
        entries.reverse();
    }
    entries.truncate(window.count_max as usize);
}
