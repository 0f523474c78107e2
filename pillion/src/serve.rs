//! The whole way from a socket to a service's handler and back: [`protect`] is what stands
//! around one service, [`answer`] what stands around the process. Read these two first.

mod addresses;
mod admission;
mod body;
mod client_address;
mod connection;
mod connections;
mod idle;
mod proxy_protocol;
mod refusals;
mod requests;
mod response;
mod streams;
mod target;
mod unread;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pillion_chassis::answer::Streaming;
use pillion_chassis::random::{Random as _, RandomError, SystemRandom};
use pillion_chassis::{Caller, Problem, Scopes, UserId};
use pillion_host::{ClientAddress, Host, RequestId, RouteTable};
use tokio::sync::watch;
use tower::ServiceExt;

pub(crate) use admission::{Admission, controller};
pub(crate) use client_address::{ForwardedHeader, Network, Proxies};
pub(crate) use connection::{Listening, serve};
pub(crate) use requests::{ProcessMetrics, RequestMetrics};
pub(crate) use streams::Streams;

use self::addresses::{Address, AddressPlace, Addresses, Resource};
use self::admission::Permit;
use self::refusals::Refusal;
use self::response::Held;
use self::streams::Account;
use self::unread::Unread;
use crate::config::{SERVICES, Server};
use crate::workers::WorkerBoard;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What one service stands behind, outermost first. `streams` limits the streams of the service
/// that the process's listener leads to.
pub(crate) fn protect(
    service: &'static str,
    router: Router,
    table: RouteTable,
    host: &Host,
    bounds: Bounds,
    metrics: &Arc<RequestMetrics>,
    streams: Option<Arc<Streams>>,
) -> Router {
    // Each `layer` goes around those before it, so this list is read from the bottom up.
    router
        // 5. A handler that hangs must not hold its connection, permit and memory for ever.
        .layer(from_fn_with_state(bounds.request_timeout, deadline))
        // 4. Handlers get whole bodies of a bounded size: what is too large or too slow never
        //    reaches them. Inside of the plugins, for these answers belong in the access log,
        //    and nobody waits for a body whose sender may not send it.
        .layer(from_fn_with_state(bounds, body::collect))
        // 3. What the plugins found out about the caller, in the services' own type; and a place
        //    for a stream, which depends on whose it is.
        .layer(from_fn_with_state(streams, introduce_caller))
        // 2. The plugins see every request, those for unknown paths too.
        .layer(if service == SERVICES[0] {
            host.layer(service, table)
        } else {
            // The address is that of another service, not of a client.
            host.layer(service, table).internal()
        })
        // 1. Counts and times everything that a client is answered, the plugins included.
        .layer(from_fn_with_state(Arc::clone(metrics), requests::observe))
}

/// What stands around the process, in the order of the steps. With the response comes what is
/// to be held until its last byte is out.
async fn answer(
    front: Arc<Front>,
    mut request: Request,
    client: IpAddr,
    address: &Arc<Address>,
) -> (Response, Held) {
    // 0. One form of authority, path and cookies for everything that follows. A request that cannot
    //    have it is answered here: whatever read it further on might take it for another one.
    if let Err(why) = target::normalize(&mut request) {
        front.metrics.malformed();
        return (Problem::plain(StatusCode::BAD_REQUEST, why).into_response(), Held::default());
    }
    // 1. Load balancers ask often, and need an answer while the process is full or draining.
    if let Some(response) = front.health.answer(&request) {
        return (response, Held::default());
    }
    if has_too_many_fields(&request, front.headers_max) {
        return (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response(), Held::default());
    }
    // 2. Past a limit a quick refusal beats a queue, in which everybody waits until they have
    //    given up. The limits of an address come first: it must not take what others need.
    let (place, permit) = match front.admit(address).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            front.metrics.refusals.count(refusal);
            if refusal != Refusal::RequestOverload {
                // An address that has more than its part would only ask again at once.
                tokio::time::sleep(ADDRESS_REFUSAL_DELAY).await;
            }
            return (refused(refusal), Held::default());
        }
    };
    let entry = Entry { address: Arc::clone(address), permit: Arc::clone(&permit) };
    request.extensions_mut().insert(entry);
    let mut held = Held { place: Some(place), permit: Some(permit), unread: None };
    // 3. One id in our log, the plugins' log, the services behind us and the client's hands.
    let id = front.request_ids.of(request.headers().get(REQUEST_ID));
    name(&mut request, &id);
    // 4. The address that the client cannot make up: the socket's, or what a trusted proxy says.
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
    // 7. The work is done: what is left is the client's pace, which must not cost others anything.
    //    A stream has limits of its own.
    if response.extensions().get::<Streaming>().is_some() {
        return (response, Held::default());
    }
    held.release_if_whole(response.body(), address);
    // What did not come in time is not waited for again.
    if response.status() != StatusCode::REQUEST_TIMEOUT {
        unread.discard().await;
    }
    if held.permit.is_none() {
        held.place = None;
    }
    (response, held)
}

