//! The tower layer: a request goes through the chain's request hooks, to the inner service, and
//! back through its response hooks; when its body has been sent, completion hooks run.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::chain::{Chain, Flow};
use crate::completions::{FlushWatch, Job};
use crate::edits::{RESERVED_PREFIX, may_have_body};
use crate::exchange::{Attributes, ClientAddress, Exchange, RequestId, source};
use crate::generation::Generation;
use crate::host::Host;
use crate::host_calls::now_us;
use crate::routes::RouteTable;
use crate::trace::{TRACEPARENT, TRACESTATE, TraceContext, request_id};

/// What stands for the status of a request whose client is gone before there is a response;
/// nginx's number for it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Puts a service's chain of plugins around it. Made by [`Host::layer`]; whenever a new
/// generation is activated, the next request uses it.
#[derive(Clone, Debug)]
pub struct PluginLayer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: Host,
    service: Box<str>,
    routes: RouteTable,
    is_internal: bool,
}

impl PluginLayer {
    pub(crate) fn new(host: Host, service: &str, routes: RouteTable) -> Self {
        let service = service.into();
        Self { shared: Arc::new(Shared { host, service, routes, is_internal: false }) }
    }

    /// For a service whose requests come from other services: their addresses are not those of
    /// clients, so no failure is charged to them.
    #[must_use]
    pub fn internal(self) -> Self {
        let Shared { host, service, routes, .. } = &*self.shared;
        let (host, service, routes) = (host.clone(), service.clone(), routes.clone());
        Self { shared: Arc::new(Shared { host, service, routes, is_internal: true }) }
    }
}

impl<S> Layer<S> for PluginLayer {
    type Service = PluginService<S>;

    fn layer(&self, inner: S) -> PluginService<S> {
        PluginService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// The service that [`PluginLayer`] makes.
#[derive(Clone, Debug)]
pub struct PluginService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for PluginService<S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<PluginBody<R>>;
    type Error = S::Error;
    type Future = PluginFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The whole request, in all its phases, stays on the generation that it began on.
        let generation = self.shared.host.generation();
        let Some(chain) = generation.place(&self.shared.service) else {
            return PluginFuture { state: FutureState::Bare { future: self.inner.call(request) } };
        };
        let (mut parts, body) = request.into_parts();
        let passage = Passage { generation, chain };
        let chain = passage.chain();
        let flush = parts.extensions.get::<FlushWatch>().cloned();
        let exchange = begin(&mut parts, chain, passage.generation.id, &self.shared);
        if chain.awaits {
            // The clone that is ready goes with the request; the other one is made ready later.
            let next = self.inner.clone();
            let inner = std::mem::replace(&mut self.inner, next);
            let completion = Completion::new(passage.clone(), exchange, flush);
            let future = Box::pin(awaiting(inner, parts, body, passage, completion));
            return PluginFuture { state: FutureState::Awaiting { future } };
        }
        let (mut exchange, flow) = chain.on_request(exchange);
        let headers = decided(chain, &mut exchange);
        let state = match flow {
            Flow::Continue => {
                let outer = chain.len();
                hand_on(&mut parts, headers, &exchange);
                let completion = Completion::new(passage, exchange, flush);
                let future = self.inner.call(Request::from_parts(parts, body));
                FutureState::Handler { future, completion, outer }
            }
            Flow::Respond { response, outer } => {
                let completion = Completion::new(passage, exchange, flush);
                FutureState::Answered { completion, answer: Some((response, outer)) }
            }
        };
        PluginFuture { state }
    }
}

/// The whole way of a request through a chain of which some hooks have to be awaited.
async fn awaiting<S, B, R>(
    mut inner: S,
    mut parts: http::request::Parts,
    body: B,
    passage: Passage,
    mut completion: Completion,
) -> Result<Response<PluginBody<R>>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    let chain = passage.chain();
    let flow = chain.on_request_awaiting(&mut completion.exchange).await;
    let headers = completion.exchange.as_mut().map(|exchange| decided(chain, exchange));
    let (mut parts, body, outer) = match flow {
        Flow::Continue => {
            if let (Some(headers), Some(exchange)) = (headers, &completion.exchange) {
                hand_on(&mut parts, headers, exchange);
            }
            let answer = inner.call(Request::from_parts(parts, body)).await;
            let response = answer.inspect_err(|_| completion.ended("error"))?;
            let (parts, body) = response.into_parts();
            (parts, BodyState::Handler { body }, chain.len())
        }
        Flow::Respond { response, outer } => {
            let (parts, bytes) = response.into_parts();
            (parts, BodyState::Made { bytes: Some(bytes) }, outer)
        }
    };
    completion.answered(&mut parts);
    let replaced = chain.on_response_awaiting(&mut completion.exchange, outer).await;
    let body = completion.replaced(replaced, &mut parts, body);
    Ok(completion.dress(parts, body))
}

/// Takes the headers that the request has after its hooks; the exchange keeps those that later
/// phases see.
fn decided(chain: &Chain, exchange: &mut Exchange) -> http::HeaderMap {
    let headers = std::mem::take(&mut exchange.request_headers);
    exchange.request_headers = chain.keep_request_headers(&headers);
    headers
}

