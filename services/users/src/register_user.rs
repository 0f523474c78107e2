//! An account gets its profile and its handle, on the word of another service.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::parameters::Fields;
use pillion_chassis::problem::InvalidParameter;
use pillion_chassis::{Answer, Caller, Json, Path, Problem, UserId};
use serde::Deserialize;

use crate::Users;
use crate::error::Error;
use crate::profile::{About, Profile, Username};
use crate::store::Registration;
use crate::user_body::UserBody;

/// The scope that only services have.
pub(crate) const WRITE_SCOPE: &str = "internal.users.write";

/// X's bounds for what a profile says.
const NAME_CHARS_MAX: usize = 50;
const DESCRIPTION_CHARS_MAX: usize = 160;
const LOCATION_CHARS_MAX: usize = 30;
const URL_CHARS_MAX: usize = 100;

/// What a service sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    username: String,
    name: String,
    description: Option<String>,
    location: Option<String>,
    url: Option<String>,
}

/// `PUT /internal/users/{id}`: 201 when the account is made, 200 when the same request came
/// before, 409 when the handle or the id is somebody else's.
pub(crate) async fn register_user(
    State(users): State<Users>,
    caller: Caller,
    Path(user_id): Path<UserId>,
    Json(body): Json<Body>,
) -> Result<Response, Error> {
    caller.require(WRITE_SCOPE)?;
    let (username, about) = check(body)?;
    let created_at = users.clock.now().floor_to_millis();
    let profile = Profile { user_id, username, about, created_at };
    let (status, profile) = match users.store.register(&profile).await? {
        Registration::Made(profile) => (StatusCode::CREATED, profile),
        Registration::Same(profile) => (StatusCode::OK, profile),
    };
    let answer: Answer<_> = Answer::found(UserBody::new(profile, &Fields::default()));
    Ok((status, answer).into_response())
}

/// What the body says, or all that is wrong with it.
fn check(body: Body) -> Result<(Username, About), Problem> {
    let mut errors = Vec::new();
    let mut refuse = |name: &str, value: &str, rule: &str| {
        errors.push(InvalidParameter {
            name: name.to_owned(),
            values: vec![value.to_owned()],
            message: format!("$.{name}: [{value}] is not valid: {rule}"),
        });
    };
    let username = body.username.parse();
    if let Err(error) = &username {
        let error: &crate::profile::UsernameError = error;
        refuse("username", &body.username, &error.to_string());
    }
    let name = body.name.trim();
    if !is_line(name, NAME_CHARS_MAX) || name.is_empty() {
        let rule = format!("a name is one line of 1 to {NAME_CHARS_MAX} characters");
        refuse("name", &body.name, &rule);
    }
    let description = body.description.filter(|text| !text.is_empty());
    if description.as_ref().is_some_and(|text| text.chars().count() > DESCRIPTION_CHARS_MAX) {
        let rule = format!("a description has at most {DESCRIPTION_CHARS_MAX} characters");
        refuse("description", description.as_deref().unwrap_or_default(), &rule);
    }
    let location = body.location.filter(|text| !text.is_empty());
    if location.as_ref().is_some_and(|text| !is_line(text, LOCATION_CHARS_MAX)) {
        let rule = format!("a location is one line of at most {LOCATION_CHARS_MAX} characters");
        refuse("location", location.as_deref().unwrap_or_default(), &rule);
    }
    let url = body.url.filter(|text| !text.is_empty());
    if url.as_ref().is_some_and(|text| !is_page(text)) {
        let rule = format!(
            "a url begins with http:// or https:// and has at most {URL_CHARS_MAX} \
                     characters without spaces"
        );
        refuse("url", url.as_deref().unwrap_or_default(), &rule);
    }
    let about = About { name: name.to_owned(), description, location, url };
    match username {
        Ok(username) if errors.is_empty() => Ok((username, about)),
        _ => Err(Problem::invalid_parameters(errors)),
    }
}

fn is_line(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

fn is_page(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
        && text.chars().count() <= URL_CHARS_MAX
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}
