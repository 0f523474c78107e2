//! The tweets that quote a tweet, latest first, in pages.

use axum::extract::State;
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Parameters, Path, TweetId};
use serde::Serialize;

use crate::Tweets;
use crate::error::Error;
use crate::paging::{Meta, Span};

const PAGE_TWEETS_MIN: u32 = 10;
const PAGE_TWEETS_MAX: u32 = 100;

/// A tweet of which the gateway gets the body.
#[derive(Debug, Serialize)]
pub(crate) struct Id {
    id: TweetId,
}

/// `GET /2/tweets/{id}/quote_tweets`: ids only.
pub(crate) async fn quote_tweets(
    State(tweets): State<Tweets>,
    Path(id): Path<TweetId>,
    mut query: Parameters,
) -> Result<Answer<Vec<Id>, Meta>, Error> {
    let page_max = query.number("max_results", PAGE_TWEETS_MIN..=PAGE_TWEETS_MAX, PAGE_TWEETS_MIN);
    let token = query.text("pagination_token");
    // No retweet quotes anything, so that part of `exclude` is always fulfilled.
    let with_replies = !query.fields("exclude", &["replies", "retweets"]).has("replies");
    query.finish()?;

    let scope = format!("GET /2/tweets/{{id}}/quote_tweets {id} {with_replies}");
    let cursor =
        token.map(|token| tweets.pages.open(&scope, "pagination_token", &token)).transpose()?;
    let span = Span::of_page(cursor, None, None, page_max);
    // Quotes outlive what they quote; the list of them does not.
    if tweets.store.by_ids(&[id]).await?.is_empty() {
        return Ok(Answer::missing(not_found_error("tweet", "id", &id.to_string())));
    }
    let mut found = tweets.store.quotes_of(id, span, with_replies).await?;
    let more = span.cut(&mut found);
    let meta = Meta::of_page(&found, cursor, more, &tweets.pages, &scope);
    let ids = found.into_iter().map(|id| Id { id }).collect();
    Ok(Answer { meta: Some(meta), ..Answer::list(ids, Vec::new()) })
}
