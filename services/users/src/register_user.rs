//! An account gets its profile and its handle, on the word of another service.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::parameters::Fields;
use pillion_chassis::{Answer, Caller, Json, Path, Problem, UserId};
use serde::Deserialize;

use crate::Users;
use crate::error::Error;
use crate::profile::{About, Checks, Profile, Username, UsernameError};
use crate::store::Registration;
use crate::user_body::UserBody;

/// The scope that only services have.
pub(crate) const WRITE_SCOPE: &str = "internal.users.write";

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
    let profile = Profile { user_id, username, about, protected: false, created_at };
    let (status, profile) = match users.store.register(&profile).await? {
        Registration::Made(profile) => (StatusCode::CREATED, profile),
        Registration::Same(profile) => (StatusCode::OK, profile),
    };
    let answer: Answer<_> = Answer::found(UserBody::new(profile, &Fields::default()));
    Ok((status, answer).into_response())
}

/// What the body says, or all that is wrong with it.
fn check(body: Body) -> Result<(Username, About), Problem> {
    let mut checks = Checks::default();
    let username: Result<Username, UsernameError> = body.username.parse();
    if let Err(error) = username {
        checks.refuse("username", &body.username, &error.to_string());
    }
    let about = About {
        name: checks.name(&body.name),
        description: body.description.and_then(|sent| checks.description(sent)),
        location: body.location.and_then(|sent| checks.location(sent)),
        url: body.url.and_then(|sent| checks.url(sent)),
    };
    match username {
        Ok(username) if checks.errors.is_empty() => Ok((username, about)),
        _ => Err(Problem::invalid_parameters(checks.errors)),
    }
}
