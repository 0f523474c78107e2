//! Errors as HTTP answers: problem documents in the shape of X's API.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::ids::UserId;
use crate::secrets::{REDACTED, is_secret};

const INVALID_REQUEST: &str = "https://api.twitter.com/2/problems/invalid-request";
const NOT_FOUND: &str = "https://api.twitter.com/2/problems/resource-not-found";
const NOT_AUTHORIZED: &str = "https://api.twitter.com/2/problems/not-authorized-for-resource";
const STREAMING_CONNECTION: &str = "https://api.twitter.com/2/problems/streaming-connection";
const UNSUPPORTED_AUTHENTICATION: &str =
    "https://api.twitter.com/2/problems/unsupported-authentication";
const CONFLICT: &str = "https://api.twitter.com/2/problems/conflict";
/// The `type` of a problem that its status says all about.
const ABOUT_BLANK: &str = "about:blank";

/// An error on its way to the caller: a status and a document of the type
/// `application/problem+json` with `title`, `detail`, `type` and `status`.
///
/// A problem of status 500 or more made from an error is logged with the whole chain of causes
/// when it becomes a response, once; the caller sees none of it.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    document: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
}

/// What is wrong with one parameter: what the caller sent under which name, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidParameter {
    /// The parameter's name; for a body the path of the key, such as `reply.in_reply_to_tweet_id`.
    pub name: String,
    /// What was sent; empty when it is missing.
    pub values: Vec<String>,
    /// A sentence that names the parameter, what is wrong, and what would be right.
    pub message: String,
}

impl InvalidParameter {
    /// Without the values if they are secrets.
    fn without_secrets(mut self) -> Self {
        if self.values.is_empty() || !is_secret(&self.name) {
            return self;
        }
        let says = |value: &String| !value.is_empty() && self.message.contains(value.as_str());
        if self.values.iter().any(says) {
            self.message = format!("The value of `{}` is not valid.", self.name);
        }
        self.values = vec![REDACTED.to_owned()];
        self
    }
}

