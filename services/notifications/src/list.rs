//! A user's notifications, latest first, in pages.

use axum::extract::State;
use pillion_chassis::page::{Cursor, Direction};
use pillion_chassis::{Answer, Parameters, Problem, UserCaller};
use pillion_events::NotificationId;
use serde::Serialize;

use crate::Notifications;
use crate::error::Error;
use crate::notice::{Item, KINDS};
use crate::store::Range;

const PAGE_MIN: u32 = 1;
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 20;

/// About a page.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Meta {
    result_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_id: Option<NotificationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_id: Option<NotificationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_token: Option<String>,
}

/// What a client asks for.
struct Query {
    count_max: u32,
    token: Option<String>,
    kinds: Vec<&'static str>,
    unread_only: bool,
}

/// `GET /pillion/v1/notifications`
pub(crate) async fn list(
    State(notifications): State<Notifications>,
    caller: UserCaller,
    query: Parameters,
) -> Result<Answer<Vec<Item>, Meta>, Error> {
    let user_id = caller.user_id;
    let Query { count_max, token, kinds, unread_only } = read(query)?;
    let scope = format!("GET /pillion/v1/notifications {user_id} {kinds:?} {unread_only}");
    let pages = &notifications.pages;
    let cursor = token.map(|token| pages.open(&scope, "pagination_token", &token)).transpose()?;
    let store = &notifications.store;
    let mailbox = store.mailbox(user_id).await?;
    if mailbox.last_id == 0 && store.is_deleted(user_id).await? {
        return Err(Problem::account_gone(user_id).into());
    }
    let mut range = Range {
        above_id: if unread_only { mailbox.read_up_to } else { -1 },
        below_id: i64::MAX,
        kinds: &kinds,
        latest_first: true,
        // One more than fits on the page tells whether there is another page.
        count_max: count_max + 1,
    };
    if let Some(Cursor { direction, id }) = cursor {
        let id = NotificationId::generated(id).as_i64();
        match direction {
            Direction::Next => range.below_id = id,
            Direction::Previous => {
                range.above_id = range.above_id.max(id);
                range.latest_first = false;
            }
        }
    }
    let mut found = store.page(user_id, mailbox, &range).await?;
    let more = found.len() > count_max as usize;
    found.truncate(count_max as usize);
    if !range.latest_first {
        found.reverse();
    }
    let (next, previous) = neighbours(cursor, &found, more);
    let issue = |cursor: Cursor| pages.issue(&scope, cursor);
    let meta = Meta {
        result_count: found.len(),
        newest_id: found.first().map(|item| item.id),
        oldest_id: found.last().map(|item| item.id),
        next_token: next.map(issue),
        previous_token: previous.map(issue),
    };
    Ok(Answer { meta: Some(meta), ..Answer::list(found, Vec::new()) })
}

fn read(mut query: Parameters) -> Result<Query, Problem> {
    let count_max = query.number("max_results", PAGE_MIN..=PAGE_MAX, PAGE_DEFAULT);
    let token = query.text("pagination_token");
    let types = query.fields("types", &KINDS);
    let unread_only = query.value("unread_only").unwrap_or(false);
    query.finish()?;
    let kinds = KINDS.into_iter().filter(|kind| types.has(kind)).collect();
    Ok(Query { count_max, token, kinds, unread_only })
}

/// The cursors of the pages after and before this one, where there are such pages. `more` says
/// that there are notifications beyond this page in the direction that led to it.
fn neighbours(
    cursor: Option<Cursor>,
    found: &[Item],
    more: bool,
) -> (Option<Cursor>, Option<Cursor>) {
    let next = |id| Cursor { direction: Direction::Next, id };
    let previous = |id| Cursor { direction: Direction::Previous, id };
    let (Some(newest), Some(oldest)) = (found.first(), found.last()) else {
        // All beyond the cursor are gone. The way back begins with the one at which the token was
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
    let (newest, oldest) = (newest.id.get(), oldest.id.get());
    match cursor.map(|cursor| cursor.direction) {
        None => (more.then(|| next(oldest)), None),
        Some(Direction::Next) => (more.then(|| next(oldest)), Some(previous(newest))),
        Some(Direction::Previous) => (Some(next(oldest)), more.then(|| previous(newest))),
    }
}
