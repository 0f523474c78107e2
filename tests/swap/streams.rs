//! A swap waits for requests and not for streams, which end on the generation they began on.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use pillion_host::{Host, RouteTable, SwapRequest};
use pillion_tests::build;
use pillion_tests::client::Client;
use pillion_tests::rig::{host, plugin, single};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The host's deadline is 5 s; what waits for a stream takes that long.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How long `/slow` thinks.
const SLOW: Duration = Duration::from_secs(1);

/// Two bytes at once, and the rest never.
async fn endless() -> Body {
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"a\n"))]);
    Body::from_stream(futures_util::StreamExt::chain(first, stream::pending()))
}

async fn slow() -> &'static str {
    tokio::time::sleep(SLOW).await;
    "slow\n"
}

fn stamped(stamp: u64) -> SwapRequest {
    SwapRequest { config: Some(json!({ "stamp": stamp })), ..SwapRequest::default() }
}

async fn swap(host: &Host, stamp: u64) -> (pillion_host::GenerationInfo, Duration) {
    let host = host.clone();
    let began = Instant::now();
    let swap = tokio::task::spawn_blocking(move || host.swap("mine", stamped(stamp)));
    (swap.await.expect("no panic").expect("a swap"), began.elapsed())
}

/// Opens the stream; its head and the socket, on which it goes on.
async fn open(address: std::net::SocketAddr) -> (String, TcpStream) {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut text = String::new();
    while !text.contains("a\n\r\n") {
        let mut bytes = [0; 1_024];
        let length = socket.read(&mut bytes).await.expect("an answer");
        assert!(length > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    (text, socket)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_waits_for_requests_and_not_for_streams() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(&folder);
    let witness = plugin(build::fixture("witness"), json!({ "stamp": 1 }), &[]);
    let first = host.start(single(witness)).expect("it is activated").generation;
    let app = Router::new()
        .route("/stream", get(endless))
        .route("/slow", get(slow))
        .fallback(|| async { "the handler\n" })
        .layer(host.layer("app", RouteTable::default()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    let client = Client::new(format!("http://{address}"));

    let (head, stream) = open(address).await;
    assert!(head.contains(&format!("x-witness: 1/{first} 1/{first}")), "{head}");
    let (info, took) = swap(&host, 2).await;
    assert_eq!((info.still_draining, info.streams), (0, 1));
    assert!(took < AT_ONCE, "{took:?}");
    let answer = client.get("/").send().await.expect(200);
    let second = info.generation;
    assert_eq!(answer.header("x-witness"), format!("2/{second} 2/{second}"));

    // What is under way is waited for, whatever streams.
    let (_, other) = open(address).await;
    let slow = {
        let client = client.clone();
        tokio::spawn(async move { client.get("/slow").send().await.expect(200) })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (info, took) = swap(&host, 3).await;
    assert_eq!((info.still_draining, info.streams), (0, 1));
    assert!(took > Duration::from_millis(200) && took < AT_ONCE, "{took:?}");
    let answer = slow.await.expect("no panic");
    assert_eq!(answer.header("x-witness"), format!("2/{second} 2/{second}"), "on one generation");

    // A stream that has ended is gone from its generation, and a swap finds none.
    drop((stream, other));
    let (info, _) = swap(&host, 4).await;
    assert_eq!((info.still_draining, info.streams), (0, 0));
    server.abort();
}
