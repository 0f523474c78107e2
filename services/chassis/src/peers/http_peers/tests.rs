//! Calls over real sockets to peers that are slow, dead, flapping, half-open, or full.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::peers::{Onward, body_of};
use crate::service::Shutdown;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const RESTING: &str =
    "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 4\r\n\r\nrest";
const NOT_READY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// What a peer does with a request.
enum Deed {
    /// Writes this.
    Answer(&'static str),
    /// Closes the connection without a word.
    Break,
    /// Keeps the connection and says nothing.
    Hang,
}

type Behaviour = dyn Fn(&str, usize) -> Deed + Send + Sync;

/// A peer written by hand, for one on a real server is too well-behaved.
struct Peer {
    address: String,
    /// `METHOD PATH` of all requests but health checks.
    requests: Arc<Mutex<Vec<String>>>,
    /// Connections that are open now.
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// A peer that does what `deed` says for the path and the number of requests before.
    async fn start(deed: impl Fn(&str, usize) -> Deed + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", deed).await
    }

    async fn start_at(
        address: &str,
        deed: impl Fn(&str, usize) -> Deed + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(AtomicUsize::new(0));
        let deed: Arc<Behaviour> = Arc::new(deed);
        let (noted, counted) = (Arc::clone(&requests), Arc::clone(&open));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (noted, counted) = (Arc::clone(&noted), Arc::clone(&counted));
                let deed = Arc::clone(&deed);
                connections.spawn(async move {
                    counted.fetch_add(1, Ordering::SeqCst);
                    converse(stream, &noted, &*deed).await;
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, requests, open, task }
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

/// Serves one connection until it is closed or broken.
async fn converse(mut stream: TcpStream, noted: &Mutex<Vec<String>>, deed: &Behaviour) {
    let mut received = Vec::new();
    loop {
        while !received.ends_with(b"\r\n\r\n") && !received.ends_with(b"body") {
            match stream.read_buf(&mut received).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let text = String::from_utf8(std::mem::take(&mut received)).unwrap();
        let line = text.split(" HTTP").next().unwrap().to_owned();
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let number = {
            let mut noted = noted.lock().unwrap();
            if path != "/readyz" {
                noted.push(line);
            }
            noted.len()
        };
        match deed(&path, number) {
            Deed::Answer(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            Deed::Break => return,
            Deed::Hang => {
                // Reads on, to notice when the caller is gone.
                while !matches!(stream.read_buf(&mut received).await, Ok(0) | Err(_)) {}
                return;
            }
        }
    }
}

/// Fast enough for a test, slow enough for a busy machine.
fn settings() -> PeerSettings {
    PeerSettings {
        answer_timeout: Duration::from_secs(1),
        health_interval: Duration::from_millis(40),
        health_timeout: Duration::from_millis(100),
        circuit_rest: Duration::from_millis(300),
        ..PeerSettings::default()
    }
}

fn peers_at<'a>(addresses: impl IntoIterator<Item = &'a str>, settings: PeerSettings) -> HttpPeers {
    let addresses =
        addresses.into_iter().map(|address| ("users".to_owned(), format!("http://{address}")));
    HttpPeers::with_settings(addresses, settings, Arc::new(SystemRandom)).unwrap()
}

/// An address at which nobody listens: it was bound and dropped at once.
fn dead_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn call(peers: &HttpPeers, method: Method) -> Result<Response<Body>, PeerError> {
    let body = if method == Method::GET { Body::empty() } else { Body::from("body") };
    let request = Onward::default().request(method, "/a").body(body).unwrap();
    peers.call("users", request).await
}

async fn status(peers: &HttpPeers, method: Method) -> u16 {
    let response = call(peers, method).await.unwrap();
    let status = response.status().as_u16();
    body_of("users", response.into_body()).await.unwrap();
    status
}

/// Waits until something is so.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to be within 2 s");
}

#[tokio::test]
async fn a_service_in_another_process_answers_over_a_kept_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router =
        Router::new().route("/a", get(async |uri: Uri| uri.query().unwrap_or_default().to_owned()));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let peers = HttpPeers::new([("users".to_owned(), format!("http://{address}/"))]).unwrap();
    for _ in 0..2 {
        let request = Onward::default().request(Method::GET, "/a?b=c").body(Body::empty()).unwrap();
        let response = peers.call("users", request).await.unwrap();
        assert_eq!(body_of("users", response.into_body()).await.unwrap(), "b=c");
    }
    server.abort();
    let peer = Peer::start(|_, _| Deed::Answer(OK)).await;
    let peers = peers_at([&*peer.address], settings());
    for _ in 0..5 {
        assert_eq!(status(&peers, Method::GET).await, 200);
    }
    assert_eq!(peer.open.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_service_that_is_down_or_unknown_is_named() {
    let peers = peers_at([&*dead_address()], settings());
    let error = call(&peers, Method::GET).await.unwrap_err();
    assert!(matches!(&error, PeerError::Unreachable { service, .. } if service == "users"));
    let problem = crate::Problem::from(error);
    assert_eq!(problem.status(), 503);
    assert!(problem.document()["detail"].as_str().unwrap().contains("users"));
    let error = peers.call("tweets", Request::new(Body::empty())).await.unwrap_err();
    assert!(matches!(error, PeerError::Unknown(name) if name == "tweets"));
}

#[test]
fn an_address_must_be_one() {
    for address in ["users:80", "https://a", "http://a/b", "", "http://"] {
        let error = HttpPeers::new([("users".to_owned(), address.to_owned())]).unwrap_err();
        assert!(error.to_string().contains("http://HOST:PORT"), "{address}");
    }
}

#[tokio::test]
async fn a_dead_address_costs_no_call_and_soon_no_attempt() {
    let good = Peer::start(|_, _| Deed::Answer(OK)).await;
    let peers = peers_at([&*dead_address(), &good.address], settings());
    for _ in 0..20 {
        // Nothing was sent to the dead one, so even a POST may go to the other.
        assert_eq!(status(&peers, Method::POST).await, 200);
    }
    assert_eq!(good.requests(), 20);
    let addresses = &peers.services["users"];
    assert!((0..4).all(|_| addresses.choose(&[]).unwrap().index() == 1), "the circuit is open");
}

#[tokio::test]
async fn a_slow_address_is_given_up_at_half_time_for_reads_and_never_for_a_post() {
    let slow = Peer::start(|_, _| Deed::Hang).await;
    let good = Peer::start(|_, _| Deed::Answer(OK)).await;
    let peers = peers_at([&*slow.address, &good.address], settings());
    for _ in 0..2 {
        let begun = Instant::now();
        assert_eq!(status(&peers, Method::GET).await, 200);
        assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    }
    let before = slow.requests();
    assert!(before >= 1);

    let peers = peers_at([&*slow.address], settings());
    let error = call(&peers, Method::POST).await.unwrap_err();
    assert!(matches!(error, PeerError::TimedOut(service) if service == "users"));
    assert_eq!(slow.requests(), before + 1);
    // Whoever gave up leaves no connection behind.
    until(|| slow.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_flapping_peer_fails_no_read_and_doubles_no_post() {
    // Every third request finds a connection that breaks after it was sent.
    let peer = Peer::start(|_, number| match number % 3 {
        0 => Deed::Break,
        _ => Deed::Answer(OK),
    })
    .await;
    let peers = peers_at([&*peer.address], settings());
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        for _ in 0..4 {
            assert_eq!(status(&peers, method.clone()).await, 200);
        }
    }
    let before = peer.requests();
    let mut broken = 0;
    for _ in 0..9 {
        broken += u32::from(call(&peers, Method::POST).await.is_err());
    }
    assert_eq!((peer.requests() - before, broken), (9, 3), "each was sent once");
}

#[tokio::test]
async fn repeats_are_at_most_a_fifth_of_the_calls_and_a_few() {
    let broken = Peer::start(|_, _| Deed::Break).await;
    let bounds = PeerSettings { circuit_failures: u32::MAX, ..settings() };
    let peers = Arc::new(peers_at([&*broken.address], bounds));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let peers = Arc::clone(&peers);
            tokio::spawn(async move { call(&peers, Method::GET).await.is_err() })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    let sent = broken.requests();
    assert!((110..=130).contains(&sent), "{sent}");
}

#[tokio::test]
async fn one_call_makes_three_attempts_at_most() {
    let broken = Peer::start(|_, _| Deed::Break).await;
    let peers = peers_at([&*broken.address], settings());
    assert!(call(&peers, Method::GET).await.is_err());
    assert_eq!(broken.requests(), 3);
}

#[tokio::test]
async fn a_half_open_peer_is_found_by_its_health_and_comes_back() {
    // It takes connections and says nothing, as a machine does that hangs.
    let healed = Arc::new(AtomicUsize::new(0));
    let is_healed = Arc::clone(&healed);
    let stuck = Peer::start(move |_, _| match is_healed.load(Ordering::SeqCst) {
        0 => Deed::Hang,
        _ => Deed::Answer(OK),
    })
    .await;
    let good = Peer::start(|_, _| Deed::Answer(OK)).await;
    let peers = peers_at([&*stuck.address, &good.address], settings());
    let (trigger, shutdown) = Shutdown::new();
    let checks = tokio::spawn(peers.health_checks().run(shutdown));
    let addresses = Arc::clone(&peers.services["users"]);
    let only_good = || (0..4).all(|_| addresses.choose(&[]).unwrap().index() == 1);
    until(only_good).await;
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(status(&peers, Method::POST).await, 200);
    }
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(stuck.requests(), 0);
    healed.store(1, Ordering::SeqCst);
    until(|| (0..4).any(|_| addresses.choose(&[]).unwrap().index() == 0)).await;
    trigger.request();
    checks.await.unwrap();
}

#[tokio::test]
async fn an_open_circuit_refuses_at_once_and_a_restarted_peer_is_found_again() {
    let address = dead_address();
    let bounds = PeerSettings { circuit_rest: Duration::from_mins(1), ..settings() };
    let peers = peers_at([&*address], bounds);
    for _ in 0..3 {
        assert!(call(&peers, Method::GET).await.is_err());
    }
    let begun = Instant::now();
    let error = call(&peers, Method::GET).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(50));
    let PeerError::Unreachable { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("failed lately"), "{source}");
    // The circuit's rest would last a minute; a health check that succeeds ends it.
    let peer = Peer::start_at(&address, |_, _| Deed::Answer(OK)).await;
    let (_trigger, shutdown) = Shutdown::new();
    let checks = tokio::spawn(peers.health_checks().run(shutdown));
    until(|| peers.services["users"].choose(&[]).is_ok()).await;
    assert_eq!(status(&peers, Method::POST).await, 200);
    assert_eq!(peer.requests(), 1);
    checks.abort();
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is() {
    let tired = Peer::start(|_, _| Deed::Answer(RESTING)).await;
    let good = Peer::start(|_, _| Deed::Answer(OK)).await;
    let peers = peers_at([&*tired.address, &good.address], settings());
    for _ in 0..20 {
        assert_eq!(status(&peers, Method::GET).await, 200);
    }
    assert_eq!(tired.requests(), 1, "within its second nobody asked again");
    // Alone, its answer is the caller's, with its advice, and is not asked for again.
    let peers = peers_at([&*tired.address], settings());
    let response = call(&peers, Method::GET).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(tired.requests(), 2);
}

#[tokio::test]
async fn what_is_not_ready_gets_calls_only_when_nothing_else_is_there() {
    let starting = |path: &str, _| match path {
        "/readyz" => Deed::Answer(NOT_READY),
        _ => Deed::Answer(OK),
    };
    let peer = Peer::start(starting).await;
    let peers = peers_at([&*peer.address], settings());
    let (_trigger, shutdown) = Shutdown::new();
    let checks = tokio::spawn(peers.health_checks().run(shutdown));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(status(&peers, Method::GET).await, 200);
    checks.abort();
}

#[tokio::test]
async fn streams_count_and_end_when_the_caller_goes_away() {
    /// One while it lives.
    struct Open(Arc<AtomicUsize>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let router = Router::new().route(
        "/a",
        get(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let open = Open(Arc::clone(&counted));
            let line = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"line\r\n"))]);
            Body::from_stream(line.chain(stream::once(async move {
                let _open = open;
                pending().await
            })))
        }),
    );
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let peers = peers_at([&*address], PeerSettings { connections_max: 1, ..settings() });
    let mut body = call(&peers, Method::GET).await.unwrap().into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "line\r\n");
    let error = call(&peers, Method::GET).await.unwrap_err();
    let PeerError::Unreachable { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("as many calls as may be"), "{source}");
    assert_eq!(open.load(Ordering::SeqCst), 1);
    drop(body);
    until(|| open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(call(&peers, Method::GET).await.unwrap().status(), 200);
    server.abort();
}
