//! Pages of a list: what a client may ask for, which rows that means, and the tokens that lead to
//! the pages beside it.
//!
//! Every row of a list has a number, its id or its place in the order in which things came about,
//! and the list begins with the largest. A page's border is such a number, so that what comes and
//! goes meanwhile shifts no page.

mod range;
#[cfg(test)]
mod tests;
mod tokens;

use std::ops::RangeInclusive;

use pillion_events::TweetId;
use serde::Serialize;

pub use range::IdRange;
pub use tokens::{Cursor, Direction, PageTokens};

use crate::answer::Answer;
use crate::caller::{Caller, UserCaller};
use crate::parameters::Parameters;
use crate::problem::Problem;

/// What a client says about the page.
#[derive(Debug)]
pub struct PageQuery {
    count_max: u32,
    /// The token, and the parameter that it was sent as.
    token: Option<(&'static str, String)>,
}

/// To whom a page token is given: a user, whichever app acts for them, or an app by itself.
#[derive(Debug)]
pub struct TokenHolder(String);

impl From<&Caller> for TokenHolder {
    fn from(caller: &Caller) -> Self {
        match caller.user_id {
            Some(user_id) => Self(format!("user {user_id}")),
            None => Self(format!("app {}", caller.client_id)),
        }
    }
}

impl From<&UserCaller> for TokenHolder {
    fn from(caller: &UserCaller) -> Self {
        Self(format!("user {}", caller.user_id))
    }
}

/// A page to be read.
#[derive(Debug)]
pub struct Page<'t> {
    tokens: &'t PageTokens,
    scope: String,
    cursor: Option<Cursor>,
    count_max: u32,
}

/// Which rows to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// With a larger number than this.
    pub above: i64,
    /// With a smaller number than this.
    pub below: i64,
    /// The largest numbers first, else the smallest.
    pub newest_first: bool,
    /// At most so many.
    pub count_max: u32,
}

/// About a page.
#[derive(Debug, Default, Serialize)]
pub struct Meta {
    /// How many are on it.
    pub result_count: usize,
    /// The largest id on it, of lists in the order of ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_id: Option<String>,
    /// The smallest id on it, of lists in the order of ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_id: Option<String>,
    /// Leads to the page after it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Leads to the page before it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_token: Option<String>,
}

/// One on a list of ids. Who asks gets the rest from the service that owns it.
#[derive(Debug, Serialize)]
pub struct Item<I> {
    id: I,
}

/// A page of ids as it is answered.
pub type Listed<I> = Answer<Vec<Item<I>>, Meta>;

impl PageQuery {
    /// Takes `max_results` and `pagination_token`; `counts` may be on a page, and `default` are
    /// when the client does not say.
    pub fn take(query: &mut Parameters, counts: RangeInclusive<u32>, default: u32) -> Self {
        Self::take_named(query, "pagination_token", counts, default)
    }

    /// The same for a route that calls the token otherwise.
    pub fn take_named(
        query: &mut Parameters,
        name: &'static str,
        counts: RangeInclusive<u32>,
        default: u32,
    ) -> Self {
        let count_max = query.number("max_results", counts, default);
        let token = query.text(name).map(|token| (name, token));
        Self { count_max, token }
    }

    /// What a route has read itself: how many may be on the page, and the token with its name.
    pub fn new(count_max: u32, token: Option<(&'static str, String)>) -> Self {
        Self { count_max, token }
    }

    /// The page of the list that `scope` names: the route and all that decides what is on the
    /// list. 400 when the token is not of that list, or was not given to this caller.
    pub fn open<'t>(
        self,
        tokens: &'t PageTokens,
        caller: impl Into<TokenHolder>,
        scope: &str,
    ) -> Result<Page<'t>, Problem> {
        let TokenHolder(holder) = caller.into();
        let scope = format!("{scope} for {holder}");
        let open = |(name, token): (&str, String)| tokens.open(&scope, name, &token);
        let cursor = self.token.map(open).transpose()?;
        Ok(Page { tokens, scope, cursor, count_max: self.count_max })
    }
}

