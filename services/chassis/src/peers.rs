//! Calls to the other services, wherever they run.

mod http_peers;
mod in_process;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::FromRequestParts;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

pub use http_peers::{HttpPeers, PeerAddressError, PeerSettings};
pub use in_process::InProcessPeers;

use crate::problem::Problem;

/// How long a peer may take until its answer begins. Half of what a caller of ours is ready to
/// wait: enough is left to answer that it took too long.
pub const PEER_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The body of a peer's answer: 100 tweets with everything in them take some 500 KiB.
pub const PEER_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The headers that travel on to the peers: nothing is trusted because of where it came from,
/// so the token itself goes along and each service checks it; the others tie logs together.
const ONWARD_HEADERS: [HeaderName; 3] = [
    http::header::AUTHORIZATION,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-request-id"),
];

/// The other services.
#[async_trait]
pub trait Peers: Send + Sync + std::fmt::Debug {
    /// Sends a request to a service. Its URI is a path with a query; headers are as given: build
    /// the request with [`Onward::request`] to make the caller's token travel on.
    async fn call(
        &self,
        service: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, PeerError>;
}

/// Why there is no answer of a peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody said where that service is.
    #[error("the configuration says nothing about a service {0}")]
    Unknown(String),
    /// It cannot be reached, or the connection broke.
    #[error("the service {service} cannot be reached")]
    Unreachable {
        /// Which service.
        service: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It took longer than [`PEER_ANSWER_TIME_MAX`].
    #[error("the service {0} took too long")]
    TimedOut(String),
    /// Its body is over [`PEER_BODY_BYTES_MAX`], or not what it must be.
    #[error("the service {service} gave an answer that cannot be used: {reason}")]
    BadAnswer {
        /// Which service.
        service: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not accept the caller's token.
    #[error("the service {0} did not accept the token")]
    Unauthorized(String),
    /// The caller's token is not good for what it was asked.
    #[error("the service {0} wants a token that is good for more")]
    Forbidden(String),
    /// It does not take what it was asked: another status of 400 to 499.
    #[error("the service {service} refused a request of ours: it answered {status}")]
    Refused {
        /// Which service.
        service: String,
        /// Neither 401, 403 nor 429.
        status: StatusCode,
    },
    /// It has too much to do.
    #[error("the service {service} is busy: it answered {status}")]
    Busy {
        /// Which service.
        service: String,
        /// 429 or 503.
        status: StatusCode,
        /// How long it wants to be left alone, in seconds, if it says so.
        retry_after_s: Option<u32>,
    },
}

impl From<PeerError> for Problem {
    fn from(error: PeerError) -> Self {
        const RETRY_AFTER_S: u32 = 1;
        match &error {
            PeerError::Unknown(_) | PeerError::BadAnswer { .. } => Self::internal(&error),
            // What we asked was made of what the caller sent.
            PeerError::Refused {
                service,
                status:
                    status @ (StatusCode::BAD_REQUEST
                    | StatusCode::PAYLOAD_TOO_LARGE
                    | StatusCode::URI_TOO_LONG
                    | StatusCode::UNPROCESSABLE_ENTITY
                    | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            } => {
                tracing::warn!(%service, %status, "a peer refused what a request made us ask");
                Self::plain(*status, format!("The service {service} does not take this request."))
            }
            // Of another version, perhaps.
            PeerError::Refused { .. } => Self::plain(
                StatusCode::BAD_GATEWAY,
                "Something went wrong here. The log has the details under this request's id.",
            )
            .caused_by(&error),
            PeerError::Unreachable { service, .. } | PeerError::TimedOut(service) => {
                let detail = format!("The service {service} does not answer now; try again.");
                Self::unavailable(detail, RETRY_AFTER_S).caused_by(&error)
            }
            PeerError::Unauthorized(service) => Self::unauthorized(format!(
                "The service {service} did not accept the token; get a new one."
            )),
            PeerError::Forbidden(_) => Self::forbidden(
                "This needs a token that may also read tweets and users: ask for the scopes \
                 tweet.read and users.read.",
            ),
            PeerError::Busy { service, retry_after_s, .. } => {
                let detail = format!("The service {service} is busy now; try again.");
                Self::unavailable(detail, retry_after_s.unwrap_or(RETRY_AFTER_S)).caused_by(&error)
            }
        }
    }
}

/// What of a request travels on with the calls that answering it takes. An argument of a handler.
#[derive(Debug, Clone, Default)]
pub struct Onward(HeaderMap);

impl Onward {
    /// What travels on of these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut onward = HeaderMap::new();
        for name in ONWARD_HEADERS {
            if let Some(value) = headers.get(&name) {
                onward.insert(name, value.clone());
            }
        }
        Self(onward)
    }

    /// The caller's `Authorization`, if there is one.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.0.get(http::header::AUTHORIZATION)
    }

    /// The same with another `Authorization`.
    #[must_use]
    pub fn with_authorization(mut self, value: HeaderValue) -> Self {
        self.0.insert(http::header::AUTHORIZATION, value);
        self
    }

    /// A request to a peer; `path` includes the query.
    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.0.clone());
        }
        request
    }

    /// What a service answers to `GET path`, with 200; `path` includes the query.
    pub async fn get<T: DeserializeOwned>(
        &self,
        peers: &dyn Peers,
        service: &str,
        path: &str,
    ) -> Result<T, PeerError> {
        let name = || service.to_owned();
        let bad = |reason: String| PeerError::BadAnswer { service: name(), reason };
        let request = self
            .request(Method::GET, path)
            .body(Body::empty())
            .map_err(|error| bad(error.to_string()))?;
        let response = peers.call(service, request).await?;
        match response.status() {
            StatusCode::OK => {
                let body = body_of(service, response.into_body()).await?;
                serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))
            }
            StatusCode::UNAUTHORIZED => Err(PeerError::Unauthorized(name())),
            StatusCode::FORBIDDEN => Err(PeerError::Forbidden(name())),
            status @ (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => {
                let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
                let retry_after_s = wait.and_then(|wait| wait.parse().ok());
                Err(PeerError::Busy { service: name(), status, retry_after_s })
            }
            status if status.is_client_error() => {
                Err(PeerError::Refused { service: name(), status })
            }
            status => Err(bad(format!("its status is {status}"))),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Onward {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.headers))
    }
}

/// The whole body of a peer's answer, at most [`PEER_BODY_BYTES_MAX`].
pub async fn body_of(service: &str, body: Body) -> Result<Bytes, PeerError> {
    match tokio::time::timeout(
        PEER_ANSWER_TIME_MAX,
        Limited::new(body, PEER_BODY_BYTES_MAX).collect(),
    )
    .await
    {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(PeerError::BadAnswer {
            service: service.to_owned(),
            reason: format!("its body is over {PEER_BODY_BYTES_MAX} bytes"),
        }),
        Ok(Err(source)) => Err(PeerError::Unreachable { service: service.to_owned(), source }),
        Err(_) => Err(PeerError::TimedOut(service.to_owned())),
    }
}
