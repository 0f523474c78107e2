//! The names that the dialect (version 2.166 of X's API) knows for fields and expansions; those
//! of tweets and users are shared with the services that own them.

pub(crate) use pillion_chassis::dialect::{TWEET_FIELDS, USER_FIELDS};

/// `media.fields`.
pub(crate) const MEDIA_FIELDS: [&str; 13] = [
    "alt_text",
    "duration_ms",
    "height",
    "media_key",
    "non_public_metrics",
    "organic_metrics",
    "preview_image_url",
    "promoted_metrics",
    "public_metrics",
    "type",
    "url",
    "variants",
    "width",
];

/// `place.fields`.
pub(crate) const PLACE_FIELDS: [&str; 8] =
    ["contained_within", "country", "country_code", "full_name", "geo", "id", "name", "place_type"];

/// `poll.fields`.
pub(crate) const POLL_FIELDS: [&str; 5] =
    ["duration_minutes", "end_datetime", "id", "options", "voting_status"];

/// `search_count.fields`.
pub(crate) const COUNT_FIELDS: [&str; 3] = ["end", "start", "tweet_count"];

/// The field of tweets, and of users, that counts what others did.
pub(crate) const METRICS: &str = "public_metrics";

/// The field of users that tells how the caller stands to them.
pub(crate) const CONNECTION_STATUS: &str = "connection_status";

/// `expansions` of tweets. Those for which nothing exists here (media, polls, places, articles)
/// include nothing.
pub(crate) const TWEET_EXPANSIONS: [&str; 14] = [
    "article.cover_media",
    "article.media_entities",
    "attachments.media_keys",
    "attachments.media_source_tweet",
    "attachments.poll_ids",
    AUTHOR,
    EDITS,
    MENTIONED,
    "geo.place_id",
    REPLIED_TO_USER,
    "entities.note.mentions.username",
    REFERENCED,
    "referenced_tweets.id.attachments.media_keys",
    REFERENCED_AUTHOR,
];

/// `expansions` of users; nothing exists here that they could include.
pub(crate) const USER_EXPANSIONS: [&str; 3] =
    ["affiliation.user_id", "most_recent_tweet_id", "pinned_tweet_id"];

/// Who wrote a tweet.
pub(crate) const AUTHOR: &str = "author_id";
/// All versions of a tweet.
pub(crate) const EDITS: &str = "edit_history_tweet_ids";
/// Whom a tweet mentions.
pub(crate) const MENTIONED: &str = "entities.mentions.username";
/// Whom a tweet answers.
pub(crate) const REPLIED_TO_USER: &str = "in_reply_to_user_id";
/// The tweets that a tweet answers or quotes.
pub(crate) const REFERENCED: &str = "referenced_tweets.id";
/// Who wrote those.
pub(crate) const REFERENCED_AUTHOR: &str = "referenced_tweets.id.author_id";