impl Page<'_> {
    /// Whether no token led here.
    pub fn is_first(&self) -> bool {
        self.cursor.is_none()
    }

    /// The rows of the page and one more, which tells whether there is another page.
    pub fn window(&self) -> Window {
        self.window_in(IdRange::ALL)
    }

    /// The same of the part of a list that has its ids in a range.
    pub fn window_in(&self, range: IdRange) -> Window {
        let IdRange { above, below } = range;
        let all = Window { above, below, newest_first: true, count_max: self.count_max + 1 };
        match self.cursor {
            None => all,
            Some(Cursor { direction: Direction::Next, id }) => {
                Window { below: below.min(number(id)), ..all }
            }
            Some(Cursor { direction: Direction::Previous, id }) => {
                Window { above: above.max(number(id)), newest_first: false, ..all }
            }
        }
    }

    /// Makes the page of what the window holds: without the row too many, the newest first.
    /// `number` tells a row's number, which is never negative.
    pub fn cut<T>(&self, rows: &mut Vec<T>, number: impl Fn(&T) -> i64) -> Meta {
        let count_max = self.count_max as usize;
        let more = rows.len() > count_max;
        rows.truncate(count_max);
        if self.cursor.is_some_and(|cursor| cursor.direction == Direction::Previous) {
            rows.reverse();
        }
        let border = |row: Option<&T>| row.map(|row| number(row).cast_unsigned());
        let (next, previous) = self.neighbours(border(rows.first()), border(rows.last()), more);
        let issue = |cursor: Cursor| self.tokens.issue(&self.scope, cursor);
        Meta {
            result_count: rows.len(),
            next_token: next.map(issue),
            previous_token: previous.map(issue),
            ..Meta::default()
        }
    }

    /// The same for a list in the order of ids, of which the page names the first and the last.
    pub fn cut_ids<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> i64) -> Meta {
        let meta = self.cut(rows, &id);
        let text = |row: Option<&T>| row.map(|row| id(row).to_string());
        Meta { newest_id: text(rows.first()), oldest_id: text(rows.last()), ..meta }
    }

    /// The page as it is answered, from what the window holds: which and with which number.
    pub fn list<I>(&self, mut rows: Vec<(I, i64)>) -> Listed<I> {
        let meta = self.cut(&mut rows, |(_, number)| *number);
        Answer::page(rows.into_iter().map(|(id, _)| Item { id }).collect(), meta)
    }

    /// The same for a list of tweets in the order of their ids.
    pub fn list_tweets(&self, mut ids: Vec<TweetId>) -> Listed<TweetId> {
        let meta = self.cut_ids(&mut ids, |id| id.as_i64());
        Answer::page(ids.into_iter().map(|id| Item { id }).collect(), meta)
    }

    /// The cursors of the pages after and before this one, where there are such pages. `more`
    /// says that there are rows beyond this page in the direction that led to it.
    fn neighbours(
        &self,
        newest: Option<u64>,
        oldest: Option<u64>,
        more: bool,
    ) -> (Option<Cursor>, Option<Cursor>) {
        let next = |id| Cursor { direction: Direction::Next, id };
        let previous = |id| Cursor { direction: Direction::Previous, id };
        let (Some(newest), Some(oldest)) = (newest, oldest) else {
            // All beyond the cursor is gone. The way back begins with the row at which the token
            // was issued, if it is still there.
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
        match self.cursor.map(|cursor| cursor.direction) {
            None => (more.then(|| next(oldest)), None),
            Some(Direction::Next) => (more.then(|| next(oldest)), Some(previous(newest))),
            Some(Direction::Previous) => (Some(next(oldest)), more.then(|| previous(newest))),
        }
    }
}

/// The number of a row whose number a token holds.
fn number(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}
