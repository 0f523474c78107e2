//! A tweet as the API shows it.

use pillion_chassis::parameters::Fields;
use pillion_chassis::{Timestamp, TweetId, UserId};
use pillion_events::{Mention, ReplySettings, TweetPosted};
use pillion_text::{Tag, Url};
use serde::Serialize;

use crate::tweet::Tweet;

/// A tweet: `id`, `text` and `edit_history_tweet_ids` always, the rest as `tweet.fields` asks. The
/// text is escaped as X escapes it, and `entities` and `display_text_range` count on that.
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
    display_text_range: Option<[usize; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edit_controls: Option<EditControls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entities: Option<Entities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_reply_to_user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    possibly_sensitive: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_metrics: Option<PublicMetrics>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    referenced_tweets: Vec<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_settings: Option<ReplySettings>,
    /// For the gateway, which takes it off: whose tweet it is and, of a retweet, whose tweet it
    /// repeats. Who may not see one of them does not see the tweet.
    #[serde(rename = "_authors")]
    authors: Vec<UserId>,
    /// For the gateway: whether who began the conversation hid it.
    #[serde(rename = "_hidden", skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
}

/// What has come of a tweet. X wants all six to be there. Replies and quotes are counted here;
/// the gateway puts in what the engagements service counts.
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

/// How a tweet can be edited: no tweet can.
#[derive(Debug, Serialize)]
struct EditControls {
    edits_remaining: u32,
    is_edit_eligible: bool,
    editable_until: Timestamp,
}

/// BCP 47's tag for a text whose language was not determined: no service tells languages.
const UNDETERMINED: &str = "und";

/// What a text holds, in X's shape.
#[derive(Debug, Serialize)]
struct Entities {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashtags: Vec<Tag>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mentions: Vec<Named>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cashtags: Vec<Tag>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    urls: Vec<Url>,
}

/// A mention, and whom it names if that was anybody when the tweet was posted.
#[derive(Debug, Serialize)]
struct Named {
    #[serde(flatten)]
    at: pillion_text::Mention,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<UserId>,
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
        let references =
            if fields.has("referenced_tweets") { references(&tweet) } else { Vec::new() };
        let Tweet { posted, retweeted, hidden, reply_count, quote_count } = tweet;
        let replied_to = posted.replied_to.filter(|_| fields.has("in_reply_to_user_id"));
        // Nothing of a text is left out: what X leaves out, it has put in.
        let text = pillion_text::escape(&posted.text);
        let range = fields.has("display_text_range").then(|| [0, text.chars().count()]);
        let edit_controls = fields.has("edit_controls").then_some(EditControls {
            edits_remaining: 0,
            is_edit_eligible: false,
            editable_until: posted.created_at,
        });
        Self {
            id: posted.tweet_id,
            edit_history_tweet_ids: [posted.tweet_id],
            author_id: fields.has("author_id").then_some(posted.author_id),
            conversation_id: fields.has("conversation_id").then_some(posted.conversation_id),
            created_at: fields.has("created_at").then_some(posted.created_at),
            display_text_range: range,
            edit_controls,
            lang: fields.has("lang").then_some(UNDETERMINED),
            possibly_sensitive: fields.has("possibly_sensitive").then_some(false),
            entities: fields.has("entities").then(|| Entities::of(&posted)).flatten(),
            in_reply_to_user_id: replied_to.map(|to| to.author_id),
            public_metrics: fields.has("public_metrics").then_some(PublicMetrics {
                retweet_count: 0,
                reply_count,
                like_count: 0,
                quote_count,
                bookmark_count: 0,
                impression_count: 0,
            }),
            referenced_tweets: references,
            reply_settings: fields.has("reply_settings").then_some(posted.reply_settings),
            authors: std::iter::once(posted.author_id)
                .chain(retweeted.map(|to| to.author_id))
                .collect(),
            hidden,
            text,
        }
    }
}

impl Entities {
    /// What a tweet's text holds; `None` when it holds nothing.
    fn of(posted: &TweetPosted) -> Option<Self> {
        let found = pillion_text::delivered_entities(&posted.text);
        if found.is_empty() {
            return None;
        }
        let pillion_text::Entities { hashtags, mentions, cashtags, urls } = found;
        let named = |at: pillion_text::Mention| {
            let is_named = |to: &&Mention| to.username.eq_ignore_ascii_case(&at.username);
            let id = posted.mentions.iter().find(is_named).map(|to| to.user_id);
            Named { at, id }
        };
        let mentions = mentions.into_iter().map(named).collect();
        Some(Self { hashtags, mentions, cashtags, urls })
    }
}

fn references(tweet: &Tweet) -> Vec<Reference> {
    let Tweet { posted, retweeted, .. } = tweet;
    [("retweeted", *retweeted), ("replied_to", posted.replied_to), ("quoted", posted.quoted)]
        .into_iter()
        .filter_map(|(kind, to)| Some(Reference { kind, id: to?.tweet_id }))
        .collect()
}
