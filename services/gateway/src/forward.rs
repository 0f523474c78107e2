//! Sends a request on to the service that owns its route, and its answer back: as it is, or
//! completed.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, StatusCode};
use percent_encoding::percent_decode_str;
use pillion_chassis::answer::Streaming;
use pillion_chassis::client_address::CLIENT_ADDRESS;
use pillion_chassis::peers::body_of;
use pillion_chassis::{ClientAddress, Json, Onward, PeerError, Problem, TweetId, UserId};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::compose::{Subject, compose};
use crate::credentials;
use crate::dialect::Dialect;
use crate::fetch::{Fetch, bad_answer};
use crate::lines::{self, Completion};
use crate::query::{Items, Plan, Query};
use crate::routes::Route;
use crate::stream_guard::StreamGuard;

/// What travels on beside the token and what ties logs together: what the body is, and where a
/// stream that broke off goes on.
const OWN_HEADERS: [HeaderName; 4] =
    [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName::from_static("last-event-id")];

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

/// The service that checks passwords.
const IDENTITY: &str = "identity";

/// Server-sent events.
const EVENT_STREAM: &str = "text/event-stream";

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
        ask(gateway, route, dialect, &query, request).await.unwrap_or_else(Problem::into_response);
    // A stream is put into the caller's names line by line.
    if matches!(route.query, Query::Stream(_)) && response.status() == StatusCode::OK {
        return Ok(response);
    }
    dialect.answer(route.owner, response).await
}

/// Asks the owner, if it takes one.
async fn ask(
    gateway: &Gateway,
    route: &'static Route,
    dialect: Dialect,
    query: &str,
    request: Request,
) -> Result<Response, Problem> {
    let checked = route.query.check(query)?;
    let onward = Onward::of(request.headers());
    if let Query::Credentials = route.query {
        return credentials::verify(gateway, &onward).await;
    }
    let fetch = Fetch { peers: &*gateway.peers, onward: &onward };
    let path = request.uri().path().to_owned();
    if let Some(plan) = checked.plan.as_ref()
        && let Items::Asked(_) = plan.items
    {
        let page = asked(&checked.asked, &path)?;
        return Ok(Json(compose(fetch, plan, None, page).await?).into_response());
    }
    let request = onward_request(route, &onward, &checked.upstream, request)?;
    let response = own(gateway.peers.call(route.owner, request).await.map_err(no_answer)?);
    let Some(plan) = checked.plan.filter(|_| response.status() == StatusCode::OK) else {
        if response.extensions().get::<Streaming>().is_some() {
            let (peers, tokens) = (Arc::clone(&gateway.peers), gateway.service_tokens.clone());
            return Ok(StreamGuard::start(peers, tokens, onward).around(response));
        }
        return whole(route.owner, response).await;
    };
    if let Query::Stream(_) = route.query {
        let peers = Arc::clone(&gateway.peers);
        let guard = StreamGuard::start(Arc::clone(&peers), gateway.service_tokens.clone(), onward);
        return Ok(lines::complete(Completion { peers, guard, plan, dialect }, response));
    }
    let (mut parts, body) = response.into_parts();
    let bytes = body_of(route.owner, body).await.map_err(no_answer)?;
    let page: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| bad_answer(route.owner, &error))?;
    let subject = subject(route, &plan, &path)?;
    let page = compose(fetch, &plan, subject, page).await?;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Response::from_parts(parts, Body::from(Value::Object(page).to_string())))
}

/// The response with its body in memory, unless it is a stream: a client that does not read must
/// not hold a connection to the owner, nor a place among the calls to it.
async fn whole(owner: &str, response: Response) -> Result<Response, Problem> {
    if response.extensions().get::<Streaming>().is_some() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = body_of(owner, body).await.map_err(no_answer)?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

/// The request to the owner.
fn onward_request(
    route: &Route,
    onward: &Onward,
    query: &str,
    request: Request,
) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let mut path = parts.uri.path().to_owned();
    if !query.is_empty() {
        path.push('?');
        path.push_str(query);
    }
    let mut request = onward.request(route.verb.method(), &path);
    for name in OWN_HEADERS {
        if let Some(value) = parts.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    // Identity slows down who guesses passwords by it.
    if route.owner == IDENTITY
        && let Some(address) = parts.extensions.get::<ClientAddress>()
        && let Some(value) = address.to_header()
    {
        request = request.header(CLIENT_ADDRESS, value);
    }
    request.body(body).map_err(|error| Problem::internal(&error))
}

/// A page of the tweets that the caller asked for: those of the query, or the one of the path.
fn asked(ids: &[TweetId], path: &str) -> Result<Map<String, Value>, Problem> {
    let data = if ids.is_empty() {
        json!({ "id": id_in::<TweetId>(path.rsplit('/').next())? })
    } else {
        ids.iter().map(|id| json!({ "id": id })).collect()
    };
    Ok(Map::from_iter([("data".to_owned(), data)]))
}

/// Whose list a route with an id in its path gives, or which tweet it is about. Ids in their one
/// form: `012` and `%312` are who `12` is, and are looked up as such.
fn subject(route: &Route, plan: &Plan, path: &str) -> Result<Option<Subject>, Problem> {
    if matches!(plan.items, Items::Asked(_) | Items::Named(_) | Items::Me | Items::Mine) {
        return Ok(None);
    }
    let segment = path.split('/').nth(3);
    Ok(if route.template.starts_with("/2/users/{id}/") {
        Some(Subject::User(id_in::<UserId>(segment)?.to_string()))
    } else if route.template.starts_with("/2/tweets/{id}/") {
        Some(Subject::Tweet(id_in::<TweetId>(segment)?.to_string()))
    } else {
        None
    })
}

/// The id in a segment of a path, percent-encoded or not.
fn id_in<T: FromStr<Err: Display>>(segment: Option<&str>) -> Result<T, Problem> {
    let text = percent_decode_str(segment.unwrap_or_default()).decode_utf8_lossy();
    text.parse().map_err(|error| {
        let message = format!("The `id` path parameter value [{text}] is not valid: {error}");
        Problem::invalid("id", Some(&text), message)
    })
}

/// An answer without what was only meant for the connection that it came over.
fn own(mut response: Response<Body>) -> Response {
    for name in CONNECTION_HEADERS {
        response.headers_mut().remove(name);
    }
    // The mark of a stream does not cross a socket.
    let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == EVENT_STREAM);
    if is_stream {
        response.extensions_mut().insert(Streaming);
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