impl Problem {
    /// A problem of any status; `kind` is the `type`, a URI.
    pub fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        let mut document = Map::new();
        document.insert("title".to_owned(), title.into());
        document.insert("detail".to_owned(), detail.into().into());
        document.insert("type".to_owned(), kind.into());
        document.insert("status".to_owned(), status.as_u16().into());
        Self { status, document, headers: Vec::new(), cause: None }
    }

    /// A problem that its status says all about: type `about:blank`, the title from the status.
    pub fn plain(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(status, ABOUT_BLANK, status.canonical_reason().unwrap_or("Error"), detail)
    }

    /// 400 with one entry in `errors` per parameter; with an entry about the request as a whole if
    /// there is none, for clients read the first one. The value of a parameter that is a secret by
    /// its name is not repeated.
    pub fn invalid_parameters(errors: impl IntoIterator<Item = InvalidParameter>) -> Self {
        let mut errors: Vec<Value> = errors
            .into_iter()
            .map(InvalidParameter::without_secrets)
            .map(|error| {
                json!({
                    "message": error.message,
                    "parameters": { error.name: error.values },
                })
            })
            .collect();
        if errors.is_empty() {
            errors.push(json!({ "message": "the request is invalid", "parameters": {} }));
        }
        Self::new(
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            "Invalid Request",
            "One or more parameters to your request was invalid.",
        )
        .with("errors", errors)
    }

    /// 415: the body is not JSON by its header. `sent` is the header.
    pub fn unsupported_media_type(sent: Option<&HeaderValue>) -> Self {
        let values = sent.map(|sent| String::from_utf8_lossy(sent.as_bytes()).into_owned());
        let error = InvalidParameter {
            name: "Content-Type".to_owned(),
            values: values.into_iter().collect(),
            message: "the body must be JSON, with the header `Content-Type: application/json`"
                .to_owned(),
        };
        let mut problem = Self::invalid_parameters([error]);
        problem.status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        problem.with("status", StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16())
    }

    /// 400 about one parameter. `value` is what was sent, if anything was.
    pub fn invalid(name: &str, value: Option<&str>, message: impl Into<String>) -> Self {
        Self::invalid_parameters([InvalidParameter {
            name: name.to_owned(),
            values: value.map(str::to_owned).into_iter().collect(),
            message: message.into(),
        }])
    }

    /// 401: there is no valid token.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::plain(StatusCode::UNAUTHORIZED, detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 401: the token is good, but its account is gone.
    pub fn account_gone(user_id: UserId) -> Self {
        Self::unauthorized(format!(
            "The account {user_id} of this token does not exist any more. Log in to another one."
        ))
    }

    /// 403: the token is good, but not for this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::plain(StatusCode::FORBIDDEN, detail)
    }

    /// 403: the route needs a user's token and got an app's.
    pub fn unsupported_authentication() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            UNSUPPORTED_AUTHENTICATION,
            "Unsupported Authentication",
            "Authenticating with an app-only token is not possible here: this route acts for a \
             user. Get a token for the user, by logging in or by OAuth 2.0 with user context.",
        )
    }

    /// 404: there is no such thing. A read of the public API answers 200 with
    /// [`not_found_error`] instead.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND, "Not Found Error", detail)
    }

    /// 409: what is asked for contradicts what is.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, CONFLICT, "Conflict", detail)
    }

    /// 413: the body is over `bytes_max`.
    pub fn body_too_large(bytes_max: usize) -> Self {
        Self::plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The body is larger than the {bytes_max} bytes that are accepted here."),
        )
    }

    /// 500, for what should not happen. The cause goes to the log only.
    pub fn internal(cause: &(dyn Error + 'static)) -> Self {
        Self::plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong here. The log has the details under this request's id.",
        )
        .caused_by(cause)
    }

    /// 503, for what should work again after `retry_after_s` seconds.
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::plain(StatusCode::SERVICE_UNAVAILABLE, detail)
            .header(RETRY_AFTER, HeaderValue::from(retry_after_s))
    }

    /// A stream cannot be opened; `issue` is X's word for why.
    pub fn streaming_connection(
        status: StatusCode,
        issue: &str,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(status, STREAMING_CONNECTION, "ConnectionException", detail)
            .with("connection_issue", issue)
    }

    /// Adds a member to the document.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.document.insert(member.to_owned(), value.into());
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Remembers an error and its causes for the log.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        self.cause = Some(chain(error));
        self
    }

    /// Whether it was made from an error.
    pub(crate) fn is_caused(&self) -> bool {
        self.cause.is_some()
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The document.
    pub fn document(&self) -> &Map<String, Value> {
        &self.document
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.document.get("detail").and_then(Value::as_str).unwrap_or_default();
        write!(f, "{}: {detail}", self.status)
    }
}

/// So that the errors of services hold it as they hold others.
impl Error for Problem {}

/// The 503 answers of this process.
static UNAVAILABLE: Throttle = Throttle::new();

/// Lets one log line a second through, with the number of events since the line before.
#[derive(Debug)]
struct Throttle {
    begun: OnceLock<Instant>,
    /// When the next line may be logged, in milliseconds after `begun`.
    next_ms: AtomicU64,
    count: AtomicU64,
}

impl Throttle {
    const INTERVAL_MS: u64 = 1_000;

    const fn new() -> Self {
        Self { begun: OnceLock::new(), next_ms: AtomicU64::new(0), count: AtomicU64::new(0) }
    }

    /// Counts an event. Returns how many there were when it is time for a line.
    fn count(&self) -> Option<u64> {
        let elapsed = self.begun.get_or_init(Instant::now).elapsed();
        self.count_at(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    fn count_at(&self, now_ms: u64) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let due = |next: u64| (now_ms >= next).then(|| now_ms.saturating_add(Self::INTERVAL_MS));
        self.next_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).ok()?;
        Some(self.count.swap(0, Ordering::Relaxed))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            let detail = self.document.get("detail").and_then(Value::as_str).unwrap_or_default();
            let cause = self.cause.as_deref().unwrap_or_default();
            if self.status == StatusCode::SERVICE_UNAVAILABLE {
                // Under overload and without a database there are very many.
                if let Some(count) = UNAVAILABLE.count() {
                    tracing::warn!(count, detail, cause, "requests answered 503");
                }
            } else {
                tracing::error!(status = self.status.as_u16(), detail, cause, "a request failed");
            }
        }
        let body = Value::Object(self.document).to_string();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}

