//! The server over real sockets: every bound is met by a client that oversteps it.

mod edge;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pillion_chassis::Shutdown;
use pillion_chassis::service::ShutdownTrigger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// How long `/slow` takes.
const SLOW: Duration = Duration::from_millis(500);

/// More than the buffers of a connection take.
pub(super) const LARGE_BYTES: usize = 8 << 20;

pub(super) struct Running {
    pub(super) address: std::net::SocketAddr,
    pub(super) metrics: Arc<ProcessMetrics>,
    serving: watch::Sender<bool>,
    trigger: ShutdownTrigger,
    server: JoinHandle<usize>,
}

impl Running {
    /// A series of the metrics page.
    pub(super) fn metric(&self, series: &str) -> u64 {
        let page = self.metrics.page(&[]);
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} is not in {page}")).parse().unwrap()
    }
}

/// What the auth plugin does: whose the request is.
async fn authenticate(mut request: Request, next: Next) -> Response {
    if let Some(user_id) = request.headers().get("x-user") {
        let user_id = Some(user_id.to_str().unwrap().to_owned());
        let caller =
            pillion_host::Caller { user_id, client_id: "app".to_owned(), scopes: String::new() };
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

/// An endless response: lines as fast as they are read, or none at all.
fn stream_of(lines: impl Stream<Item = &'static str> + Send + 'static) -> Response {
    let lines = lines.map(Ok::<_, std::convert::Infallible>);
    (axum::Extension(Streaming), Body::from_stream(lines)).into_response()
}

pub(super) async fn start(server: Server) -> Running {
    let metrics = Arc::<ProcessMetrics>::default();
    let streams = Arc::new(Streams::new(&server, Arc::clone(&metrics)));
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route(
            "/id",
            get(|request: Request| async move {
                let id = request.extensions().get::<RequestId>().map(|id| id.0.to_string());
                let client = request.extensions().get::<ClientAddress>().map(|it| it.0.to_string());
                format!("{id:?} {client:?}")
            }),
        )
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(SLOW).await;
                "done"
            }),
        )
        // What a plugin does that refuses: the body is nobody's business.
        .route("/refuse", post(|| async { StatusCode::UNAUTHORIZED }))
        .route("/large", get(|| async { vec![b'x'; LARGE_BYTES] }))
        .route(
            "/echo",
            post(|body: Bytes| async move { body })
                .layer(from_fn_with_state(Bounds::of(&server), body::collect)),
        )
        .route("/lines", get(|| async { stream_of(stream::repeat("line\r\n")) }))
        .route("/silence", get(|| async { stream_of(stream::pending()) }))
        .route("/panic", get(|| async { panic!("on purpose") as () }))
        .layer(from_fn_with_state(Some(streams), introduce_caller))
        .layer(from_fn(authenticate));
    start_router(router, server, metrics).await
}

pub(super) async fn start_router(
    router: Router,
    server: Server,
    metrics: Arc<ProcessMetrics>,
) -> Running {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    // What the senders said last stays.
    let (serving, is_serving) = watch::channel(true);
    let databases = watch::channel(true).1;
    let health = Health { serving: is_serving, databases, workers: WorkerBoard::default() };
    let front = Front::new(router, &server, health, Arc::clone(&metrics)).unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let proxies = server.proxies();
    let listening =
        Listening { listener, front: Arc::new(front), server, shutdown, tls: None, proxies };
    Running { address, metrics, serving, trigger, server: tokio::spawn(serve(listening)) }
}

/// Bounds that a test reaches in no time.
pub(super) fn quick() -> Server {
    Server { header_timeout_ms: 200, idle_timeout_ms: 1_000, ..Server::default() }
}

pub(super) async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address).await.unwrap()
}

/// Sends bytes and reads what comes until the server closes or falls silent for a second.
pub(super) async fn exchange(stream: &mut TcpStream, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    read(stream).await
}

pub(super) async fn read(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(Ok(length)) =
        tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await
    {
        if length == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(text).unwrap()
}

/// Reads one answer without a body's end being in doubt: all of ours are short.
pub(super) async fn answer_to(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 4_096];
    let length = stream.read(&mut buffer).await.unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// Whether the server has closed, and after how long.
pub(super) async fn closed(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut buffer = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
    // A reset closes too.
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "still open: {read:?}");
    begun.elapsed()
}

