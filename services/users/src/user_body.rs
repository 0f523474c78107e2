//! A user as the API shows them.

use pillion_chassis::parameters::Fields;
use pillion_chassis::{Timestamp, UserId};
use pillion_text::Url;
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
    entities: Option<Entities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_type: Option<&'static str>,
}

/// What the url and the description hold, in X's shape.
#[derive(Debug, Serialize)]
struct Entities {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<UrlEntities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<pillion_text::Entities>,
}

#[derive(Debug, Serialize)]
struct UrlEntities {
    urls: [Url; 1],
}

impl Entities {
    /// `None` when there are none.
    fn of(about: &About) -> Option<Self> {
        let url = about.url.as_deref().map(|url| UrlEntities { urls: [whole_link(url)] });
        let description = about.description.as_deref().map(pillion_text::entities);
        let description = description.filter(|found| !found.is_empty());
        (url.is_some() || description.is_some()).then_some(Self { url, description })
    }
}

/// A text that is one link from its beginning to its end.
fn whole_link(url: &str) -> Url {
    let end = u32::try_from(url.chars().count()).unwrap_or(u32::MAX);
    Url {
        start: 0,
        end,
        url: url.to_owned(),
        expanded_url: url.to_owned(),
        display_url: pillion_text::display_url(url),
    }
}

impl UserBody {
    /// The fields that were asked for.
    pub(crate) fn new(profile: Profile, fields: &Fields) -> Self {
        Self::choose(profile, |name| fields.has(name))
    }

    /// All that the owner can change and see.
    pub(crate) fn whole(profile: Profile) -> Self {
        Self::choose(profile, |name| !matches!(name, "entities" | "subscription_type"))
    }

    fn choose(profile: Profile, has: impl Fn(&str) -> bool) -> Self {
        let Profile { user_id, username, about, protected, created_at } = profile;
        let entities = has("entities").then(|| Entities::of(&about)).flatten();
        let About { name, description, location, url } = about;
        Self {
            id: user_id,
            name,
            username: username.to_string(),
            created_at: has("created_at").then_some(created_at),
            // As on X, these two are always present and the location only if there is one.
            description: has("description").then(|| description.unwrap_or_default()),
            entities,
            location: location.filter(|_| has("location")),
            url: has("url").then(|| url.unwrap_or_default()),
            protected: has("protected").then_some(protected),
            // No route verifies an account or sells anything, so these hold for everyone.
            subscription_type: has("subscription_type").then_some("None"),
            verified: has("verified").then_some(false),
            verified_type: has("verified_type").then_some("none"),
        }
    }
}
