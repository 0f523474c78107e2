//! One address against everybody else, with the whole system: 127.0.0.2 does what it likes, and
//! 127.0.0.1 must be served as before. `cargo xtask soak attacks` holds the promised ratio.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pillion_tests::system::System;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How long each attack is watched when a longer time is not wanted.
const SHORT: Duration = Duration::from_secs(1);

/// An answer under attack takes at most this beside other tests; a client that is locked out is
/// refused, or waits for as long as the attack lasts.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// The attacker's pause between connections, so that it is not the processor that is short.
const PAUSE: Duration = Duration::from_millis(20);

const ATTACKS: [Attack; 7] = [
    Attack::UnreadResponses,
    Attack::IdleConnections,
    Attack::SlowHeads,
    Attack::MissingBodies,
    Attack::SlowReaders,
    Attack::Streams,
    Attack::RefusedRequests,
];

/// What one connection of the attacker does.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// HTTP/2 with a window of 0 and 64 requests, which are answered 401.
    UnreadResponses,
    /// Nothing.
    IdleConnections,
    /// A head that comes byte by byte.
    SlowHeads,
    /// Requests without their bodies.
    MissingBodies,
    /// Requests one after the other whose answers are not read.
    SlowReaders,
    /// Streams of notifications that are not read.
    Streams,
    /// Password guesses and registrations that are refused.
    RefusedRequests,
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HTTP/2 requests for a path, with a token, and no room for a byte of a body.
fn unread(requests: u32, path: &str, token: &str) -> Vec<u8> {
    let literal = |index: &[u8], text: &str| {
        // Lengths over 126 take more bytes than one (RFC 7541, 5.1).
        let mut length = Vec::new();
        match u8::try_from(text.len()) {
            Ok(short) if short < 127 => length.push(short),
            _ => {
                length.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    length.push(u8::try_from(rest % 128 + 128).expect("below 256"));
                    rest /= 128;
                }
                length.push(u8::try_from(rest).expect("below 128"));
            }
        }
        [index, &length, text.as_bytes()].concat()
    };
    let mut head = b"\x82\x86".to_vec();
    head.extend(literal(&[0x01], "x"));
    head.extend(literal(&[0x04], path));
    if !token.is_empty() {
        // `authorization` is number 23 of the static table.
        head.extend(literal(&[0x0f, 0x08], &format!("Bearer {token}")));
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for request in 0..requests {
        bytes.extend(frame(1, 5, request * 2 + 1, &head));
    }
    bytes
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)))?;
    socket.connect(address).await
}

/// One connection, until it is cut. Errors are what an attacker gets.
async fn attack(attack: Attack, address: SocketAddr, token: &str) -> std::io::Result<()> {
    let mut stream = connect(address).await?;
    let mut buffer = vec![0; 4_096];
    match attack {
        Attack::UnreadResponses => {
            stream.write_all(&unread(64, "/2/users/me", "")).await?;
        }
        Attack::Streams => {
            let path = "/pillion/v1/notifications/stream";
            stream.write_all(&unread(8, path, token)).await?;
        }
        Attack::IdleConnections => {}
        Attack::SlowHeads => loop {
            stream.write_all(b"G").await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        },
        Attack::MissingBodies => {
            let head = "POST /2/tweets HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
        }
        Attack::SlowReaders => {
            let request = "GET /2/users/me HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
            loop {
                stream.write_all(request.as_bytes()).await?;
            }
        }
        Attack::RefusedRequests => {
            let body = r#"{"username":"nobody","password":"wrong"}"#;
            let request = format!(
                "POST /pillion/v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            loop {
                stream.write_all(request.as_bytes()).await?;
                if stream.read(&mut buffer).await? == 0 {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Until the server ends it.
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Asks every few milliseconds, on one connection and now and then on a new one. Each request must
/// succeed; gives the times.
async fn served(system: &System, token: &str, time: Duration) -> Vec<Duration> {
    let mut client = system.client.clone();
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        if times.len() % 10 == 0 {
            client = pillion_tests::client::Client::new(system.client.base());
        }
        let asked = Instant::now();
        client.get("/2/users/me").bearer(token).send().await.expect(200);
        let took = asked.elapsed();
        assert!(took < ANSWER_TIME_MAX, "{took:?}");
        times.push(took);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times.sort_unstable();
    times
}

fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p18_one_address_cannot_take_the_service_away() {
    let soak = std::env::var("PILLION_SOAK_ATTACKS_S").ok();
    let time = soak.as_ref().map_or(SHORT, |text| {
        Duration::from_secs(text.parse().expect("PILLION_SOAK_ATTACKS_S is a number"))
    });
    let system = System::start_with(|config| {
        config.replace(
            "\"GET /2/users/me\" = { user = 75 }",
            "\"GET /2/users/me\" = { user = 900000 }",
        )
    });
    let (_, token) = system.register("alice").await;
    let (_, attacker) = system.register("mallory").await;
    let address = system.client.base().trim_start_matches("http://").parse().expect("an address");
    for kind in ATTACKS {
        let before = p99(&served(&system, &token, time).await);
        let ended = Arc::new(AtomicBool::new(false));
        let mut attackers = JoinSet::new();
        // More than an address may have, each begun again when it is cut.
        for _ in 0..160 {
            let (ended, attacker) = (Arc::clone(&ended), attacker.clone());
            attackers.spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    let _cut = attack(kind, address, &attacker).await;
                    tokio::time::sleep(PAUSE * 10).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let during = p99(&served(&system, &token, time).await);
        ended.store(true, Ordering::Relaxed);
        attackers.shutdown().await;
        eprintln!("{kind:?}: p99 {before:?} before, {during:?} during the attack");
        if soak.is_some() {
            let slack = Duration::from_millis(5);
            assert!(during <= before * 2 + slack, "{kind:?}: {before:?}, then {during:?}");
        }
    }
    let page = system.admin().get("/metrics").bearer(&system.admin_token()).send().await.text();
    let refused = "pillion_connections_refused_total{reason=\"address_limit\"} ";
    let refused = page.lines().find_map(|line| line.strip_prefix(refused)).expect("the metric");
    assert!(refused.parse::<u64>().expect("a number") > 0);
}
