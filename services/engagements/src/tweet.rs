//! Asks the tweets service about a tweet, and whether the caller may do something with it.

use pillion_chassis::problem::{not_authorized_error, not_found_error};
use pillion_chassis::visibility::{self, Reason};
use pillion_chassis::{Onward, PeerError, Peers, TweetId, UserId};
use serde::Deserialize;
use serde_json::Value;

use crate::Engagements;
use crate::error::Error;
use crate::store::Kind;

/// The service that knows tweets.
pub(crate) const TWEETS: &str = "tweets";

/// A tweet that is not a retweet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// Which tweet.
    pub(crate) tweet_id: TweetId,
    /// Who wrote it.
    pub(crate) author_id: UserId,
}

/// The tweet with which the caller wants to do something: there, and one that the caller may see.
/// A retweet's id stands for the tweet that is retweeted.
pub(crate) async fn find_target(
    engagements: &Engagements,
    onward: &Onward,
    kind: Kind,
    caller: UserId,
    tweet_id: TweetId,
) -> Result<Source, Error> {
    let peers = &*engagements.peers;
    let source_id = engagements.store.source_of(tweet_id).await?;
    let source = find(peers, onward, source_id).await?.ok_or(Error::NoTweet { kind, tweet_id })?;
    match reason(peers, onward, Some(caller), source.author_id).await? {
        Some(Reason::BlockedBy) => Err(Error::BlockedBy(kind)),
        Some(Reason::Protected) => Err(Error::NotAuthorized(kind)),
        Some(Reason::Blocking | Reason::Muting) | None => Ok(source),
    }
}

/// The tweet that a list is about, or what the list has in its place: the tweet is not there, or not
/// for the caller. A retweet's id stands for the tweet that is retweeted.
pub(crate) async fn shown(
    engagements: &Engagements,
    onward: &Onward,
    caller: Option<UserId>,
    id: TweetId,
) -> Result<Result<Source, Value>, Error> {
    let peers = &*engagements.peers;
    let source_id = engagements.store.source_of(id).await?;
    let Some(source) = find(peers, onward, source_id).await? else {
        return Ok(Err(not_found_error("tweet", "id", &id.to_string())));
    };
    let reason = reason(peers, onward, caller, source.author_id).await?;
    if reason.is_some_and(Reason::forbids) {
        return Ok(Err(not_authorized_error("data", "tweet", "id", &id.to_string())));
    }
    Ok(Ok(source))
}

/// A tweet, unless it does not exist or was deleted.
pub(crate) async fn find(
    peers: &dyn Peers,
    onward: &Onward,
    tweet_id: TweetId,
) -> Result<Option<Source>, PeerError> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        data: Vec<Tweet>,
    }
    #[derive(Deserialize)]
    struct Tweet {
        author_id: UserId,
        #[serde(default)]
        referenced_tweets: Vec<Reference>,
        /// The tweet's author; of a retweet the source's author as well.
        #[serde(default, rename = "_authors")]
        authors: Vec<UserId>,
    }
    #[derive(Deserialize)]
    struct Reference {
        #[serde(rename = "type")]
        kind: String,
        id: TweetId,
    }
    let path = format!("/internal/tweets?ids={tweet_id}&tweet.fields=author_id,referenced_tweets");
    let found: Found = onward.get(peers, TWEETS, &path).await?;
    let Some(tweet) = found.data.into_iter().next() else {
        return Ok(None);
    };
    let retweeted = tweet.referenced_tweets.iter().find(|to| to.kind == "retweeted");
    Ok(Some(match (retweeted, tweet.authors.get(1)) {
        (Some(source), Some(author_id)) => Source { tweet_id: source.id, author_id: *author_id },
        _ => Source { tweet_id, author_id: tweet.author_id },
    }))
}

/// Why the caller does not see what a user writes, if there is a reason. Nobody is hidden from
/// themself.
pub(crate) async fn reason(
    peers: &dyn Peers,
    onward: &Onward,
    caller: Option<UserId>,
    user_id: UserId,
) -> Result<Option<Reason>, PeerError> {
    if caller == Some(user_id) {
        return Ok(None);
    }
    Ok(visibility::reasons(peers, onward, &[user_id]).await?.remove(&user_id))
}
