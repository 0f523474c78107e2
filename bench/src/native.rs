//! Native tower middleware that does what the three plugins do: the yardstick.
//!
//! It is written as one would write it without plugins: one layer, typed all the way, no copies
//! that are not needed. Where the plugins can be configured, it is fixed to the configuration of
//! the comparison; what it checks, writes and answers is the same (`parity.rs` sees to that).

mod access_log;
mod auth;
mod quota;
mod trace;

use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use anyhow::Result;
use axum::body::Body;
use axum::extract::MatchedPath;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::{Body as _, Frame, SizeHint};
use pillion_host::ClientAddress;
use pin_project_lite::pin_project;
use serde_json::json;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock;
use crate::wasm::Tokens;
use access_log::AccessLog;
use auth::{Auth, Caller};
use quota::{Quotas, Standing};
use trace::{RequestId, Trace};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The layer: access log, authentication, rate limit.
#[derive(Clone, Debug)]
pub(crate) struct Native(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    auth: Auth,
    quotas: Quotas,
    log: AccessLog,
}

impl Native {
    pub(crate) fn new(log: &Path, tokens: Tokens) -> Result<Self> {
        Ok(Self(Arc::new(Shared {
            auth: Auth::new(tokens),
            quotas: Quotas::default(),
            log: AccessLog::open(log)?,
        })))
    }
}

impl<S> Layer<S> for Native {
    type Service = NativeService<S>;

    fn layer(&self, inner: S) -> NativeService<S> {
        NativeService { inner, shared: Arc::clone(&self.0) }
    }
}

/// The service that [`Native`] makes.
#[derive(Clone, Debug)]
pub(crate) struct NativeService<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// What the log line will need of the request.
#[derive(Debug)]
struct Seen {
    shared: Arc<Shared>,
    arrived: Instant,
    time_us: u64,
    request_id: RequestId,
    trace: Trace,
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    address: Option<IpAddr>,
    user_agent: Option<HeaderValue>,
    caller: Option<Arc<Caller>>,
    decisions: &'static str,
}

impl<S> Service<Request<Body>> for NativeService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<LoggedBody>;
    type Error = S::Error;
    type Future = NativeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut seen = Seen {
            shared: Arc::clone(&self.shared),
            arrived: Instant::now(),
            time_us: clock::now_us(),
            request_id: RequestId::new(),
            trace: Trace::of(request.headers().get(TRACEPARENT)),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            address: request.extensions().get::<ClientAddress>().map(|address| address.0),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            caller: None,
            decisions: "auth=continue ratelimit=continue ratelimit.response=continue",
        };
        match admit(&self.shared, &mut seen, &request) {
            Ok(standing) => {
                request.headers_mut().insert(TRACEPARENT, seen.trace.header());
                let extensions = request.extensions_mut();
                extensions.insert(seen.request_id);
                if let Some(caller) = &seen.caller {
                    extensions.insert(Arc::clone(caller));
                }
                NativeFuture::Handler {
                    future: self.inner.call(request),
                    seen: Some((seen, standing)),
                }
            }
            Err(refusal) => NativeFuture::Refused { refusal: Some((seen, refusal)) },
        }
    }
}

/// Auth, then the rate limit, for what matches a route.
fn admit(
    shared: &Shared,
    seen: &mut Seen,
    request: &Request<Body>,
) -> Result<Option<Standing>, Refusal> {
    let Some(route) = seen.route.as_ref().map(MatchedPath::as_str) else {
        return Ok(None);
    };
    let authorization = request.headers().get(header::AUTHORIZATION);
    let checked = shared.auth.check(&seen.method, route, authorization, seen.time_us);
    let caller = match checked {
        Ok(caller) => seen.caller.insert(caller),
        Err(refusal) => {
            seen.decisions = "auth=respond";
            return Err(refusal);
        }
    };
    let standing = shared.quotas.take(caller, &seen.method, route, seen.arrived);
    match standing {
        Ok(standing) => {
            seen.decisions = "auth=modify ratelimit=modify ratelimit.response=modify";
            Ok(Some(standing))
        }
        Err(refusal) => {
            seen.decisions = "auth=modify ratelimit=respond";
            Err(refusal)
        }
    }
}

/// A request that goes no further: a problem document and headers that belong to it.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    title: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn into_response(self) -> Response<Body> {
        let problem = json!({
            "title": self.title,
            "detail": self.detail,
            "type": "about:blank",
            "status": self.status.as_u16(),
        });
        let mut response = Response::new(Body::from(problem.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}

pin_project! {
    /// The future of [`NativeService`].
    #[derive(Debug)]
    #[project = Projection]
    pub(crate) enum NativeFuture<F> {
        Handler { #[pin] future: F, seen: Option<(Seen, Option<Standing>)> },
        Refused { refusal: Option<(Seen, Refusal)> },
    }
}

impl<F, E> Future for NativeFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<LoggedBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const POLLED: &str = "a future is not polled after it is ready";
        let (seen, response) = match self.project() {
            Projection::Handler { future, seen } => {
                let mut response = ready!(future.poll(cx))?;
                let (seen, standing) = seen.take().expect(POLLED);
                if let Some(standing) = standing {
                    standing.tell(response.headers_mut());
                }
                (seen, response)
            }
            Projection::Refused { refusal } => {
                let (seen, refusal) = refusal.take().expect(POLLED);
                (seen, refusal.into_response())
            }
        };
        let status = response.status().as_u16();
        // A connection does not ask for what is not there.
        let ended_by = if response.body().is_end_stream() { "complete" } else { "client" };
        Poll::Ready(Ok(response.map(|body| LoggedBody { body, seen, status, bytes: 0, ended_by })))
    }
}

/// A body that writes the log line when it is dropped, sent or not.
#[derive(Debug)]
pub(crate) struct LoggedBody {
    body: Body,
    seen: Seen,
    status: u16,
    bytes: u64,
    ended_by: &'static str,
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        self.seen.shared.log.write(&self.seen, self.status, self.bytes, self.ended_by);
    }
}

impl http_body::Body for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.body.is_end_stream() {
                    self.ended_by = "complete";
                }
            }
            Some(Err(_)) => self.ended_by = "error",
            None => self.ended_by = "complete",
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
