//! The tweets of the last seven days that a query matches, latest first, in pages.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{IdRange, Listed, PageQuery};
use pillion_chassis::{Answer, Caller, Parameters, TweetId};

use crate::error::Error;
use crate::window::Bounds;
use crate::{Search, read_query};

const PAGE_TWEETS: RangeInclusive<u32> = 10..=100;
const PAGE_TWEETS_DEFAULT: u32 = 10;

/// `GET /2/tweets/search/recent`
pub(crate) async fn search_recent(
    State(search): State<Search>,
    caller: Caller,
    mut parameters: Parameters,
) -> Result<Listed<TweetId>, Error> {
    let now = search.clock.now();
    let query = read_query(&mut parameters);
    let bounds = Bounds::read(&mut parameters, now);
    let count_max = parameters.number("max_results", PAGE_TWEETS, PAGE_TWEETS_DEFAULT);
    read_sort_order(&mut parameters);
    let page = PageQuery::new(count_max, read_token(&mut parameters));
    parameters.finish()?;
    // Without a query there is an error, so `finish` has not let it through.
    let Some((text, query)) = query else {
        return Ok(Answer::list(Vec::new(), Vec::new()));
    };

    let scope = format!("GET /2/tweets/search/recent {bounds:?} {text}");
    let page = page.open(&search.pages, &caller, &scope)?;
    let mut window = bounds.window(now);
    let asked = page.window_in(IdRange { above: window.above_id, below: window.below_id });
    window.below_id = asked.below;
    let pattern = search.store.pattern(&query).await?;
    let found = search.store.find(&pattern, window, asked.count_max).await?;
    let mut answer = page.list_tweets(found);
    // X's search only leads on.
    if let Some(meta) = &mut answer.meta {
        meta.previous_token = None;
    }
    Ok(answer)
}

/// Only the latest first can be had: a rank would differ between the two back ends, and change
/// from one page to the next.
fn read_sort_order(parameters: &mut Parameters) {
    if let Some(order) = parameters.text("sort_order").filter(|order| order != "recency") {
        let message = format!(
            "The `sort_order` query parameter value [{order}] is not one of [recency]{}",
            if order == "relevancy" { ": tweets are not ranked here" } else { "" }
        );
        parameters.refuse("sort_order", vec![order], message);
    }
}

/// The token, by whichever of its two names it was sent.
fn read_token(parameters: &mut Parameters) -> Option<(&'static str, String)> {
    let next = parameters.text("next_token").map(|token| ("next_token", token));
    let page = parameters.text("pagination_token").map(|token| ("pagination_token", token));
    if let (Some(_), Some((name, token))) = (&next, &page) {
        let message = "`next_token` and `pagination_token` mean the same; send one of them";
        parameters.refuse(name, vec![token.clone()], message.to_owned());
    }
    next.or(page)
}
