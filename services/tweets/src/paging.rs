//! Pages of lists in the order of their ids: which ids a page is of, and what is before and
//! after it.

use pillion_chassis::TweetId;
use pillion_chassis::page::{Cursor, Direction, PageTokens};
use serde::Serialize;

/// The part of a list that a page is cut from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// With a larger id than this.
    pub(crate) above_id: i64,
    /// With a smaller id than this.
    pub(crate) below_id: i64,
    /// The largest ids first, else the smallest.
    pub(crate) latest_first: bool,
    /// At most so many.
    pub(crate) count_max: u32,
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

impl Span {
    /// What the cursor leads to, between two ids if they are given; one more than fits on the
    /// page, which tells whether there is another page.
    pub(crate) fn of_page(
        cursor: Option<Cursor>,
        since_id: Option<TweetId>,
        until_id: Option<TweetId>,
        page_max: u32,
    ) -> Self {
        let mut span = Self {
            above_id: since_id.map_or(-1, TweetId::as_i64),
            below_id: until_id.map_or(i64::MAX, TweetId::as_i64),
            latest_first: true,
            count_max: page_max + 1,
        };
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
        span
    }

    /// Makes what was found of the span the page, latest first; whether there was more.
    pub(crate) fn cut<T>(&self, found: &mut Vec<T>) -> bool {
        let page_max = self.count_max as usize - 1;
        let more = found.len() > page_max;
        found.truncate(page_max);
        if !self.latest_first {
            found.reverse();
        }
        more
    }
}

impl Meta {
    /// About a page with these ids, latest first. `more` says that there is more beyond it in the
    /// direction that led to it; tokens are bound to `scope`.
    pub(crate) fn of_page(
        ids: &[TweetId],
        cursor: Option<Cursor>,
        more: bool,
        tokens: &PageTokens,
        scope: &str,
    ) -> Self {
        let (next, previous) = neighbours(cursor, ids, more);
        let issue = |cursor: Cursor| tokens.issue(scope, cursor);
        Self {
            result_count: ids.len(),
            newest_id: ids.first().copied(),
            oldest_id: ids.last().copied(),
            next_token: next.map(issue),
            previous_token: previous.map(issue),
        }
    }
}

/// The cursors of the pages after and before this one, where there are such pages.
fn neighbours(
    cursor: Option<Cursor>,
    ids: &[TweetId],
    more: bool,
) -> (Option<Cursor>, Option<Cursor>) {
    let next = |id| Cursor { direction: Direction::Next, id };
    let previous = |id| Cursor { direction: Direction::Previous, id };
    let (Some(newest), Some(oldest)) = (ids.first(), ids.last()) else {
        // All tweets beyond the cursor are gone. The way back begins with the tweet at which the
        // token was issued, if it is still there.
        return match cursor {
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
    match cursor.map(|cursor| cursor.direction) {
        None => (more.then(|| next(oldest)), None),
        Some(Direction::Next) => (more.then(|| next(oldest)), Some(previous(newest))),
        Some(Direction::Previous) => (Some(next(oldest)), more.then(|| previous(newest))),
    }
}
