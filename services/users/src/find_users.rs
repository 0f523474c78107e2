//! Users by id or by handle, one or up to a hundred.

use axum::extract::State;
use pillion_chassis::dialect::USER_FIELDS;
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Answer, Parameters, Path, Problem, UserId};

use crate::Users;
use crate::profile::Username;
use crate::user_body::UserBody;

/// X's bound for one look-up.
const USERS_PER_REQUEST_MAX: usize = 100;

/// `GET /2/users/{id}`
pub(crate) async fn by_id(
    State(users): State<Users>,
    Path(id): Path<UserId>,
    mut query: Parameters,
) -> Result<Answer<UserBody>, Problem> {
    let fields = query.fields("user.fields", &USER_FIELDS);
    query.finish()?;
    Ok(match users.store.by_ids(&[id]).await?.into_iter().next() {
        Some(profile) => Answer::found(UserBody::new(profile, &fields)),
        None => Answer::missing(not_found_error("user", "id", &id.to_string())),
    })
}

/// `GET /2/users?ids=…`
pub(crate) async fn by_ids(
    State(users): State<Users>,
    mut query: Parameters,
) -> Result<Answer<Vec<UserBody>>, Problem> {
    let ids: Vec<UserId> = query.list("ids", USERS_PER_REQUEST_MAX);
    let fields = query.fields("user.fields", &USER_FIELDS);
    query.finish()?;
    let mut profiles = users.store.by_ids(&ids).await?;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for id in ids {
        match profiles.iter().position(|profile| profile.user_id == id) {
            Some(index) => found.push(UserBody::new(profiles.swap_remove(index), &fields)),
            None => errors.push(not_found_error("user", "ids", &id.to_string())),
        }
    }
    Ok(Answer::list(found, errors))
}

/// `GET /2/users/by/username/{username}`
pub(crate) async fn by_username(
    State(users): State<Users>,
    Path(username): Path<Username>,
    mut query: Parameters,
) -> Result<Answer<UserBody>, Problem> {
    let fields = query.fields("user.fields", &USER_FIELDS);
    query.finish()?;
    let profiles = users.store.by_usernames(std::slice::from_ref(&username)).await?;
    Ok(match profiles.into_iter().next() {
        Some(profile) => Answer::found(UserBody::new(profile, &fields)),
        None => Answer::missing(not_found_error("user", "username", username.as_str())),
    })
}

/// `GET /2/users/by?usernames=…`
pub(crate) async fn by_usernames(
    State(users): State<Users>,
    mut query: Parameters,
) -> Result<Answer<Vec<UserBody>>, Problem> {
    let usernames: Vec<Username> = query.list("usernames", USERS_PER_REQUEST_MAX);
    let fields = query.fields("user.fields", &USER_FIELDS);
    query.finish()?;
    let mut profiles = users.store.by_usernames(&usernames).await?;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for username in usernames {
        match profiles.iter().position(|profile| profile.username == username) {
            Some(index) => found.push(UserBody::new(profiles.swap_remove(index), &fields)),
            None => errors.push(not_found_error("user", "usernames", username.as_str())),
        }
    }
    Ok(Answer::list(found, errors))
}
