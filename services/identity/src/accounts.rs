//! The steps of registration and deletion that lie with the users service. Each can be repeated.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use pillion_chassis::peers::body_of;
use pillion_chassis::{Onward, PeerError, Problem, Scopes, UserId};

use crate::state::Identity;
use crate::store::Account;

const USERS: &str = "users";

/// Who this service is when it acts on its own behalf.
const SELF_CLIENT_ID: &str = "service:identity";
/// What it may do then.
const SELF_SCOPE: &str = "internal.users.write";
/// A call takes seconds at most.
const SELF_TOKEN_TTL: Duration = Duration::from_mins(1);

/// How a registration ended.
#[derive(Debug)]
pub(crate) enum Registered {
    /// The account is active. What the users service answered: the profile.
    Active(Bytes),
    /// The users service refuses the profile; there is no account. What the caller is told.
    Refused(Response),
}

impl Identity {
    /// Takes a pending account to its end. An error leaves it pending, to be tried again.
    pub(crate) async fn complete_registration(
        &self,
        account: &Account,
        onward: &Onward,
    ) -> Result<Registered, Problem> {
        let profile =
            serde_json::to_vec(&account.profile).map_err(|error| Problem::internal(&error))?;
        let response = self.call_users(Method::PUT, account.id, profile.into(), onward).await?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => {
                let body = body_of(USERS, response.into_body()).await?;
                self.store.activate(account.id, self.clock.now()).await?;
                Ok(Registered::Active(body))
            }
            StatusCode::CONFLICT => {
                self.store.drop_pending(account.id).await?;
                Ok(Registered::Refused(taken(&account.profile.username).into_response()))
            }
            StatusCode::BAD_REQUEST => {
                let body = body_of(USERS, response.into_body()).await?;
                self.store.drop_pending(account.id).await?;
                let kind = [(CONTENT_TYPE, "application/problem+json")];
                Ok(Registered::Refused((StatusCode::BAD_REQUEST, kind, body).into_response()))
            }
            other => Err(unexpected(other)),
        }
    }

    /// Takes an account that is being deleted to its end. An error leaves it, to be tried again.
    pub(crate) async fn complete_deletion(
        &self,
        id: UserId,
        onward: &Onward,
    ) -> Result<(), Problem> {
        let response = self.call_users(Method::DELETE, id, Body::empty(), onward).await?;
        match response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => {
                Ok(self.store.finish_deletion(id).await?)
            }
            other => Err(unexpected(other)),
        }
    }

    /// Calls the users service with a token of this service's own in place of the caller's.
    async fn call_users(
        &self,
        method: Method,
        id: UserId,
        body: Body,
        onward: &Onward,
    ) -> Result<http::Response<Body>, Problem> {
        let scopes = Scopes::parse(SELF_SCOPE);
        let token = self.signer.sign(SELF_CLIENT_ID, SELF_CLIENT_ID, &scopes, SELF_TOKEN_TTL);
        let bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|error| Problem::internal(&error))?;
        let mut request = onward
            .request(method, &format!("/internal/users/{id}"))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| Problem::internal(&error))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        Ok(self.peers.call(USERS, request).await?)
    }
}

/// 409: the handle belongs to somebody.
pub(crate) fn taken(username: &str) -> Problem {
    Problem::conflict(format!("The username [{username}] is taken; choose another one."))
}

fn unexpected(status: StatusCode) -> Problem {
    let error = PeerError::Unreachable {
        service: USERS.to_owned(),
        source: format!("it answered an internal call with {status}").into(),
    };
    error.into()
}
