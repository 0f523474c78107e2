//! The tweets that name a user or answer one of the user's tweets.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{IdRange, Listed, PageQuery};
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Caller, Parameters, Path, Problem, TweetId, UserId};

use crate::Timelines;

const PAGE_TWEETS: RangeInclusive<u32> = 5..=100;
const PAGE_TWEETS_DEFAULT: u32 = 10;

/// `GET /2/users/{id}/mentions`: anyone's, for users and apps.
pub(crate) async fn mentions(
    State(timelines): State<Timelines>,
    caller: Caller,
    Path(user_id): Path<UserId>,
    mut query: Parameters,
) -> Result<Listed<TweetId>, Problem> {
    let page = PageQuery::take(&mut query, PAGE_TWEETS, PAGE_TWEETS_DEFAULT);
    let range = IdRange::take(&mut query);
    query.finish()?;
    let scope = format!("GET /2/users/{{id}}/mentions {user_id} {range:?}");
    let page = page.open(&timelines.pages, &caller, &scope)?;
    let found = timelines.store.mentions(user_id, &page.window_in(range)).await?;
    if found.is_empty() && !timelines.store.is_known(user_id).await? {
        return Ok(Answer::missing(not_found_error("user", "id", &user_id.to_string())));
    }
    Ok(page.list_tweets(found))
}
