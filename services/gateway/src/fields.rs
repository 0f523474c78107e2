//! The names that the dialect (version 2.166 of X's API) knows for fields and expansions.

/// `tweet.fields`.
pub(crate) const TWEET_FIELDS: [&str; 34] = [
    "article",
    "attachments",
    "author_id",
    "card_uri",
    "community_id",
    "context_annotations",
    "conversation_id",
    "created_at",
    "display_text_range",
    "edit_controls",
    "edit_history_tweet_ids",
    "entities",
    "geo",
    "id",
    "in_reply_to_user_id",
    "lang",
    "matched_media_notes",
    "media_metadata",
    "non_public_metrics",
    "note_request_suggestions",
    "note_tweet",
    "organic_metrics",
    "paid_partnership",
    "possibly_sensitive",
    "promoted_metrics",
    "public_metrics",
    "referenced_tweets",
    "reply_settings",
    "scopes",
    "source",
    "suggested_source_links",
    "suggested_source_links_with_counts",
    "text",
    "withheld",
];

/// `user.fields`.
pub(crate) const USER_FIELDS: [&str; 26] = [
    "affiliation",
    "confirmed_email",
    "connection_status",
    "created_at",
    "description",
    "entities",
    "id",
    "is_identity_verified",
    "location",
    "most_recent_tweet_id",
    "name",
    "parody",
    "pinned_tweet_id",
    "profile_banner_url",
    "profile_image_url",
    "protected",
    "public_metrics",
    "receives_your_dm",
    "subscription",
    "subscription_type",
    "url",
    "username",
    "verified",
    "verified_followers_count",
    "verified_type",
    "withheld",
];

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
