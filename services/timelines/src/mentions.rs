//! The tweets that name a user or answer one of the user's tweets.

use axum::extract::State;
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Caller, Parameters, Path, UserId};

use crate::Timelines;
use crate::error::Error;
use crate::page::{Item, Meta, PageQuery};

const PAGE_TWEETS_MIN: u32 = 5;
const PAGE_TWEETS_MAX: u32 = 100;
const PAGE_TWEETS_DEFAULT: u32 = 10;

/// `GET /2/users/{id}/mentions`: anyone's, for users and apps.
pub(crate) async fn mentions(
    State(timelines): State<Timelines>,
    _: Caller,
    Path(user_id): Path<UserId>,
    mut query: Parameters,
) -> Result<Answer<Vec<Item>, Meta>, Error> {
    let page = PageQuery::take(&mut query, PAGE_TWEETS_MIN..=PAGE_TWEETS_MAX, PAGE_TWEETS_DEFAULT);
    query.finish()?;
    let scope = format!("GET /2/users/{{id}}/mentions {user_id} {:?}", page.window);
    let span = page.span(&timelines.pages, &scope)?;
    let found = timelines.store.mentions(user_id, &span).await?;
    if found.is_empty() && !timelines.store.is_known(user_id).await? {
        return Ok(Answer::missing(not_found_error("user", "id", &user_id.to_string())));
    }
    Ok(span.answer(&timelines.pages, &scope, found))
}
