//! A user's notifications, latest first, in pages.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{IdRange, Meta, PageQuery};
use pillion_chassis::{Answer, Parameters, Problem, UserCaller};

use crate::Notifications;
use crate::error::Error;
use crate::notice::{Item, KINDS};

const PAGE: RangeInclusive<u32> = 1..=100;
const PAGE_DEFAULT: u32 = 20;

/// What a client asks for.
struct Query {
    page: PageQuery,
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
    let Query { page, kinds, unread_only } = read(query)?;
    let scope = format!("GET /pillion/v1/notifications {user_id} {kinds:?} {unread_only}");
    let page = page.open(&notifications.pages, &caller, &scope)?;
    let store = &notifications.store;
    let mailbox = store.mailbox(user_id).await?;
    if mailbox.last_id == 0 && store.is_deleted(user_id).await? {
        return Err(Problem::account_gone(user_id).into());
    }
    let above = if unread_only { mailbox.read_up_to } else { -1 };
    let window = page.window_in(IdRange { above, ..IdRange::ALL });
    let mut found = store.page(user_id, mailbox, &kinds, &window).await?;
    let meta = page.cut_ids(&mut found, |item| item.id.as_i64());
    Ok(Answer::page(found, meta))
}

fn read(mut query: Parameters) -> Result<Query, Problem> {
    let page = PageQuery::take(&mut query, PAGE, PAGE_DEFAULT);
    let types = query.fields("types", &KINDS);
    let unread_only = query.value("unread_only").unwrap_or(false);
    query.finish()?;
    let kinds = KINDS.into_iter().filter(|kind| types.has(kind)).collect();
    Ok(Query { page, kinds, unread_only })
}
