//! A user posts a tweet, a reply or a quote.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::ids::time_of;
use pillion_chassis::problem::InvalidParameter;
use pillion_chassis::{Answer, Json, Onward, Problem, TweetId, UserCaller, UserId};
use pillion_events::{ReplySettings, TweetPosted};
use pillion_text as text;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::Tweets;
use crate::author::{self, Author};
use crate::error::Error;
use crate::relations;
use crate::tweet::Tweet;

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    text: String,
    reply: Option<Reply>,
    quote_tweet_id: Option<TweetId>,
    reply_settings: Option<String>,
    // What X has besides, as far as it asks for nothing.
    #[serde(default, rename = "for_super_followers_only")]
    _for_super_followers_only: Off,
    #[serde(default, rename = "made_with_ai")]
    _made_with_ai: Off,
    #[serde(default, rename = "nullcast")]
    _nullcast: Off,
    #[serde(default, rename = "paid_partnership")]
    _paid_partnership: Off,
    #[serde(default, rename = "share_with_followers")]
    _share_with_followers: Off,
    #[serde(default, rename = "card_uri")]
    _card_uri: Nothing,
    #[serde(default, rename = "community_id")]
    _community_id: Nothing,
    #[serde(default, rename = "direct_message_deep_link")]
    _direct_message_deep_link: Nothing,
    #[serde(default, rename = "edit_options")]
    _edit_options: Nothing,
    #[serde(default, rename = "geo")]
    _geo: Nothing,
    #[serde(default, rename = "media")]
    _media: Nothing,
    #[serde(default, rename = "poll")]
    _poll: Nothing,
}

/// A switch of X's that is off here: `false`, `null` or absent.
#[derive(Debug, Default)]
struct Off;

impl<'de> Deserialize<'de> for Off {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<bool>::deserialize(deserializer)? {
            None | Some(false) => Ok(Self),
            Some(true) => {
                Err(de::Error::custom("this is not supported here, so it can only be false"))
            }
        }
    }
}

