//! An owner changes what their profile says.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Problem, UserCaller};
use serde::Deserialize;

use crate::Users;
use crate::error::Error;
use crate::profile::{Checks, Profile};
use crate::user_body::UserBody;

/// What a client sends: what is left out stays as it is, what is empty is none from now on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    name: Option<String>,
    description: Option<String>,
    location: Option<String>,
    url: Option<String>,
    protected: Option<bool>,
}

/// What is to change of a profile: `None` stays as it is, and an empty text is none from now on.
#[derive(Debug, Default)]
pub(crate) struct Change {
    name: Option<String>,
    description: Option<String>,
    location: Option<String>,
    url: Option<String>,
    protected: Option<bool>,
}

impl Change {
    /// The profile as it is after the change.
    pub(crate) fn apply_to(self, mut profile: Profile) -> Profile {
        let Self { name, description, location, url, protected } = self;
        let about = &mut profile.about;
        if let Some(name) = name {
            about.name = name;
        }
        for (kept, sent) in [
            (&mut about.description, description),
            (&mut about.location, location),
            (&mut about.url, url),
        ] {
            if let Some(text) = sent {
                *kept = Some(text).filter(|text| !text.is_empty());
            }
        }
        profile.protected = protected.unwrap_or(profile.protected);
        profile
    }
}

/// `POST /pillion/v1/account/profile`: the whole profile as it is now.
pub(crate) async fn change_profile(
    State(users): State<Users>,
    caller: UserCaller,
    Json(body): Json<Body>,
) -> Result<Answer<UserBody>, Error> {
    crate::need_account_scope(&caller.scopes)?;
    let change = check(body)?;
    let now = users.clock.now().floor_to_millis();
    let profile = users.store.change(caller.user_id, change, now).await?;
    Ok(Answer::found(UserBody::whole(profile)))
}

/// What the body says, or all that is wrong with it.
fn check(body: Body) -> Result<Change, Problem> {
    let Body { name, description, location, url, protected } = body;
    if name.is_none()
        && description.is_none()
        && location.is_none()
        && url.is_none()
        && protected.is_none()
    {
        let message = "the body: nothing is to be changed; send at least one of name, \
                       description, location, url, protected";
        return Err(Problem::invalid("body", None, message));
    }
    let mut checks = Checks::default();
    let change = Change {
        name: name.map(|sent| checks.name(&sent)),
        description: description.map(|sent| checks.description(sent).unwrap_or_default()),
        location: location.map(|sent| checks.location(sent).unwrap_or_default()),
        url: url.map(|sent| checks.url(sent).unwrap_or_default()),
        protected,
    };
    if checks.errors.is_empty() {
        return Ok(change);
    }
    Err(Problem::invalid_parameters(checks.errors))
}
