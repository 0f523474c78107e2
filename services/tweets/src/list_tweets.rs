//! A user's tweets, latest first, in pages.

use axum::extract::State;
use pillion_chassis::dialect::TWEET_FIELDS;
use pillion_chassis::page::{Cursor, Direction};
use pillion_chassis::parameters::Fields;
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Onward, Parameters, Path, Problem, Timestamp, TweetId, UserId};
use serde::Serialize;

use crate::Tweets;
use crate::author;
use crate::error::Error;
use crate::store::TweetsOf;
use crate::tweet::Tweet;
use crate::tweet_body::TweetBody;

const PAGE_TWEETS_MIN: u32 = 5;
const PAGE_TWEETS_MAX: u32 = 100;
const PAGE_TWEETS_DEFAULT: u32 = 10;

/// About a page.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Meta {
    result_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_id: Option<TweetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_id: Option<TweetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_token: Option<String>,
}

/// What a client asks for.
struct Query {
    filter: Filter,
    fields: Fields,
    count_max: u32,
    token: Option<String>,
}

/// Which of a user's tweets are on the list, whatever the page.
#[derive(Debug)]
struct Filter {
    author_id: UserId,
    since_id: Option<TweetId>,
    until_id: Option<TweetId>,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    with_replies: bool,
}

/// `GET /2/users/{id}/tweets`
pub(crate) async fn list_tweets(
    State(tweets): State<Tweets>,
    Path(author_id): Path<UserId>,
    onward: Onward,
    query: Parameters,
) -> Result<Answer<Vec<TweetBody>, Meta>, Error> {
    let Query { filter, fields, count_max, token } = read(author_id, query)?;
    let scope = filter.scope();
    let cursor =
        token.map(|token| tweets.pages.open(&scope, "pagination_token", &token)).transpose()?;
    // One more than fits on the page tells whether there is another page.
    let mut found = tweets.store.tweets_of(&filter.page(cursor, count_max + 1)).await?;
    let more = found.len() > count_max as usize;
    found.truncate(count_max as usize);
    if cursor.is_some_and(|cursor| cursor.direction == Direction::Previous) {
        found.reverse();
    }
    if found.is_empty()
        && cursor.is_none()
        && author::find(&*tweets.peers, &onward, author_id).await?.is_none()
    {
        let error = not_found_error("user", "id", &author_id.to_string());
        return Ok(Answer::missing(error));
    }
    let (next, previous) = neighbours(cursor, &found, more);
    let issue = |cursor: Cursor| tweets.pages.issue(&scope, cursor);
    let meta = Meta {
        result_count: found.len(),
        newest_id: found.first().map(Tweet::id),
        oldest_id: found.last().map(Tweet::id),
        next_token: next.map(issue),
        previous_token: previous.map(issue),
    };
    let bodies = found.into_iter().map(|tweet| TweetBody::new(tweet, &fields)).collect();
    Ok(Answer { meta: Some(meta), ..Answer::list(bodies, Vec::new()) })
}

fn read(author_id: UserId, mut query: Parameters) -> Result<Query, Problem> {
    let count_max =
        query.number("max_results", PAGE_TWEETS_MIN..=PAGE_TWEETS_MAX, PAGE_TWEETS_DEFAULT);
    let token = query.text("pagination_token");
    let since_id = query.value("since_id");
    let until_id = query.value("until_id");
    let start_time: Option<Timestamp> = query.value("start_time");
    let end_time: Option<Timestamp> = query.value("end_time");
    let exclude = query.fields("exclude", &["replies", "retweets"]);
    let fields = query.fields("tweet.fields", &TWEET_FIELDS);
    if let (Some(start), Some(end)) = (start_time, end_time)
        && start >= end
    {
        let message = format!("The `start_time` [{start}] must be before the `end_time` [{end}]");
        query.refuse("start_time", vec![start.to_string()], message);
    }
    query.finish()?;
    let filter = Filter {
        author_id,
        since_id,
        until_id,
        // An id goes before a time, as on X.
        start_time: start_time.filter(|_| since_id.is_none()),
        end_time: end_time.filter(|_| until_id.is_none()),
        with_replies: !exclude.has("replies"),
    };
    Ok(Query { filter, fields, count_max, token })
}

impl Filter {
    /// What a page token of this list is bound to.
    fn scope(&self) -> String {
        format!("GET /2/users/{{id}}/tweets {self:?}")
    }

    /// The tweets of the filter that the cursor leads to.
    fn page(&self, cursor: Option<Cursor>, count_max: u32) -> TweetsOf {
        let since = self.since_id.map(TweetId::as_i64);
        let until = self.until_id.map(TweetId::as_i64);
        let mut page = TweetsOf {
            author_id: self.author_id,
            above_id: since.unwrap_or(-1),
            below_id: until.unwrap_or(i64::MAX),
            from: self.start_time.map_or(0, Timestamp::as_micros),
            before: self.end_time.map_or(i64::MAX, Timestamp::as_micros),
            with_replies: self.with_replies,
            latest_first: true,
            count_max,
        };
        if let Some(Cursor { direction, id }) = cursor {
            let id = TweetId::generated(id).as_i64();
            match direction {
                Direction::Next => page.below_id = page.below_id.min(id),
                Direction::Previous => {
                    page.above_id = page.above_id.max(id);
                    page.latest_first = false;
                }
            }
        }
        page
    }
}

/// The cursors of the pages before and after this one, where there are such pages. `more` says
/// that there are tweets beyond this page in the direction that led to it.
fn neighbours(
    cursor: Option<Cursor>,
    found: &[Tweet],
    more: bool,
) -> (Option<Cursor>, Option<Cursor>) {
    let next = |id| Cursor { direction: Direction::Next, id };
    let previous = |id| Cursor { direction: Direction::Previous, id };
    let (Some(newest), Some(oldest)) = (found.first(), found.last()) else {
        // All tweets beyond the cursor are gone. The way back begins with the tweet at which the
        // token was issued, if it is still there.
        return match cursor {
            None => (None, None),
            Some(Cursor { direction: Direction::Next, id }) => {
                (None, Some(previous(id.saturating_sub(1))))
            }
            Some(Cursor { direction: Direction::Previous, id }) => {
                (Some(next(id.saturating_add(1))), None)
            }
        };
    };
    let (newest, oldest) = (newest.id().get(), oldest.id().get());
    match cursor.map(|cursor| cursor.direction) {
        None => (more.then(|| next(oldest)), None),
        Some(Direction::Next) => (more.then(|| next(oldest)), Some(previous(newest))),
        Some(Direction::Previous) => (Some(next(oldest)), more.then(|| previous(newest))),
    }
}