const CLOSING: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered_with_its_id_and_address() {
    let running = start(quick()).await;
    let mut stream = connect(&running).await;
    let text = exchange(
        &mut stream,
        "GET /id HTTP/1.1\r\nhost: x\r\nx-request-id: abc\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("x-request-id: abc"), "{text}");
    assert!(text.contains("Some(\"abc\") Some(\"127.0.0.1\")"), "{text}");
}

#[tokio::test]
async fn http2_is_spoken_too() {
    let running = start(quick()).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let uri = format!("http://{}/", running.address);
    let request = http::Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn slow_heads_are_cut_and_patient_clients_are_not() {
    let running = start(quick()).await;
    let mut silent = connect(&running).await;
    let mut dawdling = connect(&running).await;
    dawdling.write_all(b"GET / HTT").await.unwrap();
    let mut preface = connect(&running).await;
    preface.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    for stream in [&mut silent, &mut dawdling, &mut preface] {
        assert!(closed(stream).await < Duration::from_secs(1));
    }
    // Longer between requests than a head may take, and shorter than idling may.
    let mut patient = connect(&running).await;
    assert!(answer_to(&mut patient, "/").await.contains("hello"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(answer_to(&mut patient, "/").await.contains("hello"));
    patient.write_all(b"GET ").await.unwrap();
    assert!(closed(&mut patient).await < Duration::from_millis(700));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let running = start(quick()).await;
    let mut stream = connect(&running).await;
    answer_to(&mut stream, "/").await;
    let idled = closed(&mut stream).await;
    assert!(idled > Duration::from_millis(700) && idled < Duration::from_secs(2), "{idled:?}");
}

#[tokio::test]
async fn large_heads_are_refused() {
    let running = start(quick()).await;
    let many = "x: 1\r\n".repeat(100);
    let large = format!("x: {}\r\n", "a".repeat(20_000));
    for headers in [many, large] {
        let mut stream = connect(&running).await;
        let text = exchange(&mut stream, &format!("GET / HTTP/1.1\r\n{headers}\r\n")).await;
        assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    }
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let running = start(Server { connections_per_address: 2, ..quick() }).await;
    let mut first = connect(&running).await;
    let mut second = connect(&running).await;
    answer_to(&mut first, "/").await;
    answer_to(&mut second, "/").await;
    let mut third = connect(&running).await;
    closed(&mut third).await;
    drop(first);
    // The place is free as soon as the server has seen the end.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut fourth = connect(&running).await;
    assert!(answer_to(&mut fourth, "/").await.contains("hello"));
}

#[tokio::test]
async fn requests_over_the_bound_are_shed_at_once() {
    let running = start(Server { requests: 1, ..Server::default() }).await;
    let mut busy = connect(&running).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    let mut other = connect(&running).await;
    let text = answer_to(&mut other, "/").await;
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("retry-after: 1"), "{text}");
    assert!(begun.elapsed() < SLOW / 2);
    assert!(answer_to(&mut other, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(read(&mut busy).await.contains("done"));
    assert!(answer_to(&mut other, "/").await.contains("hello"));
}

/// An HTTP/2 frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn a_response_that_is_not_read_is_cut_and_holds_no_permit() {
    const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
    let server = Server { requests: 2, response_timeout_ms: 500, ..quick() };
    let running = start(server).await;
    let mut greedy = connect(&running).await;
    greedy.write_all(&http2_requests(2, "/")).await.unwrap();
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut other = connect(&running).await;
    assert!(answer_to(&mut other, "/").await.contains("hello"));
    // Everything that comes until the end: settings and two heads.
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), greedy.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "still open");
    let took = begun.elapsed();
    assert!(took >= RESPONSE_TIMEOUT && took < RESPONSE_TIMEOUT * 3, "{took:?}");
}

/// A client's side of HTTP/2 that asks for a path and lets no byte of a body be sent.
pub(super) fn http2_requests(requests: u32, path: &str) -> Vec<u8> {
    /// Identifier 4, `SETTINGS_INITIAL_WINDOW_SIZE`, as 0.
    const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &NO_WINDOW));
    for request in 0..requests {
        bytes.extend(frame(1, 5, request * 2 + 1, &http2_head(path)));
    }
    bytes
}

