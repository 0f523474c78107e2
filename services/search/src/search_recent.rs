//! The tweets of the last seven days that a query matches, latest first, in pages.

use axum::extract::State;
use pillion_chassis::page::{Cursor, Direction};
use pillion_chassis::{Answer, Caller, Parameters, TweetId};
use serde::Serialize;

use crate::error::Error;
use crate::window::Bounds;
use crate::{Search, read_query};

const PAGE_TWEETS_MIN: u32 = 10;
const PAGE_TWEETS_MAX: u32 = 100;
const PAGE_TWEETS_DEFAULT: u32 = 10;

/// A tweet that was found; the gateway adds what else is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Hit {
    id: TweetId,
}

/// About a page.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_id: Option<TweetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_id: Option<TweetId>,
    result_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// `GET /2/tweets/search/recent`
pub(crate) async fn search_recent(
    State(search): State<Search>,
    _: Caller,
    mut parameters: Parameters,
) -> Result<Answer<Vec<Hit>, Meta>, Error> {
    let now = search.clock.now();
    let query = read_query(&mut parameters);
    let bounds = Bounds::read(&mut parameters, now);
    let count_max =
        parameters.number("max_results", PAGE_TWEETS_MIN..=PAGE_TWEETS_MAX, PAGE_TWEETS_DEFAULT);
    read_sort_order(&mut parameters);
    let token = read_token(&mut parameters);
    parameters.finish()?;
    // Without a query there is an error, so `finish` has not let it through.
    let Some((text, query)) = query else {
        return Ok(Answer::list(Vec::new(), Vec::new()));
    };

    let scope = format!("GET /2/tweets/search/recent {bounds:?} {text}");
    let mut window = bounds.window(now);
    if let Some((name, token)) = token {
        let cursor = search.pages.open(&scope, name, &token)?;
        window.below_id = window.below_id.min(TweetId::generated(cursor.id).as_i64());
    }
    let pattern = search.store.pattern(&query).await?;
    // One more than fits on the page tells whether there is another page.
    let mut found = search.store.find(&pattern, window, count_max + 1).await?;
    let more = found.len() > count_max as usize;
    found.truncate(count_max as usize);
    let next = found.last().filter(|_| more).map(|oldest| {
        search.pages.issue(&scope, Cursor { direction: Direction::Next, id: oldest.get() })
    });
    let meta = Meta {
        newest_id: found.first().copied(),
        oldest_id: found.last().copied(),
        result_count: found.len(),
        next_token: next,
    };
    let hits = found.into_iter().map(|id| Hit { id }).collect();
    Ok(Answer { meta: Some(meta), ..Answer::list(hits, Vec::new()) })
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
