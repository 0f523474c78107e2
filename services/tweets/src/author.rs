//! Asks the users service about an account.

use axum::body::Body;
use http::{Method, StatusCode};
use pillion_chassis::peers::body_of;
use pillion_chassis::{Onward, PeerError, Peers, Problem, UserId};
use serde::Deserialize;

use crate::error::Error;

/// The service that knows accounts.
const USERS: &str = "users";

/// What is known of an account that exists.
#[derive(Debug, Deserialize)]
pub(crate) struct Author {
    /// The handle, as its owner writes it.
    pub(crate) username: String,
}

/// An account, unless it does not exist or was deleted. The caller's token goes along, so it
/// must have the scope `users.read`.
pub(crate) async fn find(
    peers: &dyn Peers,
    onward: &Onward,
    user_id: UserId,
) -> Result<Option<Author>, Error> {
    #[derive(Deserialize)]
    struct Found {
        data: Option<Author>,
    }
    let bad = |reason: String| PeerError::BadAnswer { service: USERS.to_owned(), reason };
    let request = onward
        .request(Method::GET, &format!("/2/users/{user_id}"))
        .body(Body::empty())
        .map_err(|error| bad(error.to_string()))?;
    let response = peers.call(USERS, request).await?;
    match response.status() {
        StatusCode::OK => {
            let body = body_of(USERS, response.into_body()).await?;
            let found: Found =
                serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
            Ok(found.data)
        }
        StatusCode::UNAUTHORIZED => {
            Err(Problem::unauthorized("The users service did not accept the token; get a new one.")
                .into())
        }
        StatusCode::FORBIDDEN => Err(Problem::forbidden(
            "This needs a token that may also read users: ask for the scope users.read.",
        )
        .into()),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            let status = response.status();
            let source = format!("it answered {status}").into();
            Err(PeerError::Unreachable { service: USERS.to_owned(), source }.into())
        }
        status => Err(bad(format!("its status is {status}")).into()),
    }
}
