//! Reads a request's body whole before the handler runs, within bounds of size and time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use pillion_chassis::Problem;
use pillion_chassis::json::BodyBytesMax;

use super::{Bounds, Entry};

/// 415 for a compressed body, 413 for one over the bound, 408 for one that does not come in time, 400 for one that
/// breaks off.
pub(super) async fn collect(
    State(bounds): State<Bounds>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    if let Some(coding) = coding(request.headers()) {
        return not_decoded(&coding).into_response();
    }
    let too_large =
        declared(request.headers()).is_some_and(|bytes| bytes > bounds.body_bytes_max as u64);
    if too_large {
        return Problem::body_too_large(bounds.body_bytes_max).into_response();
    }
    let (parts, body) = request.into_parts();
    let whole = Limited::new(body, bounds.body_bytes_max).collect();
    // Nothing is worked on while the client has not sent its part.
    let permit = parts.extensions.get::<Entry>().map(|entry| Arc::clone(&entry.permit));
    if let Some(permit) = &permit {
        permit.release();
    }
    let collected = tokio::time::timeout(bounds.body_timeout, whole).await;
    if let Some(permit) = &permit {
        permit.resume();
    }
    let problem = match collected {
        Ok(Ok(whole)) => {
            let mut request = Request::from_parts(parts, Body::from(whole.to_bytes()));
            request.extensions_mut().insert(BodyBytesMax(bounds.body_bytes_max));
            return next.run(request).await;
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Problem::body_too_large(bounds.body_bytes_max)
        }
        Ok(Err(error)) => Problem::plain(
            StatusCode::BAD_REQUEST,
            format!("The body broke off: {error}. Nothing was done with the request."),
        ),
        Err(_) => Problem::plain(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "The body did not arrive within {} ms. Nothing was done with the request.",
                bounds.body_timeout.as_millis()
            ),
        ),
    };
    problem.into_response()
}

/// The content coding of a body (RFC 9110, 8.4), unless it is none.
fn coding(headers: &HeaderMap) -> Option<String> {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_one = |coding: &&[u8]| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    };
    codings.find(is_one).map(|coding| coding.trim_ascii().escape_ascii().to_string())
}

/// Bodies are small: decoding them would save nothing, and would cost a bound on what comes out.
fn not_decoded(coding: &str) -> Problem {
    Problem::plain(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("The content coding `{coding}` is not supported. Send the body uncompressed."),
    )
    .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use bytes::Bytes;
    use futures_util::stream;
    use tower::ServiceExt;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        body_bytes_max: 8,
        body_timeout: Duration::from_millis(200),
        request_timeout: Duration::from_secs(1),
    };

    async fn send(body: Body) -> (u16, String) {
        let app = Router::new()
            .route("/", post(|body: String| async move { body }))
            .layer(from_fn_with_state(BOUNDS, collect));
        let response = app.oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn chunks(items: &[Result<&'static str, &'static str>]) -> Body {
        let items: Vec<Result<Bytes, std::io::Error>> = (items.iter())
            .map(|item| item.map(Bytes::from).map_err(std::io::Error::other))
            .collect();
        Body::from_stream(stream::iter(items))
    }

    #[tokio::test]
    async fn a_body_at_the_bound_arrives_whole() {
        assert_eq!(send(chunks(&[Ok("1234"), Ok("5678")])).await, (200, "12345678".to_owned()));
        assert_eq!(send(Body::empty()).await, (200, String::new()));
    }

    #[tokio::test]
    async fn a_body_over_the_bound_is_413_with_and_without_a_length() {
        let (status, text) = send(chunks(&[Ok("1234"), Ok("56789")])).await;
        assert_eq!(status, 413, "{text}");
        assert!(text.contains("8 bytes"), "{text}");
        let (status, _) = send(Body::from("123456789")).await;
        assert_eq!(status, 413);
    }

    #[tokio::test]
    async fn s13_a_compressed_body_is_415() {
        let app = Router::new()
            .route("/", post(|body: String| async move { body }))
            .layer(from_fn_with_state(BOUNDS, collect));
        let send = async |coding: &[&str], body: &'static str| {
            let mut request = Request::post("/");
            for coding in coding {
                request = request.header("content-encoding", *coding);
            }
            app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
        };
        for coding in [&["gzip"][..], &["foo"], &["identity, br"], &["identity", "GZIP"]] {
            let response = send(coding, "x").await;
            assert_eq!(response.status(), 415, "{coding:?}");
            assert_eq!(response.headers()["accept-encoding"], "identity");
            // Nothing is encoded.
            assert_eq!(send(coding, "").await.status(), 200, "{coding:?}");
        }
        assert_eq!(send(&["Identity"], "x").await.status(), 200);
        assert_eq!(send(&[], "x").await.status(), 200);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_stalls_never_reaches_the_handler() {
        let (status, text) = send(chunks(&[Ok("1"), Err("reset")])).await;
        assert_eq!(status, 400, "{text}");
        let stalled = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let (status, text) = send(stalled).await;
        assert_eq!(status, 408);
        assert!(text.contains("200 ms"), "{text}");
    }
}