/// How long a refusal waits for which the client's address is the reason: refusing is work as well,
/// and each of its connections has only so many requests.
const ADDRESS_REFUSAL_DELAY: Duration = Duration::from_millis(500);

/// What `answer` hands to the layers around a service.
#[derive(Clone, Debug)]
struct Entry {
    address: Arc<Address>,
    permit: Arc<Permit>,
}

/// Whether a request has more header fields than allowed. HTTP/1 requests with too many are
/// refused while they are parsed. HTTP/2 clients may split the cookie into any number of fields.
fn has_too_many_fields(request: &Request, headers_max: usize) -> bool {
    let fields = request.headers().len();
    fields > headers_max && {
        let cookies = request.headers().get_all(COOKIE).iter().count();
        fields - cookies.saturating_sub(1) > headers_max
    }
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
    admission: Arc<Admission>,
    /// `None` where other services connect and not clients.
    addresses: Option<Arc<Addresses>>,
    headers_max: usize,
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
        Ok(Self {
            router,
            health,
            admission: Arc::new(Admission::new(count(server.requests), workers())),
            addresses: Some(Arc::new(Addresses::new(server))),
            headers_max: count(server.headers),
            request_ids: RequestIds::new()?,
            metrics,
        })
    }

    /// Removes the limits of addresses where other services connect, each for many clients.
    pub(crate) fn facing_clients(self, faces_clients: bool) -> Self {
        Self { addresses: self.addresses.filter(|_| faces_clients), ..self }
    }

    /// What limits its requests.
    pub(crate) fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission)
    }

    /// What a client's address has and may have. A proxy that speaks for many clients is to be
    /// [`Addresses::unlimited`] here, and its clients are to be looked up for each request.
    fn address_of(&self, client: IpAddr) -> Arc<Address> {
        match &self.addresses {
            Some(addresses) => Addresses::of(addresses, client),
            None => Addresses::unlimited(),
        }
    }

    /// Takes a place among the requests of the address, and one among those that are worked on.
    async fn admit(&self, address: &Arc<Address>) -> Result<(AddressPlace, Arc<Permit>), Refusal> {
        if address.is_full(Resource::UnreadBytes) {
            return Err(Refusal::RequestUnreadBytes);
        }
        let place = address.take(Resource::Requests).ok_or(Refusal::RequestAddressLimit)?;
        Ok((place, self.admission.admit(address).await?))
    }
}

/// The threads that answer requests.
fn workers() -> usize {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map_or(1, |runtime| runtime.metrics().num_workers())
}

/// `/healthz`: the process runs. `/readyz`: it takes requests; 503 while it starts and drains,
/// while a database does not answer, and while a worker that requests depend on keeps failing. Its
/// body names workers that are down.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// Between start and drain.
    pub(crate) serving: watch::Receiver<bool>,
    /// Whether all databases answered lately.
    pub(crate) databases: watch::Receiver<bool>,
    /// What runs beside requests.
    pub(crate) workers: WorkerBoard,
}

impl Health {
    /// Whether the process is about to end: connections are good for one more answer.
    pub(crate) fn is_draining(&self) -> bool {
        !*self.serving.borrow()
    }

    /// What `/readyz` says.
    pub(crate) fn is_ready(&self) -> bool {
        *self.serving.borrow() && *self.databases.borrow() && self.workers.is_ready()
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
        let (status, mut text) = if ok {
            (StatusCode::OK, "ok\n".to_owned())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
        };
        if request.uri().path() == "/readyz" {
            for worker in self.workers.down() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "worker {worker} is down");
            }
        }
        Some((status, [(CACHE_CONTROL, "no-store")], text).into_response())
    }
}

/// The answer for a request that was refused before any work was done. Expected under load, so it
/// is counted and not logged one by one.
fn refused(refusal: Refusal) -> Response {
    const OVERLOADED: &str = r#"{"title":"Service Unavailable","detail":"The server is overloaded. Try again in a second.","type":"about:blank","status":503}"#;
    const TOO_MANY: &str = r#"{"title":"Too Many Requests","detail":"Too many requests of your address are in flight, or it does not read their responses. Try again in a second.","type":"about:blank","status":429}"#;
    let headers = [(CONTENT_TYPE, "application/problem+json"), (RETRY_AFTER, "1")];
    match refusal {
        Refusal::RequestAddressLimit | Refusal::RequestUnreadBytes => {
            (StatusCode::TOO_MANY_REQUESTS, headers, TOO_MANY).into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, headers, OVERLOADED).into_response(),
    }
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

async fn introduce_caller(
    State(streams): State<Option<Arc<Streams>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let account = streams.as_ref().and(request.extensions().get().map(Account::of));
    let address = request.extensions().get::<Entry>().map(|entry| Arc::clone(&entry.address));
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
    let response = next.run(request).await;
    match streams {
        Some(streams) if response.extensions().get::<Streaming>().is_some() => {
            streams.admit(address.as_ref(), account, response)
        }
        _ => response,
    }
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
