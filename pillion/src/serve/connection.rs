//! Accepts connections and drives each one: bounds on how many, on idling, and a drain with a
//! deadline.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use pillion_chassis::Shutdown;
use pillion_chassis::answer::Streaming;
use pillion_chassis::tls::{Stream, Tls};
use pillion_host::FlushNotifier;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::addresses::{Address, AddressPlace, Addresses, Resource};
use super::client_address::Proxies;
use super::connections::{Connections, Entered, GOODBYE_TIME_MAX, Slot};
use super::idle::{Activity, Busy, Patience, Verdict, Watched};
use super::refusals::{self, Refusal};
use super::response::{Held, Tracked};
use super::streams::{StreamPlace, pump};
use super::{Front, answer, count, proxy_protocol};
use crate::config::Server;

/// An HTTP/2 peer that is gone without a word is noticed after the sum of these two.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What one HTTP/2 stream may have unsent in memory; most answers are smaller.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;

/// How long accepting rests when the process is out of descriptors or memory: long enough for
/// some connection to end, short enough for a client's patience.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// How long a new connection waits for a place when all are taken and none is idle.
const ENTER_PATIENCE: Duration = Duration::from_secs(1);

/// A client whose network has failed is noticed by TCP itself: it is probed when nothing came for
/// this long, then in this interval, so many times. Its streams have no other sign of it.
const TCP_PROBE_AFTER: Duration = Duration::from_secs(15);
const TCP_PROBE_INTERVAL: Duration = Duration::from_secs(5);
const TCP_PROBES: u32 = 3;

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
    /// Who may say which client a connection or request is of.
    pub(crate) proxies: Proxies,
}

/// Serves until shutdown, then lets what is in flight finish within the drain's deadline and
/// cuts the rest. Gives the number of connections that were cut.
pub(crate) async fn serve(listening: Listening) -> usize {
    let Listening { listener, front, server, mut shutdown, tls, proxies } = listening;
    let protocol = Arc::new(protocol(&server));
    let open = Arc::new(Connections::new(count(server.connections)));
    let patience = Patience {
        head: Duration::from_millis(server.header_timeout_ms),
        idle: Duration::from_millis(server.idle_timeout_ms),
        response: Duration::from_millis(server.response_timeout_ms),
        write: Duration::from_millis(server.write_timeout_ms),
    };
    let mut log = tokio::time::interval(refusals::LOG_INTERVAL);
    log.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            _ = log.tick() => {
                front.metrics.refusals.log();
                continue;
            }
            accepted = accept(&listener, patience.write) => accepted,
        };
        // Finished tasks keep their memory until they are joined.
        while connections.try_join_next().is_some() {}
        let Some((stream, client)) = accepted else {
            continue;
        };
        let refusals = &front.metrics.refusals;
        // A proxy's connections are of many clients, which have limits of their own.
        let address =
            if proxies.trusts(client) { Addresses::unlimited() } else { front.address_of(client) };
        let Some(place) = address.take(Resource::Connections) else {
            // No answer: writing one would be work for a client that already takes too much.
            refusals.count(Refusal::ConnectionAddressLimit);
            continue;
        };
        let entered = tokio::select! {
            () = shutdown.requested() => break,
            entered = open.enter(ENTER_PATIENCE) => entered,
        };
        let slot = match entered {
            Some(Entered::Free(slot)) => slot,
            Some(Entered::Evicted(slot)) => {
                refusals.count(Refusal::ConnectionEvicted);
                slot
            }
            None => {
                refusals.count(Refusal::ConnectionLimit);
                continue;
            }
        };
        let connection = Connection {
            stream,
            client,
            address,
            slot,
            front: Arc::clone(&front),
            protocol: Arc::clone(&protocol),
            patience,
            shutdown: shutdown.clone(),
            tls: tls.clone(),
            proxies: proxies.clone(),
        };
        connections.spawn(async move {
            connection.run().await;
            drop(place);
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

/// The next connection. `None` after an error that has been dealt with.
async fn accept(listener: &TcpListener, write_timeout: Duration) -> Option<(TcpStream, IpAddr)> {
    match listener.accept().await {
        Ok((stream, client)) => {
            if let Err(error) = tune(&stream, write_timeout) {
                tracing::debug!(%error, "a connection was gone before it was served");
                return None;
            }
            Some((stream, client.ip().to_canonical()))
        }
        Err(error) if is_the_clients(&error) => None,
        Err(error) => {
            tracing::warn!(%error, rest = ?ACCEPT_REST, "cannot accept connections for a moment");
            tokio::time::sleep(ACCEPT_REST).await;
            None
        }
    }
}

/// Sets what TCP does by itself: send at once, and notice a client that is gone.
pub(super) fn tune(stream: &TcpStream, write_timeout: Duration) -> io::Result<()> {
    // Answers are written in one go; waiting for more to send only delays them.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(TCP_PROBE_AFTER)
        .with_interval(TCP_PROBE_INTERVAL)
        .with_retries(TCP_PROBES);
    socket.set_tcp_keepalive(&probes)?;
    // What is sent must be acknowledged, and a window that is closed must open, within this.
    socket.set_tcp_user_timeout(Some(write_timeout))
}

/// Whether accepting failed because of that one client, who has gone.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connection {
    stream: TcpStream,
    client: IpAddr,
    address: Arc<Address>,
    slot: Slot,
    front: Arc<Front>,
    protocol: Arc<Builder<TokioExecutor>>,
    patience: Patience,
    shutdown: Shutdown,
    tls: Option<Tls>,
    proxies: Proxies,
}

impl Connection {
    async fn run(mut self) {
        let Ok(_place) = self.read_proxy_header().await else { return };
        let Self { stream, client, address, slot, front, proxies, .. } = self;
        let activity = Arc::clone(slot.activity());
        let Self { protocol, patience, mut shutdown, tls, .. } = self;
        let _open = front.metrics.connection();
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let accepted = tokio::select! {
                    accepted = tls.accept(stream, client, patience.head) => accepted,
                    () = shutdown.requested() => None,
                    () = slot.evicted() => None,
                };
                // Who was refused has been told, counted and logged.
                let Some(stream) = accepted else { return };
                stream
            }
        };
        let flush = FlushNotifier::default();
        let watch = flush.watch();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(watch.clone());
            front.metrics.hint_at_proxies(client, &proxies, request.headers());
            let (client, address) = if proxies.trusts(client) {
                let client = proxies.client_of(client, request.headers());
                (client, front.address_of(client))
            } else {
                (client, Arc::clone(&address))
            };
            let front = Arc::clone(&front);
            let (activity, version) = (Arc::clone(&activity), request.version());
            let busy = Activity::begin(&activity, version);
            async move {
                let is_draining = front.health.is_draining();
                let (mut response, held) =
                    answer(front, request.map(Body::new), client, &address).await;
                // An idle connection that is closed crosses the request that comes just then; who
                // is told beforehand sends none. HTTP/2 has a frame for it, which comes at the end.
                if version < Version::HTTP_2 && is_draining {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(send(response, busy, held, activity, version, patience))
            }
        });
        let stream = Watched { stream, activity: Arc::clone(&activity), flush };
        let mut http = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let mut closing = false;
        let mut cut_at: Option<Instant> = None;
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
                () = slot.evicted(), if cut_at.is_none() => {
                    // HTTP/2 says goodbye and waits for an answer; another connection waits for
                    // the place.
                    cut_at = Some(Instant::now() + GOODBYE_TIME_MAX);
                    if !closing {
                        closing = true;
                        http.as_mut().graceful_shutdown();
                    }
                }
                () = tokio::time::sleep_until(cut_at.unwrap_or_else(Instant::now)),
                    if cut_at.is_some() => return,
                verdict = activity.watch(patience) => match verdict {
                    Verdict::Close if !closing => {
                        closing = true;
                        http.as_mut().graceful_shutdown();
                    }
                    Verdict::Stalled => {
                        front.metrics.refusals.count(Refusal::ConnectionStalled);
                        return;
                    }
                    Verdict::Flooded => {
                        front.metrics.refusals.count(Refusal::ConnectionFlooded);
                        return;
                    }
                    // A second time means that the client does not take the hint.
                    Verdict::Close | Verdict::Cut => return,
                },
            }
        }
    }
}