/// The entry in `errors` for what a read asked for and is not there. `parameter` and `value`
/// are what the caller sent; `resource_type` is X's word: `tweet`, `user`.
pub fn not_found_error(resource_type: &str, parameter: &str, value: &str) -> Value {
    json!({
        "title": "Not Found Error",
        "type": NOT_FOUND,
        "resource_type": resource_type,
        "resource_id": value,
        "parameter": parameter,
        "value": value,
        "detail": format!("Could not find {resource_type} with {parameter}: [{value}]."),
    })
}

/// The entry in `errors` for what a read asked for and the caller may not see. `parameter` and
/// `value` are what the caller sent; `section` is the part of the answer that it would be in, and
/// `resource_type` is X's word: `tweet`, `user`.
pub fn not_authorized_error(
    section: &str,
    resource_type: &str,
    parameter: &str,
    value: &str,
) -> Value {
    let named = if resource_type == "tweet" { "Tweet" } else { resource_type };
    json!({
        "title": "Authorization Error",
        "type": NOT_AUTHORIZED,
        "section": section,
        "resource_type": resource_type,
        "resource_id": value,
        "parameter": parameter,
        "value": value,
        "detail": format!(
            "Sorry, you are not authorized to see the {named} with {parameter}: [{value}]."
        ),
    })
}

/// The answer for a path that no route has.
pub async fn no_such_route(method: Method, uri: http::Uri) -> Problem {
    Problem::plain(
        StatusCode::NOT_FOUND,
        format!("There is no route {method} {}. The document /openapi.json lists all.", uri.path()),
    )
}

/// The answer for a method that the path's routes do not have. The router adds `Allow`.
pub async fn no_such_method(method: Method, uri: http::Uri) -> Problem {
    Problem::plain(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}; the header {ALLOW} names what it takes.", uri.path()),
    )
}

/// An error and its causes, outermost first.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(problem: Problem) -> (StatusCode, http::HeaderMap, Value) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn s06_a_line_a_second_says_how_many_there_were() {
        let throttle = Throttle::new();
        let lines = [0, 1, 999, 1_000, 1_500, 3_000].map(|now_ms| throttle.count_at(now_ms));
        assert_eq!(lines, [Some(1), None, None, Some(3), None, Some(2)]);
    }

    #[tokio::test]
    async fn an_invalid_parameter_is_told_as_x_does() {
        let problem = Problem::invalid("id", Some("abc"), "The `id` [abc] is not an id");
        let (status, headers, document) = body(problem).await;
        assert_eq!(status, 400);
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(
            document,
            json!({
                "title": "Invalid Request",
                "detail": "One or more parameters to your request was invalid.",
                "type": "https://api.twitter.com/2/problems/invalid-request",
                "status": 400,
                "errors": [
                    {"message": "The `id` [abc] is not an id", "parameters": {"id": ["abc"]}}
                ]
            })
        );
    }

    #[test]
    fn s19_a_secret_is_not_repeated() {
        let document = |name: &str, message: &str| {
            let problem = Problem::invalid(name, Some("hunter2"), message);
            Value::Object(problem.document().clone()).to_string()
        };
        let text = document("new_password", "[hunter2] is not one");
        assert!(!text.contains("hunter2") && text.contains("[redacted]"), "{text}");
        let text = document("password", "a password has 8 characters or more");
        assert!(!text.contains("hunter2") && text.contains("has 8 characters"), "{text}");
        assert!(document("username", "[hunter2]").contains("hunter2"));
    }

    #[tokio::test]
    async fn a10_an_invalid_request_has_an_entry_in_errors() {
        let (status, _, document) = body(Problem::invalid_parameters([])).await;
        assert_eq!((status.as_u16(), document["errors"].as_array().unwrap().len()), (400, 1));
    }

    #[tokio::test]
    async fn causes_stay_inside() {
        let cause = std::io::Error::other("secret path");
        let (status, _, document) = body(Problem::internal(&cause)).await;
        assert_eq!(status, 500);
        assert!(!document.to_string().contains("secret"));
        let (status, headers, _) = body(Problem::unavailable("The disk is full.", 30)).await;
        assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &HeaderValue::from(30)));
    }
}