/// Gives the handler what the hooks decided.
fn hand_on(parts: &mut http::request::Parts, mut headers: http::HeaderMap, exchange: &Exchange) {
    if let Some(traceparent) = exchange.trace.header() {
        headers.insert(TRACEPARENT, traceparent);
    }
    if !exchange.trace.is_continued() {
        headers.remove(TRACESTATE);
    }
    parts.headers = headers;
    parts.extensions.insert(RequestId(Arc::clone(&exchange.request_id)));
    if let Some(caller) = exchange.caller.clone() {
        parts.extensions.insert(caller);
    }
}

/// Takes from the request what hooks can see.
fn begin(
    parts: &mut http::request::Parts,
    chain: &Chain,
    generation: u64,
    shared: &Shared,
) -> Box<Exchange> {
    let mut request_headers = std::mem::take(&mut parts.headers);
    drop_reserved(&mut request_headers);
    let request_id = match parts.extensions.get::<RequestId>() {
        Some(RequestId(id)) => Arc::clone(id),
        None => request_id(),
    };
    let address = parts.extensions.get::<ClientAddress>().map(|address| address.0);
    Box::new(Exchange {
        service: Arc::clone(&chain.service),
        generation,
        route: shared.routes.find(&parts.method, parts.uri.path()),
        address,
        source: address.filter(|_| !shared.is_internal).map_or(0, source),
        trace: TraceContext::of(&request_headers),
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        version: parts.version,
        request_headers,
        request_id,
        time_us: now_us(),
        arrived: Instant::now(),
        caller: None,
        attributes: Attributes::new(Arc::clone(&chain.attributes)),
        status: CLIENT_CLOSED_REQUEST,
        response_headers: http::HeaderMap::new(),
        duration_us: 0,
        response_bytes: 0,
        ended_by: "client",
        decisions: Vec::with_capacity(chain.len() * 2),
        fresh: Vec::new(),
        probes: Vec::new(),
    })
}

/// Nothing from outside may look as if the host had said it.
fn drop_reserved(headers: &mut http::HeaderMap) {
    let reserved = |name: &HeaderName| name.as_str().starts_with(RESERVED_PREFIX);
    while let Some(name) = headers.keys().find(|name| reserved(name)).cloned() {
        headers.remove(name);
    }
}

/// The chain that a request goes through. Keeps its generation alive until the last phase.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    pub(crate) generation: Arc<Generation>,
    chain: usize,
}

impl Passage {
    pub(crate) fn chain(&self) -> &Chain {
        #[expect(clippy::indexing_slicing, reason = "found in this very generation")]
        &self.generation.chains[self.chain]
    }
}

/// Queues the completion hooks when it is dropped: with the response's body, or with the future
/// of a request whose client is gone before there is a response.
#[derive(Debug, Default)]
struct Completion {
    passage: Option<Passage>,
    exchange: Option<Box<Exchange>>,
    /// Counted among its generation's streams.
    streams: bool,
    /// Tells when the response's bytes are in the socket, where the server does.
    flush: Option<FlushWatch>,
}

impl Completion {
    fn new(passage: Passage, exchange: Box<Exchange>, flush: Option<FlushWatch>) -> Self {
        Self { passage: Some(passage), exchange: Some(exchange), streams: false, flush }
    }

    fn sent(&mut self, bytes: usize) {
        if let Some(exchange) = &mut self.exchange {
            exchange.response_bytes += bytes as u64;
        }
    }

    fn ended(&mut self, by: &'static str) {
        if let Some(exchange) = &mut self.exchange {
            exchange.ended_by = by;
        }
    }

    /// Runs the response hooks of the `outer` first plugins and dresses the body for completion.
    fn respond<R: Body>(
        mut self,
        outer: usize,
        mut parts: http::response::Parts,
        body: BodyState<R>,
    ) -> Response<PluginBody<R>> {
        self.answered(&mut parts);
        let mut replaced = None;
        if let (Some(passage), Some(exchange)) = (&self.passage, self.exchange.take()) {
            let (exchange, made) = passage.chain().on_response(exchange, outer);
            self.exchange = Some(exchange);
            replaced = made;
        }
        let body = self.replaced(replaced, &mut parts, body);
        self.dress(parts, body)
    }

    /// Shows the response to the hooks.
    fn answered(&mut self, parts: &mut http::response::Parts) {
        if let Some(exchange) = &mut self.exchange {
            exchange.status = parts.status.as_u16();
            exchange.response_headers = std::mem::take(&mut parts.headers);
        }
    }

    /// Takes back what the hooks have made of it.
    fn replaced<R>(
        &mut self,
        replaced: Option<Response<Bytes>>,
        parts: &mut http::response::Parts,
        body: BodyState<R>,
    ) -> BodyState<R> {
        if let Some(exchange) = &mut self.exchange {
            parts.headers = std::mem::take(&mut exchange.response_headers);
        }
        match replaced {
            Some(replaced) => {
                let (made, bytes) = replaced.into_parts();
                parts.status = made.status;
                BodyState::Made { bytes: Some(bytes) }
            }
            None => body,
        }
    }