/// A response as the connection sends it: a stream is read by a task of its own, and anything else
/// must be taken within a time.
fn send(
    mut response: Response,
    mut busy: Busy,
    held: Held,
    activity: Arc<Activity>,
    version: Version,
    patience: Patience,
) -> http::Response<Tracked> {
    if response.extensions().get::<Streaming>().is_some() {
        busy.stream();
        let place = response.extensions_mut().remove::<Arc<StreamPlace>>();
        response = response.map(|body| pump(body, place, patience.write, activity));
    } else {
        busy.respond();
    }
    let is_http2 = version == Version::HTTP_2;
    response.map(|body| Tracked::new(body, busy, held, is_http2))
}

impl Connection {
    /// Reads the PROXY protocol header where there must be one: from then on the connection is its
    /// client's, with a place among those of that address. An error when it is to be closed.
    async fn read_proxy_header(&mut self) -> Result<Option<AddressPlace>, ()> {
        if !self.proxies.expects_header_from(self.client) {
            return Ok(None);
        }
        let read = tokio::select! {
            read = proxy_protocol::read(&mut self.stream, self.patience.head) => read,
            () = self.shutdown.requested() => return Err(()),
            () = self.slot.evicted() => return Err(()),
        };
        let refusals = &self.front.metrics.refusals;
        match read {
            Ok(Some(client)) if !self.proxies.trusts(client) => {
                self.client = client;
                self.address = self.front.address_of(client);
                let place = self.address.take(Resource::Connections);
                if place.is_none() {
                    refusals.count(Refusal::ConnectionAddressLimit);
                }
                place.map(Some).ok_or(())
            }
            // Another proxy, or the proxy's own connection: a health check.
            Ok(client) => {
                self.client = client.unwrap_or(self.client);
                Ok(None)
            }
            Err(error) => {
                tracing::debug!(proxy = %self.client, %error, "invalid PROXY protocol header");
                refusals.count(Refusal::ConnectionProxyHeader);
                Err(())
            }
        }
    }
}
