//! Sends a request on to the service that owns its route, and its answer back.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, StatusCode};
use pillion_chassis::{Onward, PeerError, Problem};

use crate::dialect::Dialect;
use crate::query::Query;
use crate::routes::Route;
use crate::{Gateway, expand};

/// What travels on beside the token and what ties logs together: what the body is.
const BODY_HEADERS: [HeaderName; 3] = [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE];

/// Headers about one connection (RFC 9110, 7.6.1), which is not the caller's.
const CONNECTION_HEADERS: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A service that took too long has much to do; it needs a moment.
const SLOW_RETRY_AFTER_S: u32 = 2;

/// Answers a request in the names that it uses.
pub(crate) async fn forward(
    gateway: &Gateway,
    route: &'static Route,
    request: Request,
) -> Result<Response, Problem> {
    let query = request.uri().query().unwrap_or_default();
    let dialect = match route.query {
        Query::Unchecked => Dialect::Tweets,
        _ => Dialect::of(request.headers(), query),
    };
    let query = dialect.query(query);
    let response =
        ask(gateway, route, &query, request).await.unwrap_or_else(Problem::into_response);
    dialect.answer(route.owner, response).await
}

/// Asks the owner. Without anything to include the answer streams through as it comes.
async fn ask(
    gateway: &Gateway,
    route: &'static Route,
    query: &str,
    request: Request,
) -> Result<Response, Problem> {
    let checked = route.query.check(query)?;
    let (parts, body) = request.into_parts();
    let onward = Onward::of(&parts.headers);
    let mut path = parts.uri.path().to_owned();
    if !checked.upstream.is_empty() {
        path.push('?');
        path.push_str(&checked.upstream);
    }
    let mut request = onward.request(route.verb.method(), &path);
    for name in BODY_HEADERS {
        if let Some(value) = parts.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let request = request.body(body).map_err(|error| Problem::internal(&error))?;
    let response = gateway.peers.call(route.owner, request).await.map_err(no_answer)?;
    match checked.plan {
        Some(plan) if response.status() == StatusCode::OK => {
            expand::expand(&*gateway.peers, &onward, &plan, route.owner, own(response)).await
        }
        _ => Ok(own(response)),
    }
}

/// An answer without what was only meant for the connection that it came over.
fn own(mut response: Response<Body>) -> Response {
    for name in CONNECTION_HEADERS {
        response.headers_mut().remove(name);
    }
    response
}

/// 503 for a service that cannot be reached, 504 for one that took too long.
pub(crate) fn no_answer(error: PeerError) -> Problem {
    match &error {
        PeerError::TimedOut(service) => Problem::plain(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "The service {service} took too long to answer. If this was a write, read first \
                 whether it was done before you try again."
            ),
        )
        .header(RETRY_AFTER, HeaderValue::from(SLOW_RETRY_AFTER_S))
        .caused_by(&error),
        _ => error.into(),
    }
}
