//! What clients are answered when a plugin fails: problem documents (RFC 9457).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::fields::Phase;

/// How long a client should wait before it tries again what a failed plugin refused.
const RETRY_AFTER_SECONDS: &str = "1";

/// What a client sees when a plugin with the policy `closed` fails. After the handler it
/// must not suggest a retry: the request may have been processed.
pub(crate) fn unavailable(plugin: &str, phase: Phase, request_id: &str) -> Response<Bytes> {
    let (what, retry) = match phase {
        Phase::Request => (
            "could not decide on this request, so it was refused. Nothing was done; try again",
            true,
        ),
        Phase::Response | Phase::Completion => (
            "could not decide on the response, so it was withheld. What was asked for may have \
             been done; look before you try again",
            false,
        ),
    };
    let detail = format!(
        "The plugin `{plugin}` {what}. The host's log has the cause under request id {request_id}."
    );
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
    if retry {
        let seconds = HeaderValue::from_static(RETRY_AFTER_SECONDS);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// What a client sees whose requests made a plugin fail too often.
pub(crate) fn too_many_failures(plugin: &str, seconds: u64, request_id: &str) -> Response<Bytes> {
    let detail = format!(
        "Too many of your requests made the plugin `{plugin}` fail; try again in {seconds} \
         seconds. The host's log has the causes. This is request {request_id}."
    );
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, &detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn problem(status: StatusCode, detail: &str) -> Response<Bytes> {
    let body = serde_json::json!({
        "title": status.canonical_reason().unwrap_or_default(),
        "type": "about:blank",
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
