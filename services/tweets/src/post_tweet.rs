//! A user posts a tweet, a reply or a quote.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::ids::time_of;
use pillion_chassis::problem::InvalidParameter;
use pillion_chassis::{Answer, Json, Onward, Problem, TweetId, UserCaller};
use pillion_events::{ReplySettings, TweetPosted, TweetRef};
use serde::{Deserialize, Serialize};

use crate::Tweets;
use crate::author::{self, Author};
use crate::error::Error;
use crate::text;
use crate::tweet::Tweet;

const REPLY_KEY: &str = "reply.in_reply_to_tweet_id";
const QUOTE_KEY: &str = "quote_tweet_id";

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    text: String,
    reply: Option<Reply>,
    quote_tweet_id: Option<TweetId>,
    reply_settings: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    in_reply_to_tweet_id: TweetId,
}

/// What the client gets back.
#[derive(Debug, Serialize)]
struct Posted {
    id: TweetId,
    text: String,
    edit_history_tweet_ids: [TweetId; 1],
}

/// `POST /2/tweets`: 201 once the tweet is on disk.
pub(crate) async fn post_tweet(
    State(tweets): State<Tweets>,
    caller: UserCaller,
    onward: Onward,
    Json(body): Json<Body>,
) -> Result<Response, Error> {
    let reply_settings = check(&body)?;
    let author = author::find(&*tweets.peers, &onward, caller.user_id)
        .await?
        .ok_or_else(|| Problem::account_gone(caller.user_id))?;

    let reply_to = body.reply.map(|reply| reply.in_reply_to_tweet_id);
    let replied_to = find_reference(&tweets, REPLY_KEY, reply_to).await?;
    if let Some(tweet) = &replied_to {
        check_may_reply(tweet, &caller, &author)?;
    }
    let quoted = find_reference(&tweets, QUOTE_KEY, body.quote_tweet_id).await?;

    let tweet_id = tweets.ids.tweet();
    let posted = TweetPosted {
        tweet_id,
        author_id: caller.user_id,
        text: body.text,
        conversation_id: replied_to.as_ref().map_or(tweet_id, |to| to.posted.conversation_id),
        replied_to: replied_to.as_ref().map(reference),
        quoted: quoted.as_ref().map(reference),
        reply_settings,
        client_id: caller.client_id,
        // Clients read the time out of the id, so the two must not differ.
        created_at: time_of(tweet_id.get()),
    };
    tweets.store.post(&posted).await?;
    let answer: Answer<_> = Answer::found(Posted {
        id: tweet_id,
        text: posted.text,
        edit_history_tweet_ids: [tweet_id],
    });
    Ok((StatusCode::CREATED, answer).into_response())
}

/// What can be said of the body alone: all that is wrong, or who may reply.
fn check(body: &Body) -> Result<ReplySettings, Problem> {
    let mut errors = Vec::new();
    if let Err(message) = check_text(&body.text) {
        errors.push(InvalidParameter { name: "text".to_owned(), values: Vec::new(), message });
    }
    let name = body.reply_settings.as_deref();
    let settings = name.map_or(Some(ReplySettings::Everyone), ReplySettings::from_name);
    if settings.is_none() {
        let name = name.unwrap_or_default();
        errors.push(InvalidParameter {
            name: "reply_settings".to_owned(),
            values: vec![name.to_owned()],
            message: format!(
                "$.reply_settings: [{name}] is not one of [everyone,following,mentionedUsers]"
            ),
        });
    }
    match settings {
        Some(settings) if errors.is_empty() => Ok(settings),
        _ => Err(Problem::invalid_parameters(errors)),
    }
}

fn check_text(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("$.text: it is empty; a tweet needs at least one character".to_owned());
    }
    let weighed = text::weigh(text);
    if weighed.weighted_length > text::WEIGHTED_LENGTH_MAX {
        return Err(format!(
            "$.text: it weighs {} units and may weigh {}; a link weighs 23, most letters 1, \
             ideographs and emoji 2",
            weighed.weighted_length,
            text::WEIGHTED_LENGTH_MAX
        ));
    }
    if !weighed.valid {
        return Err(
            "$.text: it holds a character that is not allowed: U+FFFE, U+FEFF or U+FFFF".to_owned()
        );
    }
    Ok(())
}

/// The tweet that the new one points at, if it points at one.
async fn find_reference(
    tweets: &Tweets,
    key: &'static str,
    tweet_id: Option<TweetId>,
) -> Result<Option<Tweet>, Error> {
    let Some(tweet_id) = tweet_id else {
        return Ok(None);
    };
    let found = tweets.store.by_ids(&[tweet_id]).await?.into_iter().next();
    found.map(Some).ok_or(Error::NoSuchReference { key, tweet_id })
}

/// Whether this author may answer the tweet. Nobody follows anybody yet, so `following` lets in
/// what it lets in on X besides: those whom the tweet mentions.
fn check_may_reply(tweet: &Tweet, caller: &UserCaller, author: &Author) -> Result<(), Error> {
    let is_mentioned = || {
        let mentions = text::entities(&tweet.posted.text).mentions;
        mentions.iter().any(|mention| mention.username.eq_ignore_ascii_case(&author.username))
    };
    let may = match tweet.posted.reply_settings {
        ReplySettings::Everyone => true,
        ReplySettings::MentionedUsers | ReplySettings::Following => {
            tweet.posted.author_id == caller.user_id || is_mentioned()
        }
    };
    if may { Ok(()) } else { Err(Error::RepliesLimited(tweet.id())) }
}

fn reference(tweet: &Tweet) -> TweetRef {
    TweetRef { tweet_id: tweet.id(), author_id: tweet.posted.author_id }
}
