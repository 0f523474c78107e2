//! A client that shows everything of an answer and hides nothing: no retries, no redirects.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Longer than any answer may take; a suite that waits forever says nothing.
const DEADLINE: Duration = Duration::from_mins(2);

/// For one base address.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` when it is empty.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts the status and shows the body when it differs.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "often the status is all that matters")]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }
}

/// A request in the making.
#[derive(Debug)]
pub struct Call<'a> {
    client: &'a Client,
    builder: http::request::Builder,
    body: Bytes,
}

impl Client {
    /// For `http://HOST:PORT`.
    pub fn new(base: impl Into<String>) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { base: base.into(), http }
    }

    /// The same, with connections from this address of the machine, such as 127.0.0.2.
    pub fn from_address(base: impl Into<String>, local: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(local));
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        Self { base: base.into(), http: http.build(connector) }
    }

    /// The address that every path is behind.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Any method.
    pub fn call(&self, method: Method, path: &str) -> Call<'_> {
        let builder = Request::builder().method(method).uri(format!("{}{path}", self.base));
        Call { client: self, builder, body: Bytes::new() }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// POST.
    pub fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Call<'_> {
        self.call(Method::DELETE, path)
    }
}

impl Call<'_> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    /// Adds a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sends this as JSON.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.text("application/json", &body.to_string())
    }

    /// Sends this as it is.
    #[must_use]
    pub fn text(mut self, content_type: &str, body: &str) -> Self {
        self.body = Bytes::from(body.to_owned());
        self.header("content-type", content_type)
    }

    /// Sends it; an error when no whole answer came.
    pub async fn try_send(self) -> anyhow::Result<Answer> {
        let request = self.builder.body(Full::new(self.body))?;
        let exchange = async {
            let (parts, body) = self.client.http.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(DEADLINE, exchange).await?
    }

    /// Sends it and expects an answer, whatever it says.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("a whole answer")
    }
}
