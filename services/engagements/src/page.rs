//! Pages of a list in the order of positions, newest first, and the tokens that lead to the
//! pages beside them.

use std::ops::RangeInclusive;

use pillion_chassis::page::{Cursor, Direction, PageTokens};
use pillion_chassis::{Answer, Parameters, Problem};
use serde::Serialize;

/// One on the list. Who asks gets the rest from the service that owns it.
#[derive(Debug, Serialize)]
pub(crate) struct Item<I> {
    id: I,
}

/// A page as it is answered.
pub(crate) type Listed<I> = Answer<Vec<Item<I>>, Meta>;

/// About a page.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Meta {
    result_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_token: Option<String>,
}

/// What a client says about the page.
#[derive(Debug)]
pub(crate) struct PageQuery {
    count_max: u32,
    token: Option<String>,
}

/// A page to be read.
#[derive(Debug)]
pub(crate) struct Page {
    scope: String,
    cursor: Option<Cursor>,
    count_max: u32,
}

/// Which rows to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// With a larger position than this.
    pub(crate) above: i64,
    /// With a smaller position than this.
    pub(crate) below: i64,
    /// The largest positions first, else the smallest.
    pub(crate) newest_first: bool,
    /// At most so many.
    pub(crate) count_max: u32,
}

impl PageQuery {
    /// Takes the parameters of a page out of a query; `counts` may be on a page, and `default`
    /// are when the client does not say.
    pub(crate) fn take(query: &mut Parameters, counts: RangeInclusive<u32>, default: u32) -> Self {
        let count_max = query.number("max_results", counts, default);
        Self { count_max, token: query.text("pagination_token") }
    }

    /// The page of the list that `scope` names; 400 when the token is not of that list.
    pub(crate) fn open(self, tokens: &PageTokens, scope: String) -> Result<Page, Problem> {
        let open = |token: String| tokens.open(&scope, "pagination_token", &token);
        let cursor = self.token.map(open).transpose()?;
        Ok(Page { scope, cursor, count_max: self.count_max })
    }
}

impl Page {
    /// Whether no token led here.
    pub(crate) fn is_first(&self) -> bool {
        self.cursor.is_none()
    }

    /// The rows of the page and one more, which tells whether there is another page.
    pub(crate) fn window(&self) -> Window {
        let count_max = self.count_max + 1;
        let all = Window { above: -1, below: i64::MAX, newest_first: true, count_max };
        match self.cursor {
            None => all,
            Some(Cursor { direction: Direction::Next, id }) => {
                Window { below: position(id), ..all }
            }
            Some(Cursor { direction: Direction::Previous, id }) => {
                Window { above: position(id), newest_first: false, ..all }
            }
        }
    }

    /// The page as it is answered, from what the window holds: which and at which position.
    pub(crate) fn answer<I>(self, tokens: &PageTokens, mut rows: Vec<(I, i64)>) -> Listed<I> {
        let count_max = usize::try_from(self.count_max).unwrap_or(usize::MAX);
        let more = rows.len() > count_max;
        rows.truncate(count_max);
        if self.cursor.is_some_and(|cursor| cursor.direction == Direction::Previous) {
            rows.reverse();
        }
        let border = |row: Option<&(I, i64)>| row.map(|(_, position)| *position);
        let (next, previous) =
            neighbours(self.cursor, border(rows.first()), border(rows.last()), more);
        let issue = |cursor: Cursor| tokens.issue(&self.scope, cursor);
        let meta = Meta {
            result_count: rows.len(),
            next_token: next.map(issue),
            previous_token: previous.map(issue),
        };
        let items = rows.into_iter().map(|(id, _)| Item { id }).collect();
        Answer { meta: Some(meta), ..Answer::list(items, Vec::new()) }
    }
}

fn position(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// The cursors of the pages after and before this one, where there are such pages. `more` says
/// that there are rows beyond this page in the direction that led to it.
fn neighbours(
    cursor: Option<Cursor>,
    newest: Option<i64>,
    oldest: Option<i64>,
    more: bool,
) -> (Option<Cursor>, Option<Cursor>) {
    let next = |id| Cursor { direction: Direction::Next, id };
    let previous = |id| Cursor { direction: Direction::Previous, id };
    let (Some(newest), Some(oldest)) = (newest, oldest) else {
        // All beyond the cursor is gone. The way back begins with the row at which the token was
        // issued, if it is still there.
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
    let (newest, oldest) = (newest.cast_unsigned(), oldest.cast_unsigned());
    match cursor.map(|cursor| cursor.direction) {
        None => (more.then(|| next(oldest)), None),
        Some(Direction::Next) => (more.then(|| next(oldest)), Some(previous(newest))),
        Some(Direction::Previous) => (Some(next(oldest)), more.then(|| previous(newest))),
    }
}
