//! What is no HTTP, or HTTP that nobody sends who means well: each input is answered 4xx or cut,
//! never answered twice, and floods of HTTP/2 frames end in bounded time.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::tests::{
    Running, answer_to, connect, frame, http2_head, http2_requests, quick, read, start,
};
use super::*;

/// What follows every malformed request: it must not be answered.
const NEXT: &[u8] = b"GET /id HTTP/1.1\r\nhost: x\r\n\r\n";

/// How long a connection may stay open after it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that may be in no token (RFC 9110, 5.6.2).
const NO_TOKEN: &[u8] = b"\x00\x01\x07\x0b\x0c\x1b\x7f\x80\xff()<>@,;\\\"/[]?={} ";

/// The inputs by what is wrong.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut corpus: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |what: String, bytes: Vec<u8>| corpus.push((what, bytes));
    for byte in NO_TOKEN {
        let method = [b"GE", [*byte].as_slice(), b"T / HTTP/1.1\r\nhost: x\r\n\r\n"].concat();
        add(format!("a method with {byte:#04x}"), method);
        let name =
            [b"GET / HTTP/1.1\r\nhost: x\r\nx", [*byte].as_slice(), b"y: 1\r\n\r\n"].concat();
        add(format!("a field name with {byte:#04x}"), name);
    }
    for byte in b"\x00\x01\x08\x0b\x0c\x0e\x1f\x7f" {
        let value =
            [b"GET / HTTP/1.1\r\nhost: x\r\nx: a", [*byte].as_slice(), b"b\r\n\r\n"].concat();
        add(format!("a field value with {byte:#04x}"), value);
    }
    for byte in b"\x00\x01\x0b\x1f\x7f" {
        let target = [b"GET /a", [*byte].as_slice(), b"b HTTP/1.1\r\nhost: x\r\n\r\n"].concat();
        add(format!("a target with {byte:#04x}"), target);
    }
    for version in
        ["HTTP/0.9", "HTTP/1.2", "HTTP/11", "HTTP/1.", "http/1.1", "HTTX/1.1", "HTTP/3.0"]
    {
        add(version.to_owned(), format!("GET / {version}\r\nhost: x\r\n\r\n").into_bytes());
    }
    for length in [
        "-1",
        "+1",
        "1,2",
        "0x10",
        "1 1",
        "99999999999999999999",
        "a",
        "1.0",
        "5\r\ncontent-length: 6",
    ] {
        let request =
            format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\nhello");
        add(format!("content-length {length:?}"), request.into_bytes());
    }
    for coding in
        ["gzip", "identity", "xchunked", "chunked, gzip", "chunked\r\ntransfer-encoding: gzip"]
    {
        let request = format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n"
        );
        add(format!("transfer-encoding {coding:?}"), request.into_bytes());
    }
    for chunks in [
        "g\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
    ] {
        let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        add(format!("chunks {chunks:?}"), format!("{head}{chunks}").into_bytes());
    }
    corpus.extend(whole_requests());
    corpus
}