/// `GET`, `http`, and `:authority: x` and the path as literals of HPACK.
pub(super) fn http2_head(path: &str) -> Vec<u8> {
    let mut head = b"\x82\x86\x01\x01x\x04".to_vec();
    head.push(u8::try_from(path.len()).unwrap());
    head.extend_from_slice(path.as_bytes());
    head
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_writing() {
    let running = start(quick()).await;
    let mut stream = connect(&running).await;
    let body = "x".repeat(60_000);
    for _ in 0..2 {
        let head =
            format!("POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        for part in body.as_bytes().chunks(4_096) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            stream.write_all(part).await.unwrap();
        }
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        assert!(text.starts_with("HTTP/1.1 401"), "{text}");
    }
    // And over HTTP/2, where the connection lives on too.
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    for _ in 0..2 {
        let uri = format!("http://{}/refuse", running.address);
        let body = Full::new(Bytes::from(vec![b'x'; 300_000]));
        let response = client.request(http::Request::post(uri).body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_a_body_that_may_never_come() {
    let running = start(quick()).await;
    let ask = async |header: &str| {
        let mut stream = connect(&running).await;
        let head = format!("POST /refuse HTTP/1.1\r\nhost: x\r\n{header}content-length: 9\r\n\r\n");
        let begun = Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with("HTTP/1.1 401"), "{text}");
        begun.elapsed()
    };
    // Who asks first has sent nothing that would have to be read.
    assert!(ask("expect: 100-continue\r\n").await < Duration::from_millis(500));
    assert!(ask("").await < Duration::from_secs(4));
}

#[tokio::test]
async fn a_panic_ends_one_request_only() {
    let running = start(quick()).await;
    let mut stream = connect(&running).await;
    let text = answer_to(&mut stream, "/panic").await;
    assert!(text.starts_with("HTTP/1.1 500") && !text.contains("on purpose"), "{text}");
    assert!(answer_to(&mut stream, "/").await.contains("hello"));
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_takes_no_new_ones() {
    let running = start(quick()).await;
    let mut idle = connect(&running).await;
    answer_to(&mut idle, "/").await;
    let mut busy = connect(&running).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.trigger.request();
    assert!(closed(&mut idle).await < Duration::from_millis(300));
    assert!(read(&mut busy).await.contains("done"));
    assert_eq!(running.server.await.unwrap(), 0);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn before_it_closes_connections_it_answers_each_of_them_a_last_time() {
    let running = start(quick()).await;
    let mut kept = connect(&running).await;
    assert!(!answer_to(&mut kept, "/").await.contains("connection: close"));
    running.serving.send_replace(false);
    let last = exchange(&mut kept, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(last.contains("connection: close") && last.ends_with("hello"), "{last}");
    // Whoever comes all the same is answered.
    let mut late = connect(&running).await;
    assert!(answer_to(&mut late, "/").await.ends_with("hello"));
    running.trigger.request();
    assert_eq!(running.server.await.unwrap(), 0);
}

#[tokio::test]
async fn a_drains_deadline_cuts() {
    let running = start(Server { drain_deadline_ms: 100, ..quick() }).await;
    let mut busy = connect(&running).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.trigger.request();
    assert_eq!(running.server.await.unwrap(), 1);
    assert_eq!(read(&mut busy).await, "");
}

#[tokio::test]
async fn a_busy_connection_keeps_its_place_and_an_idle_one_does_not() {
    let running = start(Server { connections: 1, ..quick() }).await;
    let mut first = connect(&running).await;
    first.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut second = connect(&running).await;
    second.write_all(CLOSING.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), second.readable()).await;
    assert!(early.is_err(), "answered past the limit");
    // The first is answered, and then makes room.
    assert!(read(&mut first).await.contains("done"));
    assert!(read(&mut second).await.contains("hello"));
    assert_eq!(running.metric("pillion_connections_cut_total{reason=\"evicted\"}"), 1);
}

#[test]
fn a_clients_id_is_kept_only_when_it_is_harmless_in_a_log() {
    let ids = RequestIds::new().unwrap();
    let kept = HeaderValue::from_static("8a6e0804-2bd0-4672-b79d-d97027f9071a");
    assert_eq!(ids.of(Some(&kept)), kept);
    let long = HeaderValue::try_from("a".repeat(65)).unwrap();
    for odd in [HeaderValue::from_static(""), HeaderValue::from_static("a b"), long] {
        let made = ids.of(Some(&odd));
        assert_eq!(made.len(), 25, "{made:?}");
    }
    assert_ne!(ids.of(None), ids.of(None));
}

#[test]
fn readiness_follows_its_signals_and_health_does_not() {
    let (serving, is_serving) = watch::channel(false);
    let (databases, are_well) = watch::channel(true);
    let workers = WorkerBoard::default();
    let health = Health { serving: is_serving, databases: are_well, workers };
    let status = |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        health.answer(&request).map(|response| response.status().as_u16())
    };
    assert_eq!((status("/healthz"), status("/readyz")), (Some(200), Some(503)));
    serving.send(true).unwrap();
    assert_eq!((status("/readyz"), status("/2/tweets")), (Some(200), None));
    databases.send(false).unwrap();
    assert_eq!((status("/healthz"), status("/readyz")), (Some(200), Some(503)));
}
