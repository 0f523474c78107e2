//! One question to another service, with the caller's token.

use axum::body::Body;
use http::{Method, StatusCode};
use pillion_chassis::peers::body_of;
use pillion_chassis::{Onward, PeerError, Peers, Problem};
use serde::de::DeserializeOwned;

use crate::error::Error;

/// What the service answers to `GET path`.
pub(crate) async fn ask<T: DeserializeOwned>(
    peers: &dyn Peers,
    onward: &Onward,
    service: &'static str,
    path: &str,
) -> Result<T, Error> {
    let bad = |reason: String| PeerError::BadAnswer { service: service.to_owned(), reason };
    let request = onward
        .request(Method::GET, path)
        .body(Body::empty())
        .map_err(|error| bad(error.to_string()))?;
    let response = peers.call(service, request).await?;
    match response.status() {
        StatusCode::OK => {
            let body = body_of(service, response.into_body()).await?;
            Ok(serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?)
        }
        StatusCode::UNAUTHORIZED => Err(Problem::unauthorized(format!(
            "The {service} service did not accept the token; get a new one."
        ))
        .into()),
        StatusCode::FORBIDDEN => Err(Problem::forbidden(
            "This needs a token that may also read tweets and users: ask for the scopes \
             tweet.read and users.read.",
        )
        .into()),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            let source = format!("it answered {}", response.status()).into();
            Err(PeerError::Unreachable { service: service.to_owned(), source }.into())
        }
        status => Err(bad(format!("its status is {status}")).into()),
    }
}