/// A part of X's that tweets do not have here: `null` or absent.
#[derive(Debug, Default)]
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<de::IgnoredAny>::deserialize(deserializer)? {
            None => Ok(Self),
            Some(_) => Err(de::Error::custom("this is not supported here; leave it out")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    in_reply_to_tweet_id: TweetId,
    /// Nobody is named by a reply whom its text does not name, so there is nobody to leave out.
    #[serde(default, rename = "exclude_reply_user_ids")]
    _excluded: Option<Vec<UserId>>,
    #[serde(default, rename = "auto_populate_reply_metadata")]
    _populates: Off,
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

    let references = find_references(&tweets, &body).await?;
    references.check(&tweets, &onward, &caller, &author).await?;
    let mentions = author::mentioned(&*tweets.peers, &onward, &body.text).await?;

    let References { replied_to, quoted, .. } = references;
    let tweet_id = tweets.ids.tweet()?;
    let posted = TweetPosted {
        tweet_id,
        author_id: caller.user_id,
        text: body.text,
        conversation_id: replied_to.as_ref().map_or(tweet_id, |to| to.posted.conversation_id),
        replied_to: replied_to.as_ref().map(Tweet::reference),
        quoted: quoted.as_ref().map(Tweet::reference),
        mentions,
        reply_settings,
        client_id: caller.client_id,
        // Clients read the time out of the id, so the two must not differ.
        created_at: time_of(tweet_id.get()),
    };
    tweets.store.post(&posted).await?;
    let answer: Answer<_> = Answer::found(Posted {
        id: tweet_id,
        text: text::escape(&posted.text),
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
    if text::is_blank(text) {
        return Err("$.text: it is empty; a tweet needs a character that can be seen".to_owned());
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

/// What the new tweet points at, and who limits who may answer.
struct References {
    replied_to: Option<Tweet>,
    quoted: Option<Tweet>,
    /// The tweet that began the conversation, if it is still there.
    root: Option<Tweet>,
}

/// Finds what the body points at. Who answers or quotes a retweet means what it repeats.
async fn find_references(tweets: &Tweets, body: &Body) -> Result<References, Error> {
    let reply_to = body.reply.as_ref().map(|reply| reply.in_reply_to_tweet_id);
    let ids: Vec<TweetId> = reply_to.into_iter().chain(body.quote_tweet_id).collect();
    let mut found = find(tweets, &[], &ids).await?;
    // What a retweet repeats, then the tweet that began the conversation.
    for _ in 0..2 {
        let further = found.iter().map(|tweet| match tweet.retweeted {
            Some(original) => original.tweet_id,
            None => tweet.posted.conversation_id,
        });
        let further: Vec<TweetId> = further.collect();
        found.extend(find(tweets, &found, &further).await?);
    }
    let of = |id: TweetId| found.iter().find(|tweet| tweet.id() == id);
    let original = |id: TweetId| match of(id)?.retweeted {
        Some(original) => of(original.tweet_id),
        None => of(id),
    };
    let point_at = |quoted: bool, tweet_id: Option<TweetId>| match tweet_id {
        None => Ok(None),
        Some(tweet_id) => match original(tweet_id) {
            Some(tweet) if quoted || !tweet.hidden => Ok(Some(tweet.clone())),
            _ => Err(Error::NoSuchReference { quoted, tweet_id }),
        },
    };
    let replied_to = point_at(false, reply_to)?;
    let root = replied_to.as_ref().and_then(|to| of(to.posted.conversation_id)).cloned();
    Ok(References { root, quoted: point_at(true, body.quote_tweet_id)?, replied_to })
}

/// Those of these tweets that are not known yet.
async fn find(tweets: &Tweets, known: &[Tweet], ids: &[TweetId]) -> Result<Vec<Tweet>, Error> {
    let is_known = |id: &TweetId| known.iter().any(|tweet| tweet.id() == *id);
    let ids: Vec<TweetId> = ids.iter().copied().filter(|id| !is_known(id)).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(tweets.store.by_ids(&ids).await?)
}

impl References {
    /// Whether this user may answer and quote: sees it, is not blocked, and is among those from
    /// whom an answer is wanted. The graph service is asked about others' tweets only.
    async fn check(
        &self,
        tweets: &Tweets,
        onward: &Onward,
        caller: &UserCaller,
        author: &Author,
    ) -> Result<(), Error> {
        let Self { replied_to, quoted, root } = self;
        let mut others: Vec<UserId> = [replied_to, quoted]
            .into_iter()
            .flatten()
            .map(|tweet| tweet.posted.author_id)
            .filter(|user_id| *user_id != caller.user_id)
            .collect();
        others.dedup();
        let closed = relations::out_of_reach(&*tweets.peers, onward, &others).await?;
        for (is_quoted, tweet) in [(false, replied_to), (true, quoted)] {
            if let Some(tweet) = tweet
                && closed.contains(&tweet.posted.author_id)
            {
                return Err(Error::NoSuchReference { quoted: is_quoted, tweet_id: tweet.id() });
            }
        }
        // Who began a conversation decides for all of it.
        let is_limited = |tweet: &&Tweet| tweet.posted.reply_settings != ReplySettings::Everyone;
        let Some(limited) =
            root.as_ref().filter(is_limited).or(replied_to.as_ref().filter(is_limited))
        else {
            return Ok(());
        };
        let TweetPosted { author_id, reply_settings, .. } = limited.posted;
        if author_id == caller.user_id || is_mentioned(limited, caller, author) {
            return Ok(());
        }
        if reply_settings == ReplySettings::Following
            && relations::is_followed_by(&*tweets.peers, onward, author_id).await?
        {
            return Ok(());
        }
        Err(Error::RepliesLimited(limited.id()))
    }
}

/// Whether a tweet names this user.
fn is_mentioned(tweet: &Tweet, caller: &UserCaller, author: &Author) -> bool {
    let TweetPosted { mentions, text, .. } = &tweet.posted;
    if mentions.is_empty() {
        // Tweets of the first version do not tell whom they name; their text does.
        let named = text::entities(text).mentions;
        return named.iter().any(|name| name.username.eq_ignore_ascii_case(&author.username));
    }
    mentions.iter().any(|mention| mention.user_id == caller.user_id)
}
