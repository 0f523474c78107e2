//! The tweets that a user likes or keeps, the newest like or bookmark first; and retweets, of one tweet
//! or of all tweets of a user, the newest first.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{Listed, PageQuery};
use pillion_chassis::problem::{not_authorized_error, not_found_error};
use pillion_chassis::visibility::Reason;
use pillion_chassis::{
    Answer, Caller, Onward, Parameters, Path, Problem, TweetId, UserCaller, UserId,
};

use crate::Engagements;
use crate::error::Error;
use crate::store::{Account, Kind, RetweetsOf};
use crate::{accounts, tweet};

/// X's bounds for the lists, and how many tweets are on a page when the client does not say.
const LIKED_TWEETS: RangeInclusive<u32> = 5..=100;
const BOOKMARKS: RangeInclusive<u32> = 1..=100;
const RETWEETS: RangeInclusive<u32> = 1..=100;
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
    let page = page.open(&engagements.pages, &caller, &format!("liked by {id}"))?;
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
    let page = page.open(&engagements.pages, &caller, &format!("bookmarked by {id}"))?;
    let rows = engagements.store.tweets_of(Kind::Bookmark, id, &page.window()).await?;
    Ok(page.list(rows))
}

/// `GET /2/tweets/{id}/retweets`: the retweets themselves, as tweets.
pub(crate) async fn retweets(
    State(engagements): State<Engagements>,
    Path(id): Path<TweetId>,
    caller: Caller,
    onward: Onward,
    mut query: Parameters,
) -> Result<Listed<TweetId>, Error> {
    let page = PageQuery::take(&mut query, RETWEETS, PAGE_TWEETS_DEFAULT);
    query.finish()?;
    let page = page.open(&engagements.pages, &caller, &format!("retweets of {id}"))?;
    let source = match tweet::shown(&engagements, &onward, caller.user_id, id).await? {
        Ok(source) => source,
        Err(missing) => return Ok(Answer::missing(missing)),
    };
    let of = RetweetsOf::Tweet(source.tweet_id);
    Ok(page.list(engagements.store.retweets(of, &page.window()).await?))
}

/// `GET /2/users/reposts_of_me`: the retweets by anybody of the caller's tweets.
pub(crate) async fn reposts_of_me(
    State(engagements): State<Engagements>,
    caller: UserCaller,
    mut query: Parameters,
) -> Result<Listed<TweetId>, Error> {
    let page = PageQuery::take(&mut query, RETWEETS, PAGE_TWEETS_DEFAULT);
    query.finish()?;
    let user_id = caller.user_id;
    let page =
        page.open(&engagements.pages, &caller, &format!("retweets of the user {user_id}"))?;
    // A token may outlive its account.
    if engagements.store.account(user_id).await?.is_some_and(|Account { gone }| gone) {
        return Err(Problem::account_gone(user_id).into());
    }
    let of = RetweetsOf::User(user_id);
    Ok(page.list(engagements.store.retweets(of, &page.window()).await?))
}
