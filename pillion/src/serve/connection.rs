//! Accepts connections and drives each one: bounds on how many, on idling, and a drain with a
//! deadline.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use pillion_chassis::Shutdown;
use pillion_chassis::answer::Streaming;
use pillion_chassis::tls::{Stream, Tls};
use pillion_host::FlushNotifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::idle::{Activity, Busy, Patience, Verdict, Watched};
use super::{Front, answer, count};
use crate::config::Server;

/// An HTTP/2 peer that is gone without a word is noticed after the sum of these two.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What one HTTP/2 stream may have unsent in memory; most answers are smaller.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;

/// How long accepting rests when the process is out of descriptors or memory: long enough for
/// some connection to end, short enough for a client's patience.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// One listener with its bounds.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) front: Arc<Front>,
    pub(crate) server: Server,
    /// Asked for when the process is to end.
    pub(crate) shutdown: Shutdown,
    /// With certificates nothing is spoken but TLS.
    pub(crate) tls: Option<Tls>,
}

/// Serves until shutdown, then lets what is in flight finish within the drain's deadline and
/// cuts the rest. Gives the number of connections that were cut.
pub(crate) async fn serve(listening: Listening) -> usize {
    let Listening { listener, front, server, mut shutdown, tls } = listening;
    let protocol = Arc::new(protocol(&server));
    let slots = Arc::new(Semaphore::new(count(server.connections)));
    let addresses = Arc::new(Addresses::new(count(server.connections_per_address)));
    let patience = Patience {
        head: Duration::from_millis(server.header_timeout_ms),
        idle: Duration::from_millis(server.idle_timeout_ms),
        response: Duration::from_millis(server.response_timeout_ms),
    };
    let mut connections = JoinSet::new();
    loop {
        // At the bound connections wait in the kernel's backlog, where they cost us nothing.
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        // Finished tasks keep their memory until they are joined.
        while connections.try_join_next().is_some() {}
        let Some((stream, client, slot)) = accepted else {
            continue;
        };
        let Some(place) = Addresses::enter(&addresses, client) else {
            // No answer: writing one would be work for a client that already takes too much.
            front.metrics.refused();
            continue;
        };
        let connection = Connection {
            stream,
            client,
            front: Arc::clone(&front),
            protocol: Arc::clone(&protocol),
            patience,
            shutdown: shutdown.clone(),
            tls: tls.clone(),
        };
        connections.spawn(async move {
            connection.run().await;
            drop((slot, place));
        });
    }
    drop(listener);
    let drain_deadline = Duration::from_millis(server.drain_deadline_ms);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain_deadline, drained).await.is_ok() {
        return 0;
    }
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

/// How HTTP is spoken: every bound that hyper itself enforces.
fn protocol(server: &Server) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        // Without a timer hyper enforces no time-out at all.
        .timer(TokioTimer::new())
        // To hyper, idling between requests is waiting for a head too; what a begun head may take
        // is the watch's business.
        .header_read_timeout(Duration::from_millis(server.idle_timeout_ms))
        .max_headers(count(server.headers))
        // A head over this is 431.
        .max_buf_size(count(server.header_bytes));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(server.streams).unwrap_or(u32::MAX))
        .max_header_list_size(u32::try_from(server.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

/// The next connection, once there is a slot for it. `None` after an error that has been dealt
/// with.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, client)) => {
            // Answers are written in one go; waiting for more to send only delays them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection was gone before it was served");
                return None;
            }
            Some((stream, client.ip().to_canonical(), slot))
        }
        Err(error) if is_the_clients(&error) => None,
        Err(error) => {
            tracing::warn!(%error, rest = ?ACCEPT_REST, "cannot accept connections for a moment");
            tokio::time::sleep(ACCEPT_REST).await;
            None
        }
    }
}

/// Whether accepting failed because of that one client, who has gone.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connection {
    stream: TcpStream,
    client: IpAddr,
    front: Arc<Front>,
    protocol: Arc<Builder<TokioExecutor>>,
    patience: Patience,
    shutdown: Shutdown,
    tls: Option<Tls>,
}

impl Connection {
    async fn run(self) {
        let Self { stream, client, front, protocol, patience, mut shutdown, tls } = self;
        let _open = front.metrics.connection();
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let accepted = tokio::select! {
                    accepted = tls.accept(stream, client, patience.head) => accepted,
                    () = shutdown.requested() => None,
                };
                // Who was refused has been told, counted and logged.
                let Some(stream) = accepted else { return };
                stream
            }
        };
        let activity = Arc::new(Activity::default());
        let flush = FlushNotifier::default();
        let watch = flush.watch();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(watch.clone());
            let front = Arc::clone(&front);
            let mut busy = Activity::begin(&activity, request.version());
            let one_by_one = request.version() < Version::HTTP_2;
            async move {
                let health = front.health.clone();
                let (mut response, permit) = answer(front, request.map(Body::new), client).await;
                // An idle connection that is closed crosses the request that comes just then; who
                // is told beforehand sends none. HTTP/2 has a frame for it, which comes at the end.
                if one_by_one && health.is_draining() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                // A stream is read for as long as its reader likes.
                if response.extensions().get::<Streaming>().is_none() {
                    busy.respond();
                }
                Ok::<_, Infallible>(response.map(|body| Tracked { body, _held: (busy, permit) }))
            }
        });
        let stream = Watched { stream, activity: Arc::clone(&activity), flush };
        let mut http = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let mut closing = false;
        loop {
            tokio::select! {
                ended = http.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%client, error, "a connection ended early");
                    }
                    return;
                }
                () = shutdown.requested(), if !closing => {
                    closing = true;
                    http.as_mut().graceful_shutdown();
                }
                verdict = activity.watch(patience) => match verdict {
                    Verdict::Close if !closing => {
                        closing = true;
                        http.as_mut().graceful_shutdown();
                    }
                    // A second time means that the client does not take the hint.
                    Verdict::Close | Verdict::Cut => return,
                },
            }
        }
    }
}

/// A response's body that holds its request's places until it is out.
#[derive(Debug)]
struct Tracked {
    body: Body,
    _held: (Busy, Option<OwnedSemaphorePermit>),
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How many connections each address has open.
#[derive(Debug)]
struct Addresses {
    each_max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    fn new(each_max: usize) -> Self {
        Self { each_max, open: Mutex::default() }
    }

    /// A place for one more connection of this address, `None` at its bound.
    fn enter(this: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // No code that holds the lock can panic.
        let mut open = this.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.entry(address).or_default();
        // An entry of 0 is never left behind: the bound is at least 1.
        if *number >= this.each_max {
            return None;
        }
        *number += 1;
        Some(Place { addresses: Arc::clone(this), address })
    }
}

#[derive(Debug)]
struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = open.get_mut(&self.address) {
            *number -= 1;
            if *number == 0 {
                open.remove(&self.address);
            }
        }
    }
}
