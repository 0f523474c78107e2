//! The tweets that a user likes or keeps, the newest like or bookmark first.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{Listed, PageQuery};
use pillion_chassis::problem::{not_authorized_error, not_found_error};
use pillion_chassis::visibility::Reason;
use pillion_chassis::{Answer, Caller, Onward, Parameters, Path, TweetId, UserCaller, UserId};

use crate::Engagements;
use crate::error::Error;
use crate::store::{Account, Kind};
use crate::{accounts, tweet};

/// X's bounds for the two lists, and how many tweets are on a page when the client does not say.
const LIKED_TWEETS: RangeInclusive<u32> = 5..=100;
const BOOKMARKS: RangeInclusive<u32> = 1..=100;
const PAGE_TWEETS_DEFAULT: u32 = 100;

/// `GET /2/users/{id}/liked_tweets`
pub(crate) async fn liked_tweets(
    State(engagements): State<Engagements>,
    Path(id): Path<UserId>,
    caller: Caller,
    onward: Onward,
    mut query: Parameters,
) -> Result<Listed<TweetId>, Error> {
    let page = PageQuery::take(&mut query, LIKED_TWEETS, PAGE_TWEETS_DEFAULT);
    query.finish()?;
    let page = page.open(&engagements.pages, format!("liked by {id}"))?;
    let account = engagements.store.account(id).await?;
    let missing = || Answer::missing(not_found_error("user", "id", &id.to_string()));
    if account.is_some_and(|Account { gone }| gone) {
        return Ok(missing());
    }
    let peers = &*engagements.peers;
    let reason = tweet::reason(peers, &onward, caller.user_id, id).await?;
    if reason.is_some_and(Reason::forbids) {
        let error = not_authorized_error("data", "user", "id", &id.to_string());
        return Ok(Answer::missing(error));
    }
    let rows = engagements.store.tweets_of(Kind::Like, id, &page.window()).await?;
    // Whom nobody has told of yet may exist all the same: the users service knows.
    if rows.is_empty()
        && page.is_first()
        && account.is_none()
        && !accounts::exists(peers, &onward, id).await?
    {
        return Ok(missing());
    }
    Ok(page.list(rows))
}

/// `GET /2/users/{id}/bookmarks`
pub(crate) async fn bookmarks(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    mut query: Parameters,
) -> Result<Listed<TweetId>, Error> {
    caller.require_own("id", id)?;
    let page = PageQuery::take(&mut query, BOOKMARKS, PAGE_TWEETS_DEFAULT);
    query.finish()?;
    let page = page.open(&engagements.pages, format!("bookmarked by {id}"))?;
    let rows = engagements.store.tweets_of(Kind::Bookmark, id, &page.window()).await?;
    Ok(page.list(rows))
}
