//! The tweets that quote a tweet, latest first, in pages.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{Listed, PageQuery};
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Caller, Parameters, Path, TweetId};

use crate::Tweets;
use crate::error::Error;

const PAGE_TWEETS: RangeInclusive<u32> = 10..=100;
const PAGE_TWEETS_DEFAULT: u32 = 10;

/// `GET /2/tweets/{id}/quote_tweets`: ids only.
pub(crate) async fn quote_tweets(
    State(tweets): State<Tweets>,
    caller: Caller,
    Path(id): Path<TweetId>,
    mut query: Parameters,
) -> Result<Listed<TweetId>, Error> {
    let page = PageQuery::take(&mut query, PAGE_TWEETS, PAGE_TWEETS_DEFAULT);
    // No retweet quotes anything, so that part of `exclude` is always fulfilled.
    let with_replies = !query.fields("exclude", &["replies", "retweets"]).has("replies");
    query.finish()?;
    let scope = format!("GET /2/tweets/{{id}}/quote_tweets {id} {with_replies}");
    let page = page.open(&tweets.pages, &caller, &scope)?;
    // Quotes outlive what they quote; the list of them does not.
    if tweets.store.by_ids(&[id]).await?.is_empty() {
        return Ok(Answer::missing(not_found_error("tweet", "id", &id.to_string())));
    }
    Ok(page.list_tweets(tweets.store.quotes_of(id, &page.window(), with_replies).await?))
}