    /// Dresses the body for completion.
    fn dress<R: Body>(
        mut self,
        mut parts: http::response::Parts,
        mut body: BodyState<R>,
    ) -> Response<PluginBody<R>> {
        if let (Some(passage), Some(exchange)) = (&self.passage, &mut self.exchange) {
            let empty = match &body {
                BodyState::Made { bytes } => {
                    let bytes = bytes.as_ref().map_or(0, Bytes::len);
                    // 204 and 304 have no body whose length could be told (RFC 9110, 8.6).
                    if may_have_body(parts.status) || parts.status == StatusCode::RESET_CONTENT {
                        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
                    } else {
                        parts.headers.remove(header::CONTENT_LENGTH);
                    }
                    bytes == 0
                }
                BodyState::Handler { body } => body.is_end_stream(),
            };
            // Nobody polls a body of which nothing is to be sent.
            if empty || exchange.method == Method::HEAD {
                exchange.ended_by = "complete";
            }
            // The length is that of an answer to GET; not every server drops the bytes itself.
            if let BodyState::Made { bytes } = &mut body
                && exchange.method == Method::HEAD
            {
                *bytes = None;
            }
            exchange.response_headers = passage.chain().keep_response_headers(&parts.headers);
            // What does not know its own length may go on for ever.
            if let BodyState::Handler { body } = &body
                && body.size_hint().exact().is_none()
            {
                self.streams = true;
                passage.generation.streams.fetch_add(1, Ordering::Release);
            }
        }
        Response::from_parts(parts, PluginBody { body, completion: self })
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let (Some(passage), Some(exchange)) = (self.passage.take(), self.exchange.take()) else {
            return;
        };
        Job::new(passage, exchange, self.streams).queue(self.flush.as_ref());
    }
}

pin_project! {
    /// The future of [`PluginService`].
    pub struct PluginFuture<F, R, E> {
        #[pin]
        state: FutureState<F, R, E>,
    }
}

pin_project! {
    #[project = FutureProjection]
    enum FutureState<F, R, E> {
        // The service has no plugins.
        Bare { #[pin] future: F },
        Handler { #[pin] future: F, completion: Completion, outer: usize },
        Answered { completion: Completion, answer: Option<(Response<Bytes>, usize)> },
        // Some hook has to be awaited.
        Awaiting { future: AwaitingFuture<R, E> },
    }
}

type AwaitingFuture<R, E> =
    Pin<Box<dyn Future<Output = Result<Response<PluginBody<R>>, E>> + Send>>;

impl<F, R, E> std::fmt::Debug for PluginFuture<F, R, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for PluginFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<PluginBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            FutureProjection::Bare { future } => {
                let (parts, body) = ready!(future.poll(cx))?.into_parts();
                let body = BodyState::Handler { body };
                let body = PluginBody { body, completion: Completion::default() };
                Poll::Ready(Ok(Response::from_parts(parts, body)))
            }
            FutureProjection::Handler { future, completion, outer } => {
                let response =
                    ready!(future.poll(cx)).inspect_err(|_| completion.ended("error"))?;
                let (parts, body) = response.into_parts();
                let completion = std::mem::take(completion);
                Poll::Ready(Ok(completion.respond(*outer, parts, BodyState::Handler { body })))
            }
            FutureProjection::Answered { completion, answer } => {
                let (response, outer) =
                    answer.take().expect("a future is not polled after it is ready");
                let (parts, bytes) = response.into_parts();
                let body = BodyState::Made { bytes: Some(bytes) };
                Poll::Ready(Ok(std::mem::take(completion).respond(outer, parts, body)))
            }
            FutureProjection::Awaiting { future } => future.as_mut().poll(cx),
        }
    }
}

pin_project! {
    /// A response's body: the handler's or a plugin's. When it is dropped, sent or not,
    /// completion hooks are queued.
    #[derive(Debug)]
    pub struct PluginBody<R> {
        #[pin]
        body: BodyState<R>,
        completion: Completion,
    }
}

pin_project! {
    #[project = BodyProjection]
    #[derive(Debug)]
    enum BodyState<R> {
        Handler { #[pin] body: R },
        Made { bytes: Option<Bytes> },
    }
}

impl<R: Body<Data = Bytes>> Body for PluginBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        let (frame, last) = match this.body.as_mut().project() {
            BodyProjection::Handler { mut body } => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                let last = body.is_end_stream();
                (frame, last)
            }
            BodyProjection::Made { bytes } => (
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
                true,
            ),
        };
        match &frame {
            Some(Ok(frame)) => {
                this.completion.sent(frame.data_ref().map_or(0, Bytes::len));
                if last {
                    this.completion.ended("complete");
                }
            }
            Some(Err(_)) => this.completion.ended("error"),
            None => this.completion.ended("complete"),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            BodyState::Handler { body } => body.is_end_stream(),
            BodyState::Made { bytes } => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            BodyState::Handler { body } => body.size_hint(),
            BodyState::Made { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
        }
    }
}
