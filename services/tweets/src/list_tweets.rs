//! A user's tweets, latest first, in pages.

use axum::extract::State;
use pillion_chassis::dialect::TWEET_FIELDS;
use pillion_chassis::page::Cursor;
use pillion_chassis::parameters::Fields;
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Onward, Parameters, Path, Problem, Timestamp, TweetId, UserId};

use crate::Tweets;
use crate::author;
use crate::error::Error;
use crate::paging::{Meta, Span};
use crate::store::TweetsOf;
use crate::tweet::Tweet;
use crate::tweet_body::TweetBody;

const PAGE_TWEETS_MIN: u32 = 5;
const PAGE_TWEETS_MAX: u32 = 100;
const PAGE_TWEETS_DEFAULT: u32 = 10;

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
    with_retweets: bool,
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
    let of = filter.page(cursor, count_max);
    let mut found = tweets.store.tweets_of(&of).await?;
    let more = of.span.cut(&mut found);
    if found.is_empty()
        && cursor.is_none()
        && author::find(&*tweets.peers, &onward, author_id).await?.is_none()
    {
        let error = not_found_error("user", "id", &author_id.to_string());
        return Ok(Answer::missing(error));
    }
    let ids: Vec<TweetId> = found.iter().map(Tweet::id).collect();
    let meta = Meta::of_page(&ids, cursor, more, &tweets.pages, &scope);
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
        with_retweets: !exclude.has("retweets"),
    };
    Ok(Query { filter, fields, count_max, token })
}

impl Filter {
    /// What a page token of this list is bound to.
    fn scope(&self) -> String {
        format!("GET /2/users/{{id}}/tweets {self:?}")
    }

    /// The tweets of the filter that the cursor leads to.
    fn page(&self, cursor: Option<Cursor>, page_max: u32) -> TweetsOf {
        TweetsOf {
            author_id: self.author_id,
            span: Span::of_page(cursor, self.since_id, self.until_id, page_max),
            from: self.start_time.map_or(0, Timestamp::as_micros),
            before: self.end_time.map_or(i64::MAX, Timestamp::as_micros),
            with_replies: self.with_replies,
            with_retweets: self.with_retweets,
        }
    }
}
