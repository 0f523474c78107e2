//! A page of tweet ids, latest first: what a caller may ask for, which ids that means, and the
//! answer.

use std::ops::RangeInclusive;

use pillion_chassis::ids::time_of;
use pillion_chassis::page::{Cursor, Direction, PageTokens};
use pillion_chassis::{Answer, Parameters, Problem, Timestamp, TweetId};
use serde::Serialize;

/// Bits of a snowflake below its milliseconds.
const BELOW_TIME_BITS: u32 = 22;

/// What a list holds of a tweet.
#[derive(Debug, Serialize)]
pub(crate) struct Item {
    id: TweetId,
}

/// About a page.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Meta {
    result_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_id: Option<TweetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_id: Option<TweetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_token: Option<String>,
}

/// The parameters that every list has.
#[derive(Debug)]
pub(crate) struct PageQuery {
    pub(crate) window: Window,
    count_max: u32,
    token: Option<String>,
}

/// Which tweets are on the list, whatever the page: those with an id between the two, which are
/// not among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    above_id: i64,
    below_id: i64,
}

/// Which ids to read for a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Larger than this.
    pub(crate) above_id: i64,
    /// Smaller than this.
    pub(crate) below_id: i64,
    /// The largest first, else the smallest.
    pub(crate) latest_first: bool,
    /// At most so many: one more than fits on the page tells whether there is another page.
    pub(crate) count_max: u32,
    cursor: Option<Cursor>,
}

impl PageQuery {
    /// Takes the parameters that every list has; what is wrong with them is told when `query` is
    /// finished.
    pub(crate) fn take(query: &mut Parameters, count: RangeInclusive<u32>, default: u32) -> Self {
        let count_max = query.number("max_results", count, default);
        let token = query.text("pagination_token");
        let since_id: Option<TweetId> = query.value("since_id");
        let until_id: Option<TweetId> = query.value("until_id");
        let start_time: Option<Timestamp> = query.value("start_time");
        let end_time: Option<Timestamp> = query.value("end_time");
        if let (Some(start), Some(end)) = (start_time, end_time)
            && start >= end
        {
            let message =
                format!("The `start_time` [{start}] must be before the `end_time` [{end}]");
            query.refuse("start_time", vec![start.to_string()], message);
        }
        // An id goes before a time, as on X.
        let above_id = match (since_id, start_time) {
            (Some(id), _) => id.as_i64(),
            (None, Some(start)) => first_id_at(start) - 1,
            (None, None) => -1,
        };
        let below_id = match (until_id, end_time) {
            (Some(id), _) => id.as_i64(),
            (None, Some(end)) => first_id_at(end),
            (None, None) => i64::MAX,
        };
        Self { window: Window { above_id, below_id }, count_max, token }
    }

    /// The ids to read. 400 when the page token was not issued for this `scope`.
    pub(crate) fn span(&self, pages: &PageTokens, scope: &str) -> Result<Span, Problem> {
        let token = self.token.as_deref();
        let cursor = token.map(|token| pages.open(scope, "pagination_token", token)).transpose()?;
        let Window { above_id, below_id } = self.window;
        let mut span =
            Span { above_id, below_id, latest_first: true, count_max: self.count_max + 1, cursor };
        if let Some(Cursor { direction, id }) = cursor {
            let id = TweetId::generated(id).as_i64();
            match direction {
                Direction::Next => span.below_id = span.below_id.min(id),
                Direction::Previous => {
                    span.above_id = span.above_id.max(id);
                    span.latest_first = false;
                }
            }
        }
        Ok(span)
    }
}

impl Span {
    /// The page of what was found, with the ways to its neighbours.
    pub(crate) fn answer(
        &self,
        pages: &PageTokens,
        scope: &str,
        mut found: Vec<TweetId>,
    ) -> Answer<Vec<Item>, Meta> {
        let size = self.count_max as usize - 1;
        let more = found.len() > size;
        found.truncate(size);
        if !self.latest_first {
            found.reverse();
        }
        let (next, previous) = self.neighbours(&found, more);
        let issue = |cursor: Cursor| pages.issue(scope, cursor);
        let meta = Meta {
            result_count: found.len(),
            newest_id: found.first().copied(),
            oldest_id: found.last().copied(),
            next_token: next.map(issue),
            previous_token: previous.map(issue),
        };
        let items = found.into_iter().map(|id| Item { id }).collect();
        Answer { meta: Some(meta), ..Answer::list(items, Vec::new()) }
    }

    /// The cursors of the pages after and before this one, where there are such pages. `more`
    /// says that there are tweets beyond this page in the direction that led to it.
    fn neighbours(&self, found: &[TweetId], more: bool) -> (Option<Cursor>, Option<Cursor>) {
        let next = |id| Cursor { direction: Direction::Next, id };
        let previous = |id| Cursor { direction: Direction::Previous, id };
        let (Some(newest), Some(oldest)) = (found.first(), found.last()) else {
            // All tweets beyond the cursor are gone. The way back begins with the tweet at which
            // the token was issued, if it is still there.
            return match self.cursor {
                None => (None, None),
                Some(Cursor { direction: Direction::Next, id }) => {
                    (None, Some(previous(id.saturating_sub(1))))
                }
                Some(Cursor { direction: Direction::Previous, id }) => {
                    (Some(next(id.saturating_add(1))), None)
                }
            };
        };
        let (newest, oldest) = (newest.get(), oldest.get());
        match self.cursor.map(|cursor| cursor.direction) {
            None => (more.then(|| next(oldest)), None),
            Some(Direction::Next) => (more.then(|| next(oldest)), Some(previous(newest))),
            Some(Direction::Previous) => (Some(next(oldest)), more.then(|| previous(newest))),
        }
    }
}

/// The smallest id of the moment or later: ids tell whole milliseconds.
fn first_id_at(at: Timestamp) -> i64 {
    let millis = at.as_micros().cast_unsigned().div_ceil(1_000);
    let since_epoch = millis.saturating_sub(time_of(0).as_millis());
    // 41 bits of milliseconds reach into 2080; what is later is later than every id.
    i64::try_from(u128::from(since_epoch) << BELOW_TIME_BITS).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_begins_with_its_first_id() {
        let at = |text: &str| first_id_at(text.parse().unwrap());
        let first = at("2021-11-15T19:08:05.001Z");
        let time = |id: i64| time_of(id.cast_unsigned()).to_string();
        assert_eq!(time(first), "2021-11-15T19:08:05.001Z");
        assert_eq!(time(first - 1), "2021-11-15T19:08:05.000Z");
        // What is finer than a millisecond belongs to the next one.
        assert_eq!(at("2021-11-15T19:08:05.000001Z"), first);
        assert_eq!(at("1970-01-01T00:00:00Z"), 0);
        assert_eq!(at("9999-01-01T00:00:00Z"), i64::MAX);
    }
}
