//! The users who like or retweet a tweet, the newest like or retweet first.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{Listed, PageQuery};
use pillion_chassis::{Answer, Caller, Onward, Parameters, Path, TweetId, UserId};

use crate::Engagements;
use crate::error::Error;
use crate::store::Kind;
use crate::tweet;

/// X's bounds for the two lists, and how many users are on a page when the client does not say.
const PAGE_USERS: RangeInclusive<u32> = 1..=100;
const PAGE_USERS_DEFAULT: u32 = 100;

/// `GET /2/tweets/{id}/liking_users`
pub(crate) async fn liking_users(
    State(engagements): State<Engagements>,
    Path(id): Path<TweetId>,
    caller: Caller,
    onward: Onward,
    query: Parameters,
) -> Result<Listed<UserId>, Error> {
    list(&engagements, Kind::Like, id, &caller, &onward, query).await
}

/// `GET /2/tweets/{id}/retweeted_by`
pub(crate) async fn retweeted_by(
    State(engagements): State<Engagements>,
    Path(id): Path<TweetId>,
    caller: Caller,
    onward: Onward,
    query: Parameters,
) -> Result<Listed<UserId>, Error> {
    list(&engagements, Kind::Retweet, id, &caller, &onward, query).await
}

/// Of a retweet the list is that of the tweet that is retweeted.
async fn list(
    engagements: &Engagements,
    kind: Kind,
    id: TweetId,
    caller: &Caller,
    onward: &Onward,
    mut query: Parameters,
) -> Result<Listed<UserId>, Error> {
    let page = PageQuery::take(&mut query, PAGE_USERS, PAGE_USERS_DEFAULT);
    query.finish()?;
    let page = page.open(&engagements.pages, caller, &format!("{kind:?} of {id}"))?;
    let source = match tweet::shown(engagements, onward, caller.user_id, id).await? {
        Ok(source) => source,
        Err(missing) => return Ok(Answer::missing(missing)),
    };
    let rows = engagements.store.users_of(kind, source.tweet_id, &page.window()).await?;
    Ok(page.list(rows))
}
