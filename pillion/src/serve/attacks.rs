//! What one address tries against all others, over real sockets: the attacker is 127.0.0.2 and
//! more, and whoever must not notice is 127.0.0.1.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::tests::{
    LARGE_BYTES, Running, answer_to, closed, connect, http2_requests, quick, read, start,
};
use super::*;

const ATTACKER: u8 = 2;

/// What a test waits for at most until something has come true.
const PATIENCE: Duration = Duration::from_secs(10);

/// Generous, for many tests run at once; what is blocked by an attack waits for seconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// A connection from 127.0.0.`host`.
async fn connect_from(running: &Running, host: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0))).unwrap();
    socket.connect(running.address).await.unwrap()
}

/// Another client is answered, each time and at once: on a new connection and on one that it has.
async fn others_are_served(running: &Running) {
    let mut kept = connect(running).await;
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = answer_to(&mut kept, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let mut new = connect(running).await;
        let answer = answer_to(&mut new, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(begun.elapsed() < ANSWER_TIME_MAX, "{:?}", begun.elapsed());
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn s01_responses_that_are_not_read_cost_only_their_own_client() {
    let server = Server { requests: 64, requests_per_address: 48, ..Server::default() };
    let running = start(server).await;
    let mut attack = Vec::new();
    for _ in 0..20 {
        let mut stream = connect_from(&running, ATTACKER).await;
        stream.write_all(&http2_requests(64, "/")).await.unwrap();
        attack.push(stream);
    }
    others_are_served(&running).await;
    // All were answered as far as the client lets them be, and none of them holds a permit.
    for stream in &mut attack {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
    }
    others_are_served(&running).await;
}

#[tokio::test]
async fn s01_bytes_that_an_address_does_not_read_are_limited() {
    let limit = 3 * LARGE_BYTES as u64;
    let running = start(Server { unread_bytes_per_address: limit, ..Server::default() }).await;
    let mut unread = connect_from(&running, ATTACKER).await;
    unread.write_all(&http2_requests(3, "/large")).await.unwrap();
    let shed = "pillion_requests_shed_total{reason=\"unread_bytes\"}";
    let begun = Instant::now();
    // Until all three are in memory, further requests are answered.
    loop {
        let answer = answer_to(&mut connect_from(&running, ATTACKER).await, "/").await;
        if answer.starts_with("HTTP/1.1 429") {
            assert!(answer.contains("retry-after: 1"), "{answer}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer}");
    }
    assert!(running.metric(shed) > 0);
    others_are_served(&running).await;
    drop(unread);
    let begun = Instant::now();
    while !answer_to(&mut connect_from(&running, ATTACKER).await, "/").await.contains(" 200 ") {
        assert!(begun.elapsed() < PATIENCE, "the bytes still count after the connection's end");
    }
}

#[tokio::test]
async fn s01_a_response_that_is_read_slowly_arrives_whole() {
    let running = start(quick()).await;
    let mut stream = connect(&running).await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    while bytes.len() < LARGE_BYTES {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "cut after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..length]);
    }
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let left = LARGE_BYTES - (bytes.len() - head);
    stream.read_exact(&mut buffer[..left]).await.unwrap();
}

/// Limits that streams reach soon.
fn few_streams() -> Server {
    Server {
        live_streams: 4,
        live_streams_per_address: 3,
        live_streams_per_account: 2,
        write_timeout_ms: 300,
        ..quick()
    }
}

const STREAMS: &str = "pillion_streams";
const STALLED: &str = "pillion_connections_cut_total{reason=\"stalled\"}";

/// Asks for a stream, and gives the head of the answer.
async fn open_stream(stream: &mut TcpStream, user: &str) -> String {
    let request = format!("GET /silence HTTP/1.1\r\nhost: x\r\nx-user: {user}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 4_096];
    let length = stream.read(&mut buffer).await.unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test]
async fn s02_streams_have_limits_by_address_account_and_process() {
    let running = start(few_streams()).await;
    let mut open = Vec::new();
    let attempts = [
        (2, "7", "200"),
        (2, "7", "200"),
        (2, "7", "429"),
        (2, "8", "200"),
        (2, "9", "429"),
        (3, "9", "200"),
        (4, "10", "503"),
    ];
    for (host, user, status) in attempts {
        let mut stream = connect_from(&running, host).await;
        let answer = open_stream(&mut stream, user).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host} {user}: {answer}");
        assert!(status == "200" || answer.contains("retry-after: 10"), "{answer}");
        open.push(stream);
    }
    for reason in ["address_limit", "account_limit", "stream_limit"] {
        let series = format!("pillion_streams_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(running.metric(&series), 1, "{reason}");
    }
    // None of them holds a permit or is taken for idle.
    others_are_served(&running).await;
    assert_eq!(running.metric(STREAMS), 4);
    // Whoever leaves makes room at once.
    open.remove(0);
    eventually("the place is free", || running.metric(STREAMS) == 3).await;
    let mut again = connect_from(&running, 4).await;
    assert!(open_stream(&mut again, "10").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn s02_streams_hold_no_permits() {
    let running = start(Server { requests: 1, ..few_streams() }).await;
    let mut first = connect_from(&running, ATTACKER).await;
    let mut second = connect_from(&running, ATTACKER).await;
    assert!(open_stream(&mut first, "7").await.starts_with("HTTP/1.1 200"));
    assert!(open_stream(&mut second, "7").await.starts_with("HTTP/1.1 200"));
    others_are_served(&running).await;
}

#[tokio::test]
async fn s02_a_stream_whose_http2_window_is_closed_is_cut() {
    let running = start(few_streams()).await;
    let mut stalled = connect_from(&running, ATTACKER).await;
    stalled.write_all(&http2_requests(3, "/lines")).await.unwrap();
    eventually("the streams are open", || running.metric(STREAMS) == 3).await;
    eventually("their places are free", || running.metric(STREAMS) == 0).await;
    eventually("the connection is cut", || running.metric(STALLED) == 1).await;
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stalled.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "still open");
}

#[tokio::test]
async fn s02_a_stream_whose_socket_takes_nothing_is_cut() {
    let running = start(few_streams()).await;
    let mut stalled = connect_from(&running, ATTACKER).await;
    stalled.write_all(b"GET /lines HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("the stream is open", || running.metric(STREAMS) == 1).await;
    eventually("its place is free", || running.metric(STREAMS) == 0).await;
    // By the server, or by TCP, which has the same patience with a closed window.
    eventually("the connection is cut", || running.metric("pillion_connections") == 0).await;
}

#[tokio::test]
async fn s02_a_stream_that_is_read_is_not_cut() {
    let running = start(few_streams()).await;
    let mut reader = connect(&running).await;
    reader.write_all(b"GET /lines HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 1 << 20];
    let begun = Instant::now();
    // For several times as long as a reader may take.
    while begun.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(reader.read(&mut buffer).await.unwrap() > 0, "cut after {:?}", begun.elapsed());
    }
    assert_eq!(running.metric(STREAMS), 1);
    drop(reader);
    eventually("its place is free", || running.metric(STREAMS) == 0).await;
}

#[tokio::test]
async fn s04_idle_connections_of_two_addresses_lock_nobody_out() {
    let running = start(Server {
        connections: 16,
        connections_per_address: 8,
        header_timeout_ms: 30_000,
        idle_timeout_ms: 60_000,
        ..Server::default()
    })
    .await;
    let mut idle = Vec::new();
    for host in [2, 3] {
        for index in 0..8 {
            let mut stream = connect_from(&running, host).await;
            // Some have been used, some speak HTTP/2, and some have never said a word.
            match index % 3 {
                0 => drop(answer_to(&mut stream, "/").await),
                1 => stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap(),
                _ => {}
            }
            idle.push(stream);
        }
    }
    eventually("all places are taken", || running.metric("pillion_connections") == 16).await;
    let mut refused = connect_from(&running, ATTACKER).await;
    closed(&mut refused).await;
    let series = "pillion_connections_refused_total{reason=\"address_limit\"}";
    assert_eq!(running.metric(series), 1);
    others_are_served(&running).await;
    assert!(running.metric("pillion_connections_cut_total{reason=\"evicted\"}") > 0);
}

#[tokio::test]
async fn s05_bodies_that_are_never_sent_hold_no_permits() {
    let server = Server { requests: 8, requests_per_address: 1_000, ..Server::default() };
    let running = start(server).await;
    let mut attack = Vec::new();
    // Refused before the body is looked at, and waited for.
    for path in ["/refuse", "/echo"] {
        for _ in 0..32 {
            let mut stream = connect_from(&running, ATTACKER).await;
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            attack.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        others_are_served(&running).await;
    }
    // A body that comes late is still read.
    let mut late = attack.pop().unwrap();
    late.write_all(b"123456789").await.unwrap();
    assert!(read(&mut late).await.ends_with("123456789"));
}

#[tokio::test]
async fn p18_one_address_has_so_many_requests_in_flight() {
    let server = Server { requests: 64, requests_per_address: 4, ..quick() };
    let running = start(server).await;
    let mut attack = connect_from(&running, ATTACKER).await;
    attack.write_all(&http2_requests(16, "/slow")).await.unwrap();
    let series = "pillion_requests_shed_total{reason=\"address_limit\"}";
    eventually("twelve are refused", || running.metric(series) == 12).await;
    others_are_served(&running).await;
}

#[tokio::test]
async fn s10_accepted_sockets_notice_a_client_that_is_gone() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let write_timeout = Duration::from_millis(Server::default().write_timeout_ms);
    connection::tune(&stream, write_timeout).unwrap();
    let socket = SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    let probed = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
    let silent = socket.tcp_keepalive_time().unwrap() + probed;
    assert!(silent < Duration::from_mins(1), "{silent:?}");
    // With data on its way the probes do not count.
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(write_timeout));
}

#[tokio::test]
async fn s12_http2_requests_with_too_many_fields_are_refused() {
    let running = start(quick()).await;
    let stream = connect(&running).await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut send = async |fields: usize, name: &'static str| {
        let mut request = http::Request::get("http://x/");
        for _ in 0..fields {
            request = request.header(name, "1");
        }
        let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        response.await.unwrap().status().as_u16()
    };
    assert_eq!(send(64, "x-a").await, 200);
    assert_eq!(send(65, "x-a").await, 431);
    assert_eq!(send(300, "x-a").await, 431);
    // A cookie may be split into fields.
    assert_eq!(send(100, "cookie").await, 200);
}
