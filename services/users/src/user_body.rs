//! A user as the API shows them.

use pillion_chassis::parameters::Fields;
use pillion_chassis::{Timestamp, UserId};
use serde::Serialize;

use crate::profile::{About, Profile};

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
        Self::choose(profile, |name| fields.has(name))
    }

    /// All that the owner can change and see.
    pub(crate) fn whole(profile: Profile) -> Self {
        Self::choose(profile, |_| true)
    }

    fn choose(profile: Profile, has: impl Fn(&str) -> bool) -> Self {
        let Profile { user_id, username, about, protected, created_at } = profile;
        let About { name, description, location, url } = about;
        Self {
            id: user_id,
            name,
            username: username.to_string(),
            created_at: has("created_at").then_some(created_at),
            description: description.filter(|_| has("description")),
            location: location.filter(|_| has("location")),
            url: url.filter(|_| has("url")),
            protected: has("protected").then_some(protected),
            // No route verifies an account, so these hold for everyone.
            verified: has("verified").then_some(false),
            verified_type: has("verified_type").then_some("none"),
        }
    }
}
