//! Users by the beginnings of the words of their handle and name.

use std::collections::BTreeSet;

use axum::extract::State;
use pillion_chassis::dialect::USER_FIELDS;
use pillion_chassis::page::{Cursor, Direction};
use pillion_chassis::{Answer, Parameters, Problem, UserCaller};
use serde::Serialize;

use crate::Users;
use crate::profile::Profile;
use crate::projection::words;
use crate::store::Search;
use crate::user_body::UserBody;

/// X's bounds for a page.
const PAGE_USERS_MAX: u32 = 1_000;
const PAGE_USERS_DEFAULT: u32 = 100;
/// X's bound for what is searched for.
const QUERY_CHARS_MAX: usize = 50;

/// About a page.
#[derive(Debug, Serialize)]
pub(crate) struct Meta {
    result_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_token: Option<String>,
}

/// `GET /2/users/search`: the accounts of which every word of `query` begins a word of the handle
/// or the name, the latest accounts first.
pub(crate) async fn search_users(
    State(users): State<Users>,
    _caller: UserCaller,
    mut query: Parameters,
) -> Result<Answer<Vec<UserBody>, Meta>, Problem> {
    let prefixes = prefixes(&mut query);
    let count_max = query.number("max_results", 1..=PAGE_USERS_MAX, PAGE_USERS_DEFAULT);
    let token = query.text("next_token");
    let fields = query.fields("user.fields", &USER_FIELDS);
    query.finish()?;

    let scope = format!("GET /2/users/search {prefixes:?}");
    let cursor = token.map(|token| users.pages.open(&scope, "next_token", &token)).transpose()?;
    // One more than fits on the page tells whether there is another page.
    let mut found = users.store.search(&page(prefixes, cursor, count_max + 1)).await?;
    let more = found.len() > count_max as usize;
    found.truncate(count_max as usize);
    let back = cursor.is_some_and(|cursor| cursor.direction == Direction::Previous);
    if back {
        found.reverse();
    }
    let token = |direction, profile: Option<&Profile>| {
        profile.map(|profile| {
            users.pages.issue(&scope, Cursor { direction, id: profile.user_id.get() })
        })
    };
    let meta = Meta {
        result_count: found.len(),
        next_token: token(Direction::Next, found.last().filter(|_| back || more)),
        previous_token: token(
            Direction::Previous,
            found.first().filter(|_| if back { more } else { cursor.is_some() }),
        ),
    };
    let bodies = found.into_iter().map(|profile| UserBody::new(profile, &fields)).collect();
    Ok(Answer { meta: Some(meta), ..Answer::list(bodies, Vec::new()) })
}

/// The words to search for.
fn prefixes(query: &mut Parameters) -> BTreeSet<String> {
    let text = query.text("query").unwrap_or_default();
    let prefixes: BTreeSet<String> = words(&text).collect();
    if text.chars().count() > QUERY_CHARS_MAX || prefixes.is_empty() {
        let message = format!(
            "The `query` query parameter value [{text}] is not 1 to {QUERY_CHARS_MAX} characters \
             with a letter, a digit or an underscore among them"
        );
        query.refuse("query", vec![text], message);
    }
    prefixes
}

/// The accounts that the cursor leads to.
fn page(prefixes: BTreeSet<String>, cursor: Option<Cursor>, count_max: u32) -> Search {
    let mut page =
        Search { prefixes, above_id: -1, below_id: i64::MAX, latest_first: true, count_max };
    if let Some(Cursor { direction, id }) = cursor {
        let id = id.cast_signed();
        match direction {
            Direction::Next => page.below_id = id,
            Direction::Previous => {
                page.above_id = id;
                page.latest_first = false;
            }
        }
    }
    page
}
