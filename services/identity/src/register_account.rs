//! `POST /pillion/v1/accounts`: registers an account.
//!
//! The account is stored as pending, then its profile is made, then it becomes active. Whatever
//! stops this in between, the worker takes it on; sending the same request again does too.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use pillion_chassis::{Json, Onward, Problem, UserId};
use serde::Deserialize;

use crate::accounts::{Registered, taken};
use crate::password::check_length;
use crate::secret::Secret;
use crate::state::Identity;
use crate::store::{Account, AccountState, Profile};

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    username: String,
    name: String,
    password: Secret,
    description: Option<String>,
    location: Option<String>,
    url: Option<String>,
}

pub(crate) async fn register_account(
    State(identity): State<Arc<Identity>>,
    onward: Onward,
    Json(registration): Json<Registration>,
) -> Result<Response, Problem> {
    let Registration { username, name, password, description, location, url } = registration;
    check_length(&password)?;
    let account = Account {
        id: identity.ids.user(),
        profile: Profile { username, name, description, location, url },
        password_hash: identity.passwords.hash(password.clone()).await?,
        state: AccountState::Pending,
    };
    let account = match identity.store.insert_account(&account, identity.clock.now()).await? {
        None => account,
        Some(holder) if is_own_attempt(&identity, &holder, password).await? => holder,
        Some(_) => return Err(taken(&account.profile.username)),
    };
    match identity.complete_registration(&account, &onward).await {
        Ok(Registered::Active(profile)) => Ok(created(account.id, profile)),
        Ok(Registered::Refused(response)) => Ok(response),
        Err(problem) if problem.status().is_server_error() => Err(problem.with(
            "detail",
            "The account is registered but its profile could not be made yet; this is tried \
             again by itself. Send the same request again to learn when it is done.",
        )),
        Err(problem) => Err(problem),
    }
}

/// Whether a pending account was left behind by an earlier attempt of the same person.
async fn is_own_attempt(
    identity: &Identity,
    holder: &Account,
    password: Secret,
) -> Result<bool, Problem> {
    let pending = holder.state == AccountState::Pending;
    let hash = holder.password_hash.clone();
    Ok(pending && identity.passwords.verify(password, Some(hash)).await?)
}

fn created(id: UserId, profile: Bytes) -> Response {
    let kind = [(CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::CREATED, kind, profile).into_response();
    // Digits only: always a valid header.
    if let Ok(location) = HeaderValue::try_from(format!("/2/users/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
