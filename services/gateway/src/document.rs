//! The API's own `OpenAPI` document, and a page that people can read.

mod example;
mod render;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use pillion_chassis::Json;
use ring::digest;
use serde_json::{Value, json};

use crate::Gateway;

/// The `OpenAPI` 3.1 document, as served.
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

/// Finds routes, and opens the one that the address names. The page can be read without it.
pub(crate) const SCRIPT: &str = include_str!("document/page.js");

/// The page, rendered once.
#[derive(Debug)]
pub(crate) struct Document {
    page: String,
    /// What the page may run and load: its own script by its digest, and nothing from anywhere.
    policy: HeaderValue,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// The document is not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The policy is not a header.
    #[error(transparent)]
    Header(#[from] http::header::InvalidHeaderValue),
}

impl Document {
    /// Renders the page from the document.
    pub(crate) fn load() -> Result<Self, DocumentError> {
        let document: Value = serde_json::from_str(OPENAPI)?;
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, SCRIPT.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri \
             'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Ok(Self { page: render::page(&document), policy: policy.parse()? })
    }
}

/// `GET /`
pub(crate) async fn welcome() -> Json<Value> {
    Json(json!({ "name": "Pillion", "docs": "/docs", "openapi": "/openapi.json" }))
}

/// `GET /openapi.json`, and where X has it, `GET /2/openapi.json`
pub(crate) async fn json() -> Response {
    fixed("application/json", OPENAPI)
}

/// `GET /docs`
pub(crate) async fn page(State(gateway): State<Gateway>) -> Response {
    let mut response = fixed("text/html; charset=utf-8", gateway.document.page.clone());
    let policy = gateway.document.policy.clone();
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

fn fixed(kind: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What a `$ref` in the same document points at; anything else is itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_the_page_is_short_at_first_and_has_an_example_of_every_answer() {
        let page = Document::load().unwrap().page;
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let operations: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|p| p.as_object().unwrap().len())
            .sum();
        assert_eq!(page.matches("<details class=\"op\"").count(), operations);
        assert!(!page.contains("<details class=\"op\" open"), "sections are collapsed at first");
        assert!(page.contains("<input type=\"search\""));
        assert!(page.contains("width=device-width,initial-scale=1"));
        for step in
            ["/pillion/v1/accounts", "/pillion/v1/login", "/2/tweets", "reverse_chronological"]
        {
            assert!(page.contains(step), "{step} is not among the first steps");
        }
        // Nothing of the document's notation is left, and nothing comes from elsewhere.
        assert!(!page.contains('`'), "a literal backtick");
        assert!(!page.contains("src=") && !page.contains("<link"), "something to load");
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                let start = page.find(&format!("id=\"{id}\"")).unwrap();
                let end = page[start..].find("</details></article>").unwrap();
                let section = &page[start..start + end];
                let has_body =
                    operation["responses"].as_object().unwrap().iter().any(|(status, r)| {
                        status.starts_with('2') && r["content"].get("application/json").is_some()
                    });
                assert!(!has_body || section.contains("<pre>"), "{method} {path} has no example");
            }
        }
    }

    #[test]
    fn a14_the_policy_lets_the_page_run_its_own_script_only() {
        let document = Document::load().unwrap();
        let policy = document.policy.to_str().unwrap();
        let (_, rest) = document.page.split_once("<script>").unwrap();
        let (script, _) = rest.split_once("</script>").unwrap();
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, script.as_bytes()));
        assert!(policy.contains(&format!("script-src 'sha256-{hash}'")), "{policy}");
        assert!(policy.starts_with("default-src 'none';"));
        assert_eq!(document.page.matches("<script").count(), 1);
    }
}
