//! A tweet as the API shows it.

use pillion_chassis::parameters::Fields;
use pillion_chassis::{Timestamp, TweetId, UserId};
use pillion_events::{ReplySettings, TweetPosted};
use serde::Serialize;

use crate::text::{self, Entities};
use crate::tweet::Tweet;

/// A tweet: `id`, `text` and `edit_history_tweet_ids` always, the rest as `tweet.fields` asks.
#[derive(Debug, Serialize)]
pub(crate) struct TweetBody {
    id: TweetId,
    text: String,
    edit_history_tweet_ids: [TweetId; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    author_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<TweetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entities: Option<Entities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_reply_to_user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_metrics: Option<PublicMetrics>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    referenced_tweets: Vec<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_settings: Option<ReplySettings>,
}

/// What has come of a tweet. X wants all six to be there. Replies and quotes are counted here;
/// nobody can retweet, like, bookmark or look unseen yet, so the other four are truly 0.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the API's names")]
struct PublicMetrics {
    retweet_count: u64,
    reply_count: u64,
    like_count: u64,
    quote_count: u64,
    bookmark_count: u64,
    impression_count: u64,
}

/// A tweet that this one points at.
#[derive(Debug, Serialize)]
struct Reference {
    #[serde(rename = "type")]
    kind: &'static str,
    id: TweetId,
}

impl TweetBody {
    /// The fields that were asked for.
    pub(crate) fn new(tweet: Tweet, fields: &Fields) -> Self {
        let Tweet { posted, reply_count, quote_count } = tweet;
        let entities = fields.has("entities").then(|| text::entities(&posted.text));
        let replied_to = posted.replied_to.filter(|_| fields.has("in_reply_to_user_id"));
        Self {
            id: posted.tweet_id,
            edit_history_tweet_ids: [posted.tweet_id],
            author_id: fields.has("author_id").then_some(posted.author_id),
            conversation_id: fields.has("conversation_id").then_some(posted.conversation_id),
            created_at: fields.has("created_at").then_some(posted.created_at),
            entities: entities.filter(|entities| !entities.is_empty()),
            in_reply_to_user_id: replied_to.map(|to| to.author_id),
            public_metrics: fields.has("public_metrics").then_some(PublicMetrics {
                retweet_count: 0,
                reply_count,
                like_count: 0,
                quote_count,
                bookmark_count: 0,
                impression_count: 0,
            }),
            referenced_tweets: if fields.has("referenced_tweets") {
                references(&posted)
            } else {
                Vec::new()
            },
            reply_settings: fields.has("reply_settings").then_some(posted.reply_settings),
            text: posted.text,
        }
    }
}

fn references(posted: &TweetPosted) -> Vec<Reference> {
    let replied_to = posted.replied_to.map(|to| Reference { kind: "replied_to", id: to.tweet_id });
    let quoted = posted.quoted.map(|to| Reference { kind: "quoted", id: to.tweet_id });
    replied_to.into_iter().chain(quoted).collect()
}