/// Requests that are wrong as a whole, or too large.
fn whole_requests() -> Vec<(String, Vec<u8>)> {
    let mut corpus: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |what: String, bytes: Vec<u8>| corpus.push((what, bytes));
    for (what, text) in [
        (
            "chunks in HTTP/1.0",
            "POST /echo HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a space first", " GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("no method", "/ HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("no target", "GET HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("no version", "GET /\r\nhost: x\r\n\r\n"),
        ("two spaces after the method", "GET  / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("two spaces after the target", "GET /  HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("a word after the version", "GET / HTTP/1.1 x\r\nhost: x\r\n\r\n"),
        ("a field without a colon", "GET / HTTP/1.1\r\nhost: x\r\nx\r\n\r\n"),
        ("a field without a name", "GET / HTTP/1.1\r\nhost: x\r\n: 1\r\n\r\n"),
        ("a space before the colon", "GET / HTTP/1.1\r\nhost: x\r\nx : 1\r\n\r\n"),
        ("a folded field", "GET / HTTP/1.1\r\nhost: x\r\nx: 1\r\n 2\r\n\r\n"),
        ("a folded first field", "GET / HTTP/1.1\r\n host: x\r\n\r\n"),
        ("a bare CR in a value", "GET / HTTP/1.1\r\nhost: x\r\nx: 1\r2\r\n\r\n"),
        ("a bare CR as the end", "GET / HTTP/1.1\rhost: x\r\r"),
        ("half an IPv6 address", "GET http://[::1/ HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("no authority", "GET http:// HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("a wrong HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
        ("a TLS handshake", "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03"),
        ("SSH", "SSH-2.0-OpenSSH_9.6\r\n"),
        ("SMTP", "EHLO x\r\nMAIL FROM:<a@b>\r\n"),
        ("Redis", "*1\r\n$4\r\nPING\r\n"),
    ] {
        add(what.to_owned(), text.as_bytes().to_vec());
    }
    let long = "a".repeat(70_000);
    for (what, text) in [
        ("a long target", format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n")),
        ("a long method", format!("{long} / HTTP/1.1\r\nhost: x\r\n\r\n")),
        ("a long field name", format!("GET / HTTP/1.1\r\nhost: x\r\n{long}: 1\r\n\r\n")),
        ("a long field value", format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n")),
        ("many fields", format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: 1\r\n".repeat(100))),
        (
            "a long chunk extension",
            format!(
                "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5;{long}\r\nhello\r\n0\r\n\r\n"
            ),
        ),
    ] {
        add(what.to_owned(), text.into_bytes());
    }
    corpus
}

/// Sends the input and a good request after it, and gives everything until the server closes.
async fn replay(running: &Running, input: &[u8]) -> Result<String, String> {
    let mut stream = connect(running).await;
    // The server may have had enough before the end.
    let _sent = stream.write_all(&[input, NEXT].concat()).await;
    let mut answers = Vec::new();
    let mut buffer = [0; 4_096];
    let begun = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Ok(String::from_utf8_lossy(&answers).into_owned()),
            Ok(Ok(length)) => answers.extend_from_slice(&buffer[..length]),
            Err(_) => {
                let answers = String::from_utf8_lossy(&answers).into_owned();
                return Err(format!("still open after {answers:?}"));
            }
        }
    }
}

#[tokio::test]
async fn p12_malformed_requests_are_refused_and_never_answered_twice() {
    let running = start(Server { body_timeout_ms: 500, ..quick() }).await;
    let corpus = corpus();
    let different: BTreeSet<&Vec<u8>> = corpus.iter().map(|(_, input)| input).collect();
    assert!(different.len() >= 100, "{} inputs", different.len());
    let mut wrong = Vec::new();
    for (what, input) in &corpus {
        let answers = match replay(&running, input).await {
            Ok(answers) => answers,
            Err(problem) => {
                wrong.push(format!("{what}: {problem}"));
                continue;
            }
        };
        let statuses = answers.matches("HTTP/1.1 ").count();
        let is_refused = answers.is_empty() || answers.starts_with("HTTP/1.1 4");
        // What speaks HTTP/2 by then says goodbye in it.
        let is_http2 = answers.starts_with('\0');
        if statuses > 1 || !(is_refused || is_http2) {
            wrong.push(format!("{what}: {answers:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), corpus.len(), wrong.join("\n"));
    assert!(answer_to(&mut connect(&running).await, "/").await.contains("hello"));
}

/// Whoever stands before us may read the other length (RFC 9112, 6.3).
#[tokio::test]
async fn p12_a_request_with_both_lengths_is_the_last_of_its_connection() {
    let running = start(quick()).await;
    for both in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
    ] {
        let request = format!("POST /echo HTTP/1.1\r\nhost: x\r\n{both}\r\n\r\n0\r\n\r\n");
        let answers = replay(&running, request.as_bytes()).await.unwrap();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
        assert!(answers.contains("connection: close"), "{answers}");
    }
}

/// A thousand sockets are twice as many descriptors, and more than some systems give at first.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
}

#[tokio::test]
async fn p12_a_thousand_slow_sockets_are_closed_in_time() {
    const SOCKETS: usize = 1_000;
    /// Eight addresses, each below its limit.
    const PER_ADDRESS: usize = 125;
    const TIME_MAX: Duration = Duration::from_secs(10);
    raise_descriptors();
    let running = start(Server::default()).await;
    let inputs: [&[u8]; 5] = [
        b"",
        b"GET / HTT",
        b"GET / HTTP/1.1\r\nhost: x\r\nx: ",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let mut sockets = Vec::new();
    for number in 0..SOCKETS {
        let socket = TcpSocket::new_v4().unwrap();
        let host = u8::try_from(number / PER_ADDRESS).unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 2, host + 1), 0))).unwrap();
        let mut stream = socket.connect(running.address).await.unwrap();
        stream.write_all(inputs[number % inputs.len()]).await.unwrap();
        sockets.push(stream);
    }
    let begun = Instant::now();
    // Meanwhile others are served.
    assert!(answer_to(&mut connect(&running).await, "/").await.contains("hello"));
    for mut stream in sockets {
        let mut rest = Vec::new();
        let left = TIME_MAX.saturating_sub(begun.elapsed());
        let end = tokio::time::timeout(left, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "open after {:?}: {rest:?}", begun.elapsed());
    }
}

/// Sends what comes out of `next` until the server ends the connection, and gives how much that
/// was. Answers are read when `reads` is true.
async fn flood(running: &Running, reads: bool, mut next: impl FnMut(u32) -> Vec<u8>) -> usize {
    const BYTES_MAX: usize = 64 << 20;
    let mut stream = connect(running).await;
    stream.write_all(&http2_requests(0, "/")).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut sent = 0;
    let write = async {
        for number in 0.. {
            let bytes = next(number);
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            sent += bytes.len();
            assert!(sent < BYTES_MAX, "the server takes any amount");
        }
    };
    let read = async {
        let mut buffer = vec![0; 65_536];
        while reads && reader.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        if !reads {
            std::future::pending::<()>().await;
        }
    };
    let both = async {
        tokio::select! {
            () = write => {}
            () = read => {}
        }
    };
    assert!(tokio::time::timeout(PATIENCE * 4, both).await.is_ok(), "the server does not end it");
    sent
}

/// The client that floods has not kept another one out.
async fn is_well(running: &Running) {
    assert!(answer_to(&mut connect(running).await, "/").await.contains("hello"));
}

fn impatient() -> Server {
    Server { write_timeout_ms: 500, body_timeout_ms: 500, response_timeout_ms: 1_000, ..quick() }
}

#[tokio::test]
async fn p12_a_flood_of_resets_is_cut() {
    let running = start(impatient()).await;
    flood(&running, true, |number| {
        let stream = number * 2 + 1;
        let mut bytes = frame(1, 5, stream, &http2_head("/slow"));
        // RST_STREAM with CANCEL.
        bytes.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
        bytes
    })
    .await;
    is_well(&running).await;
}

#[tokio::test]
async fn p12_a_flood_of_continuations_is_cut() {
    let running = start(impatient()).await;
    let sent = flood(&running, true, |number| match number {
        // HEADERS without END_HEADERS.
        0 => frame(1, 0, 1, &http2_head("/")),
        // A literal field, again and again.
        _ => frame(9, 0, 1, b"\x00\x01x\x01y".repeat(1_000).as_slice()),
    })
    .await;
    assert!(sent < 16 << 20, "{sent} bytes");
    is_well(&running).await;
}

#[tokio::test]
async fn p12_a_flood_of_empty_continuations_is_cut() {
    let running = start(impatient()).await;
    flood(&running, true, |number| match number {
        0 => frame(1, 0, 1, &http2_head("/")),
        _ => frame(9, 0, 1, b"").repeat(1_000),
    })
    .await;
    is_well(&running).await;
}

#[tokio::test]
async fn p12_a_flood_of_settings_that_is_not_read_is_cut() {
    let running = start(impatient()).await;
    flood(&running, false, |_| frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]).repeat(1_000)).await;
    is_well(&running).await;
}

#[tokio::test]
async fn p12_a_flood_of_pings_that_is_not_read_is_cut() {
    let running = start(impatient()).await;
    flood(&running, false, |_| frame(6, 0, 0, &[7; 8]).repeat(1_000)).await;
    is_well(&running).await;
}

#[tokio::test]
async fn p12_a_flood_of_empty_data_ends_with_its_request() {
    let running = start(impatient()).await;
    let mut stream = connect(&running).await;
    let mut head = http2_head("/echo");
    // `POST` instead of `GET`.
    head[0] = 0x83;
    stream.write_all(&http2_requests(0, "/")).await.unwrap();
    stream.write_all(&frame(1, 4, 1, &head)).await.unwrap();
    let begun = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let write = async {
        while writer.write_all(&frame(0, 0, 1, b"").repeat(100)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // The settings, and then the answer: the body did not come in time.
    let read = async {
        let mut answered = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let length = reader.read(&mut buffer).await.unwrap_or(0);
            answered.extend_from_slice(&buffer[..length]);
            let is_answered = answered.windows(5).any(|it| it == b"\x01\x04\x00\x00\x00");
            if length == 0 || is_answered {
                return;
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
        () = tokio::time::sleep(PATIENCE) => panic!("open after {:?}", begun.elapsed()),
    }
    is_well(&running).await;
}

#[tokio::test]
async fn a_good_request_after_a_good_one_is_answered() {
    // So that the corpus is not refused for a fault of `replay`.
    let running = start(quick()).await;
    let mut stream: TcpStream = connect(&running).await;
    stream.write_all(&NEXT.repeat(2)).await.unwrap();
    assert_eq!(read(&mut stream).await.matches("HTTP/1.1 200").count(), 2);
}
