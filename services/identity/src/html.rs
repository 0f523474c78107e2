//! The pages of the service: plain forms without scripts, which nothing can frame and which load
//! nothing.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use pillion_chassis::Problem;

const STYLE: &str = "\
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:2.5rem auto;\
padding:0 1rem;color:#1b1f24;background:#fff}h1{font-size:1.5rem;line-height:1.25}\
label{display:block;margin:.8rem 0}input{display:block;width:100%;font:inherit;padding:.5rem;\
border:1px solid #8c959f;border-radius:.375rem;color:inherit;background:inherit}\
button{font:inherit;padding:.55rem 1.3rem;margin:.6rem .6rem 0 0;border-radius:.375rem;\
border:1px solid #8c959f;color:inherit;background:transparent;cursor:pointer}\
button.primary{border-color:#0b57d0;color:#fff;background:#0b57d0}\
.e{color:#b42318;border-left:.25rem solid;padding-left:.75rem}.by,small{color:#57606a}\
small,bdi{overflow-wrap:anywhere}li form{display:inline}.app{margin:1.25rem 0;padding:1rem;\
border:1px solid #d0d7de;border-radius:.5rem}.app h2{font-size:1.1rem;margin:0}\
a{color:#0b57d0}:focus-visible{outline:.15rem solid #0b57d0;outline-offset:.1rem}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}.e{color:#ff7b72}\
.by,small{color:#9198a1}a{color:#6cb0ff}.app{border-color:#30363d}\
button.primary{border-color:#1f6feb;background:#1f6feb}}";

/// A page; `body` is HTML.
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = escaped(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"robots\" \
         content=\"noindex\"><title>{title}</title><style>{STYLE}</style><main>{body}</main></html>"
    );
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CACHE_CONTROL, "no-store"),
    // Nothing from anywhere, and in no frame: a page around it could trick people. Forms may be sent
    // on to where an app has its place, so their targets are not limited.
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// A page that says why there is no other.
pub(crate) fn error_page(status: StatusCode, title: &str, detail: &str) -> Response {
    let body = format!(
        "<h1>{}</h1><p class=\"e\" role=\"alert\">{}</p><p><small>Go back to the app and try \
         again. If that does not help, tell those who made it.</small></p>",
        escaped(title),
        escaped(detail)
    );
    page(status, title, &body)
}

/// The page for a problem, with its status and its headers.
pub(crate) fn problem_page(problem: Problem) -> Response {
    let document = problem.document();
    let text = |name: &str| document.get(name).and_then(|it| it.as_str()).unwrap_or_default();
    let mut response = error_page(problem.status(), text("title"), text("detail"));
    // `Retry-After` and the like. The problem is logged as it is turned into an answer.
    for (name, value) in problem.into_response().headers() {
        if *name != CONTENT_LENGTH && !response.headers().contains_key(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// Text as it stands in a page.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// What somebody chose to be called, kept apart from the text around it.
pub(crate) fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", escaped(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i08_an_error_is_a_page_that_nothing_can_frame() {
        let problem = Problem::unavailable("<b>busy</b>", 7);
        let response = problem_page(problem);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with("text/html"));
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!((header("x-frame-options"), header("retry-after")), ("DENY".into(), "7".into()));
        assert_eq!(escaped("<'\"&>"), "&lt;&#39;&quot;&amp;&gt;");
    }
}
