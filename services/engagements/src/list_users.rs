//! The users who like or retweet a tweet, the newest like or retweet first.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{Listed, PageQuery};
use pillion_chassis::problem::{not_authorized_error, not_found_error};
use pillion_chassis::visibility::Reason;
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
    list(&engagements, Kind::Like, id, caller.user_id, &onward, query).await
}

/// `GET /2/tweets/{id}/retweeted_by`
pub(crate) async fn retweeted_by(
    State(engagements): State<Engagements>,
    Path(id): Path<TweetId>,
    caller: Caller,
    onward: Onward,
    query: Parameters,
) -> Result<Listed<UserId>, Error> {
    list(&engagements, Kind::Retweet, id, caller.user_id, &onward, query).await
}

/// Of a retweet the list is that of the tweet that is retweeted.
async fn list(
    engagements: &Engagements,
    kind: Kind,
    id: TweetId,
    caller: Option<UserId>,
    onward: &Onward,
    mut query: Parameters,
) -> Result<Listed<UserId>, Error> {
    let page = PageQuery::take(&mut query, PAGE_USERS, PAGE_USERS_DEFAULT);
    query.finish()?;
    let page = page.open(&engagements.pages, format!("{kind:?} of {id}"))?;
    let peers = &*engagements.peers;
    let source_id = engagements.store.source_of(id).await?;
    let Some(source) = tweet::find(peers, onward, source_id).await? else {
        return Ok(Answer::missing(not_found_error("tweet", "id", &id.to_string())));
    };
    let reason = tweet::reason(peers, onward, caller, source.author_id).await?;
    if reason.is_some_and(Reason::forbids) {
        let error = not_authorized_error("data", "tweet", "id", &id.to_string());
        return Ok(Answer::missing(error));
    }
    let rows = engagements.store.users_of(kind, source.tweet_id, &page.window()).await?;
    Ok(page.list(rows))
}
