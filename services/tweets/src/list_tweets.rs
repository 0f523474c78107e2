//! A user's tweets, latest first, in pages.

use std::ops::RangeInclusive;

use axum::extract::State;
use pillion_chassis::dialect::TWEET_FIELDS;
use pillion_chassis::page::{IdRange, Meta, PageQuery};
use pillion_chassis::parameters::Fields;
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Caller, Onward, Parameters, Path, Problem, UserId};

use crate::Tweets;
use crate::author;
use crate::error::Error;
use crate::store::TweetsOf;
use crate::tweet_body::TweetBody;

const PAGE_TWEETS: RangeInclusive<u32> = 5..=100;
const PAGE_TWEETS_DEFAULT: u32 = 10;

/// What a client asks for.
struct Query {
    page: PageQuery,
    range: IdRange,
    of: TweetsOf,
    fields: Fields,
}

/// `GET /2/users/{id}/tweets`
pub(crate) async fn list_tweets(
    State(tweets): State<Tweets>,
    caller: Caller,
    Path(author_id): Path<UserId>,
    onward: Onward,
    query: Parameters,
) -> Result<Answer<Vec<TweetBody>, Meta>, Error> {
    let Query { page, range, of, fields } = read(author_id, query)?;
    let page =
        page.open(&tweets.pages, &caller, &format!("GET /2/users/{{id}}/tweets {of:?} {range:?}"))?;
    let mut found = tweets.store.tweets_of(&of, &page.window_in(range)).await?;
    if found.is_empty()
        && page.is_first()
        && author::find(&*tweets.peers, &onward, author_id).await?.is_none()
    {
        let error = not_found_error("user", "id", &author_id.to_string());
        return Ok(Answer::missing(error));
    }
    let meta = page.cut_ids(&mut found, |tweet| tweet.id().as_i64());
    let bodies = found.into_iter().map(|tweet| TweetBody::new(tweet, &fields)).collect();
    tweets.usage.count(&caller, meta.result_count);
    Ok(Answer::page(bodies, meta))
}

fn read(author_id: UserId, mut query: Parameters) -> Result<Query, Problem> {
    let page = PageQuery::take(&mut query, PAGE_TWEETS, PAGE_TWEETS_DEFAULT);
    // A tweet's id tells when it was posted.
    let range = IdRange::take(&mut query);
    let exclude = query.fields("exclude", &["replies", "retweets"]);
    let fields = query.fields("tweet.fields", &TWEET_FIELDS);
    query.finish()?;
    let with_replies = !exclude.has("replies");
    let with_retweets = !exclude.has("retweets");
    Ok(Query { page, range, of: TweetsOf { author_id, with_replies, with_retweets }, fields })
}
