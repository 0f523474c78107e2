//! A user as the API shows them.

use pillion_chassis::parameters::Fields;
use pillion_chassis::{Timestamp, UserId};
use serde::Serialize;

use crate::profile::{About, Profile};

/// What `user.fields` may name: all that X's API knows. Those that nothing here has a value for
/// are left out of the answer, as X leaves out what an object lacks. `public_metrics` belongs to
/// the services that count; the gateway puts it together.
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

/// A user: `id`, `name` and `username` always, the rest as `user.fields` asks for it.
#[derive(Debug, Serialize)]
pub(crate) struct UserBody {
    id: UserId,
    name: String,
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_type: Option<&'static str>,
}

impl UserBody {
    /// The fields that were asked for.
    pub(crate) fn new(profile: Profile, fields: &Fields) -> Self {
        let Profile { user_id, username, about, created_at } = profile;
        let About { name, description, location, url } = about;
        Self {
            id: user_id,
            name,
            username: username.to_string(),
            created_at: fields.has("created_at").then_some(created_at),
            description: description.filter(|_| fields.has("description")),
            location: location.filter(|_| fields.has("location")),
            url: url.filter(|_| fields.has("url")),
            // No route verifies an account or protects it, so these hold for everyone.
            protected: fields.has("protected").then_some(false),
            verified: fields.has("verified").then_some(false),
            verified_type: fields.has("verified_type").then_some("none"),
        }
    }
}
