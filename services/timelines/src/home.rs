//! A user's home timeline: the newest tweets of those whom the user follows, and the user's own.
//! Each tweet is there once: a retweet is not when the tweet itself is, or an earlier retweet.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::page::{IdRange, Listed, PageQuery};
use pillion_chassis::{Parameters, Path, Problem, TweetId, UserCaller, UserId};

use crate::Timelines;
use crate::store::Exclude;

const PAGE_TWEETS: RangeInclusive<u32> = 1..=100;
const PAGE_TWEETS_DEFAULT: u32 = 100;

/// `GET /2/users/{id}/timelines/reverse_chronological`: the caller's own, nobody else's.
pub(crate) async fn home(
    State(timelines): State<Timelines>,
    caller: UserCaller,
    Path(user_id): Path<UserId>,
    mut query: Parameters,
) -> Result<Listed<TweetId>, Problem> {
    caller.require_own("id", user_id)?;
    let page = PageQuery::take(&mut query, PAGE_TWEETS, PAGE_TWEETS_DEFAULT);
    let range = IdRange::take(&mut query);
    let exclude = query.fields("exclude", &["replies", "retweets"]);
    let exclude = Exclude { replies: exclude.has("replies"), retweets: exclude.has("retweets") };
    query.finish()?;
    let scope = format!(
        "GET /2/users/{{id}}/timelines/reverse_chronological {user_id} {range:?} {exclude:?}"
    );
    let page = page.open(&timelines.pages, &caller, &scope)?;
    let found = timelines.store.home(user_id, &page.window_in(range), exclude).await?;
    if found.is_empty() && timelines.store.is_gone(user_id).await? {
        return Err(Problem::account_gone(user_id));
    }
    Ok(page.list_tweets(found))
}
