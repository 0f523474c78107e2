//! The whole way from a socket to a service's handler and back: [`protect`] is what stands
//! around one service, [`answer`] what stands around the process. Read these two first.

mod body;
mod connection;
mod idle;
mod requests;
mod unread;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pillion_chassis::random::{Random as _, RandomError, SystemRandom};
use pillion_chassis::{Caller, Problem, Scopes, UserId};
use pillion_host::{ClientAddress, Host, RequestId, RouteTable};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

pub(crate) use connection::{Listening, serve};
pub(crate) use requests::{ProcessMetrics, RequestMetrics};

use self::unread::Unread;
use crate::config::Server;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What one service stands behind, outermost first.
pub(crate) fn protect(
    service: &'static str,
    router: Router,
    table: RouteTable,
    host: &Host,
    bounds: Bounds,
    metrics: &Arc<RequestMetrics>,
) -> Router {
    // Each `layer` goes around those before it, so this list is read from the bottom up.
    router
        // 5. A handler that hangs must not hold its connection, permit and memory for ever.
        .layer(from_fn_with_state(bounds.request_timeout, deadline))
        // 4. Handlers get whole bodies of a bounded size: what is too large or too slow never
        //    reaches them. Inside of the plugins, for these answers belong in the access log,
        //    and nobody waits for a body whose sender may not send it.
        .layer(from_fn_with_state(bounds, body::collect))
        // 3. What the plugins found out about the caller, in the services' own type.
        .layer(from_fn(introduce_caller))
        // 2. The plugins see every request, those for unknown paths too.
        .layer(host.layer(service, table))
        // 1. Counts and times everything that a client is answered, the plugins included.
        .layer(from_fn_with_state(Arc::clone(metrics), requests::observe))
}

/// What stands around the process, in the order of the steps. With the response comes what is
/// to be held until its last byte is out.
async fn answer(
    front: Arc<Front>,
    mut request: Request,
    client: IpAddr,
) -> (Response, Option<OwnedSemaphorePermit>) {
    // 1. Load balancers ask often, and need an answer while the process is full or draining.
    if let Some(response) = front.health.answer(&request) {
        return (response, None);
    }
    // 2. Past the bound a quick refusal beats a queue, in which everybody waits until they have
    //    given up.
    let Ok(permit) = Arc::clone(&front.in_flight).try_acquire_owned() else {
        front.metrics.shed();
        return (shed(), None);
    };
    // 3. One id in our log, the plugins' log, the services behind us and the client's hands.
    let id = front.request_ids.of(request.headers().get(REQUEST_ID));
    name(&mut request, &id);
    // 4. The one address that nobody can make up: the socket's.
    request.extensions_mut().insert(ClientAddress(client));
    // 5. Whoever answers without reading the body, such as a plugin that refuses.
    let unread = Unread::of(&mut request);
    // 6. A bug in one handler must not end the other requests of its connection.
    let answered = AssertUnwindSafe(front.router.clone().oneshot(request)).catch_unwind().await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            // The panic hook has written the message and the place.
            tracing::error!(request_id = ?id, "a handler panicked");
            Problem::plain(StatusCode::INTERNAL_SERVER_ERROR, PANICKED).into_response()
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);
    // What did not come in time is not waited for again.
    if response.status() != StatusCode::REQUEST_TIMEOUT {
        unread.discard().await;
    }
    (response, Some(permit))
}

const PANICKED: &str =
    "Something went wrong here. The log has the details under this request's id.";

/// The bounds that `protect` needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) body_bytes_max: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) request_timeout: Duration,
}

impl Bounds {
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            body_bytes_max: count(server.body_bytes),
            body_timeout: Duration::from_millis(server.body_timeout_ms),
            request_timeout: Duration::from_millis(server.request_timeout_ms),
        }
    }
}

/// What the connections of one listener share.
#[derive(Debug)]
pub(crate) struct Front {
    router: Router,
    health: Health,
    in_flight: Arc<Semaphore>,
    request_ids: RequestIds,
    metrics: Arc<ProcessMetrics>,
}

impl Front {
    /// `router` answers everything but the health probes.
    pub(crate) fn new(
        router: Router,
        server: &Server,
        health: Health,
        metrics: Arc<ProcessMetrics>,
    ) -> Result<Self, RandomError> {
        let request_ids = RequestIds::new()?;
        let in_flight = Arc::new(Semaphore::new(count(server.requests)));
        Ok(Self { router, health, in_flight, request_ids, metrics })
    }

    /// Goes on telling of its requests.
    pub(crate) fn in_flight(&self) -> InFlight {
        InFlight { permits: Arc::clone(&self.in_flight), max: self.in_flight.available_permits() }
    }
}

