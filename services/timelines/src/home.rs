//! A user's home timeline: the newest tweets of those whom the user follows, and the user's own.

use axum::extract::State;
use pillion_chassis::{Answer, Parameters, Path, Problem, UserCaller, UserId};

use crate::Timelines;
use crate::error::Error;
use crate::page::{Item, Meta, PageQuery};
use crate::store::Exclude;

const PAGE_TWEETS_MIN: u32 = 1;
const PAGE_TWEETS_MAX: u32 = 100;
const PAGE_TWEETS_DEFAULT: u32 = 100;

/// `GET /2/users/{id}/timelines/reverse_chronological`: the caller's own, nobody else's.
pub(crate) async fn home(
    State(timelines): State<Timelines>,
    caller: UserCaller,
    Path(user_id): Path<UserId>,
    mut query: Parameters,
) -> Result<Answer<Vec<Item>, Meta>, Error> {
    check_own(user_id, &caller)?;
    let page = PageQuery::take(&mut query, PAGE_TWEETS_MIN..=PAGE_TWEETS_MAX, PAGE_TWEETS_DEFAULT);
    let exclude = query.fields("exclude", &["replies", "retweets"]);
    let exclude = Exclude { replies: exclude.has("replies"), retweets: exclude.has("retweets") };
    query.finish()?;
    let scope = format!(
        "GET /2/users/{{id}}/timelines/reverse_chronological {user_id} {:?} {exclude:?}",
        page.window
    );
    let span = page.span(&timelines.pages, &scope)?;
    let found = timelines.store.home(user_id, &span, exclude).await?;
    if found.is_empty() && timelines.store.is_deleted(user_id).await? {
        return Err(Problem::account_gone(user_id).into());
    }
    Ok(span.answer(&timelines.pages, &scope, found))
}

/// 400 unless the path names the caller.
fn check_own(user_id: UserId, caller: &UserCaller) -> Result<(), Problem> {
    if user_id == caller.user_id {
        return Ok(());
    }
    let message = format!(
        "The `id` query parameter value [{user_id}] must be the same as the authenticating user \
         [{}]",
        caller.user_id
    );
    Err(Problem::invalid("id", Some(&user_id.to_string()), message))
}
