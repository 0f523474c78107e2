//! Users by the beginnings of the words of their handle and name.

use std::collections::BTreeSet;

use axum::extract::State;
use pillion_chassis::dialect::USER_FIELDS;
use pillion_chassis::page::{Meta, PageQuery};
use pillion_chassis::{Answer, Parameters, Problem, UserCaller};

use crate::Users;
use crate::projection::words;
use crate::user_body::UserBody;

/// X's bounds for a page.
const PAGE_USERS_MAX: u32 = 1_000;
const PAGE_USERS_DEFAULT: u32 = 100;
/// X's bound for what is searched for.
const QUERY_CHARS_MAX: usize = 50;

/// `GET /2/users/search`: the accounts of which every word of `query` begins a word of the handle
/// or the name, the latest accounts first.
pub(crate) async fn search_users(
    State(users): State<Users>,
    caller: UserCaller,
    mut query: Parameters,
) -> Result<Answer<Vec<UserBody>, Meta>, Problem> {
    let prefixes = prefixes(&mut query);
    let page =
        PageQuery::take_named(&mut query, "next_token", 1..=PAGE_USERS_MAX, PAGE_USERS_DEFAULT);
    let fields = query.fields("user.fields", &USER_FIELDS);
    query.finish()?;
    let page = page.open(&users.pages, &caller, &format!("GET /2/users/search {prefixes:?}"))?;
    let mut found = users.store.search(&prefixes, &page.window()).await?;
    let meta = page.cut(&mut found, |profile| profile.user_id.as_i64());
    let bodies = found.into_iter().map(|profile| UserBody::new(profile, &fields)).collect();
    Ok(Answer::page(bodies, meta))
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