/// How many requests of a [`Front`] are being answered.
#[derive(Debug)]
pub(crate) struct InFlight {
    permits: Arc<Semaphore>,
    max: usize,
}

impl InFlight {
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { permits: Arc::new(Semaphore::new(1)), max: 1 }
    }

    pub(crate) fn now(&self) -> usize {
        self.max.saturating_sub(self.permits.available_permits())
    }
}

/// `/healthz`: the process runs. `/readyz`: it takes requests; 503 while it starts and drains,
/// and while a database does not answer.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// Between start and drain.
    pub(crate) serving: watch::Receiver<bool>,
    /// Whether all databases answered lately.
    pub(crate) databases: watch::Receiver<bool>,
}

impl Health {
    /// Whether the process is about to end: connections are good for one more answer.
    pub(crate) fn is_draining(&self) -> bool {
        !*self.serving.borrow()
    }

    /// What `/readyz` says.
    pub(crate) fn is_ready(&self) -> bool {
        *self.serving.borrow() && *self.databases.borrow()
    }

    fn answer(&self, request: &Request) -> Option<Response> {
        let ok = match request.uri().path() {
            "/healthz" => true,
            "/readyz" => self.is_ready(),
            _ => return None,
        };
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return None;
        }
        let (status, text) = if ok {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        };
        Some((status, [(CACHE_CONTROL, "no-store")], text).into_response())
    }
}

/// The answer for a request over the bound. Expected under load, so it is counted and not
/// logged.
fn shed() -> Response {
    const BODY: &str = r#"{"title":"Service Unavailable","detail":"The server has as many requests in flight as it takes. Try again in a second.","type":"about:blank","status":503}"#;
    let headers = [(CONTENT_TYPE, "application/problem+json"), (RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, BODY).into_response()
}

/// Makes ids for requests that bring none.
#[derive(Debug)]
struct RequestIds {
    /// Tells processes and restarts apart.
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Result<Self, RandomError> {
        let mut process = [0; 8];
        SystemRandom.fill(&mut process)?;
        Ok(Self { process: u64::from_le_bytes(process), next: AtomicU64::new(0) })
    }

    /// The client's own id when it can stand in a log as it is, else a new one.
    fn of(&self, brought: Option<&HeaderValue>) -> HeaderValue {
        /// A UUID has 36.
        const ID_BYTES_MAX: usize = 64;
        let sane = |id: &&HeaderValue| {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            (1..=ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(plain)
        };
        brought.filter(sane).cloned().unwrap_or_else(|| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            HeaderValue::try_from(format!("{:016x}-{number:08x}", self.process))
                .unwrap_or(HeaderValue::from_static("unknown"))
        })
    }
}

/// Writes the id where the host, and where services look for it.
fn name(request: &mut Request, id: &HeaderValue) {
    if let Ok(text) = id.to_str() {
        request.extensions_mut().insert(RequestId(text.into()));
    }
    request.headers_mut().insert(REQUEST_ID, id.clone());
}

/// For requests that come from a service in this process: the id is the outer request's.
pub(crate) async fn take_over_request_id(mut request: Request, next: Next) -> Response {
    if let Some(id) = request.headers().get(REQUEST_ID).cloned() {
        name(&mut request, &id);
    }
    next.run(request).await
}

async fn introduce_caller(mut request: Request, next: Next) -> Response {
    // Only the host puts this extension there, so the id is one that the auth plugin accepted;
    // an id that is no number can come from a wrong key set only.
    let caller = request.extensions().get::<pillion_host::Caller>().map(|caller| {
        let user_id = caller.user_id.as_deref().map(str::parse::<UserId>).transpose();
        user_id.map(|user_id| Caller {
            user_id,
            client_id: caller.client_id.clone(),
            scopes: Scopes::parse(&caller.scopes),
        })
    });
    match caller {
        Some(Ok(caller)) => {
            request.extensions_mut().insert(caller);
        }
        Some(Err(_)) => {
            let detail = "The token's subject is not the id of a user. Log in for a new token.";
            return Problem::unauthorized(detail).into_response();
        }
        // Only who has not logged in shows a password, for which their address counts.
        None => {
            if let Some(ClientAddress(address)) = request.extensions().get().copied() {
                request.extensions_mut().insert(pillion_chassis::ClientAddress(Some(address)));
            }
        }
    }
    next.run(request).await
}

async fn deadline(
    State(request_timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    tokio::time::timeout(request_timeout, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!(
            "No answer within {} ms. What was asked for may have been done: look before you try \
             again.",
            request_timeout.as_millis()
        );
        Problem::plain(StatusCode::GATEWAY_TIMEOUT, detail).into_response()
    })
}

/// A configured count as a size of memory; the configuration's bounds are far below 32 bits.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
