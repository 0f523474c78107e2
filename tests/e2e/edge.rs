//! What clients and proxies say about themselves, before the real plugins and services.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pillion_tests::system::System;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A line is in the file soon after its request.
const LOG_DEADLINE: Duration = Duration::from_secs(20);

/// Waits until the access log has this text.
async fn until_logged(system: &System, text: &str) -> String {
    let file = system.data().join("logs/access.log");
    let began = Instant::now();
    loop {
        let log = std::fs::read_to_string(&file).unwrap_or_default();
        if log.contains(text) {
            return log;
        }
        assert!(began.elapsed() < LOG_DEADLINE, "{text} is not in {log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends these bytes to the public address, and gives all that comes back.
async fn raw(system: &System, bytes: &[u8]) -> String {
    let address = system.client.base().rsplit('/').next().expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    stream.write_all(bytes).await.expect("a connection");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(LOG_DEADLINE, read).await.expect("an end").expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn s03_one_client_behind_a_proxy_does_not_lock_out_the_others() {
    let system = System::start_with(|config| {
        config
            .replace("burst = 300\nperiod_ms = 60000", "burst = 10\nperiod_ms = 3600000")
            .replace("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]")
    });
    system.register("alice").await;
    let login = |forwarded: &str, password: &str| {
        let body = json!({ "username": "alice", "password": password });
        let call = system.client.post("/pillion/v1/login").json(&body);
        call.header("x-forwarded-for", forwarded).send()
    };
    for n in 0..12 {
        // Whatever it claims to the left of what the proxy saw.
        let claimed = format!("203.0.113.{n}, 198.51.100.66");
        let call = system.client.get("/2/users/me").header("x-forwarded-for", &claimed);
        let answer = call.send().await;
        let expected = if n < 10 { 401 } else { 429 };
        assert_eq!(answer.status.as_u16(), expected, "request {n}: {}", answer.text());
    }
    login("198.51.100.7", "correct horse battery").await.expect(200);
    login("198.51.100.66", "correct horse battery").await.expect(429);
    let log = until_logged(&system, "198.51.100.7").await;
    assert!(log.contains("\"198.51.100.66\"") && !log.contains("203.0.113"), "{log}");
}

#[tokio::test]
async fn s03_tls_works_behind_the_proxy_protocol() {
    let mut system = System::new(
        |config| {
            let proxied = config
                .replace("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]")
                .replace("proxy_protocol = false", "proxy_protocol = true");
            let files = "# certificate = \"public.pem\"\n# key = \"public.key\"";
            assert!(proxied.contains(files));
            proxied.replace(files, "certificate = \"gateway.pem\"\nkey = \"gateway.key\"")
        },
        Vec::new(),
    );
    let folder = system.folder().to_str().expect("a path of a test").to_owned();
    for arguments in [&["init"][..], &["issue", "gateway"]] {
        let made = System::bare(&[&["certs"], arguments, &["--dir", &folder]].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    system.launch();
    let authority = system.folder().join("ca.pem");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("one")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x08\x7f\0\0\x01\x12\x34\0\x50";
    for (header, client) in [
        (&b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n"[..], "198.51.100.7"),
        (v2, "198.51.100.8"),
    ] {
        let address = system.client.base().rsplit('/').next().expect("an address");
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        stream.write_all(header).await.expect("a connection");
        let name = ServerName::try_from("gateway").expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("TLS");
        let request = "GET /2/users/me HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("a connection");
        let mut answer = Vec::new();
        // It closes without the goodbye of TLS.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 401"), "{}", answer.escape_ascii());
        until_logged(&system, client).await;
    }
}

#[tokio::test]
async fn s07_s08_s13_s14_s19_what_is_sent_in_an_odd_form() {
    let system = System::start();
    let (alice, token) = system.register("alice").await;

    // s07: every list, with a digit of the id encoded.
    let (first, rest) = alice.split_at(1);
    let encoded = format!("%3{first}{rest}");
    for list in [
        "tweets",
        "following",
        "followers",
        "blocking",
        "muting",
        "liked_tweets",
        "bookmarks",
        "timelines/reverse_chronological",
        "mentions",
    ] {
        let ask =
            |id: &str| system.client.get(&format!("/2/users/{id}/{list}")).bearer(&token).send();
        let plain = ask(&alice).await.expect(200);
        assert_eq!(ask(&encoded).await.expect(200).json(), plain.json(), "{list}");
        ask("%78").await.expect(400);
        ask("%3x").await.expect(400);
        // What is encoded gets past nobody.
        let path = format!("/2/%75sers/{alice}/{list}");
        system.client.get(&path).send().await.expect(401);
    }

    // s08: no plugin sees a host that is none.
    for host in ["host: \u{ff}\r\n", "", "host: a\r\nhost: b\r\n", "host: u@a\r\n"] {
        let request = format!("GET /2/users/me HTTP/1.1\r\nconnection: close\r\n{host}\r\n");
        let bytes: Vec<u8> = request.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect();
        let answer = raw(&system, &bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{host:?}: {answer}");
    }

    // s13
    let post = system.client.post("/2/tweets").bearer(&token).json(&json!({ "text": "a" }));
    let refused = post.header("content-encoding", "gzip").send().await.expect(415);
    assert_eq!(refused.header("accept-encoding"), "identity");

    // s14
    let agent = "GET /2/users/me HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 user-agent: a\u{202e}b\u{2066}\u{200b}\u{feff}c\r\n\r\n";
    raw(&system, agent.as_bytes()).await;
    let log = until_logged(&system, r"a\u202eb\u2066\u200b\ufeffc").await;
    assert!(!log.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}']));
    let profile = system.client.post("/pillion/v1/account/profile").bearer(&token);
    let refused = profile.json(&json!({ "name": "\u{202e}knaB" })).send().await.expect(400);
    assert!(refused.text().contains("U+202E"), "{}", refused.text());

    // s19
    let login =
        |body: &str| system.client.post("/pillion/v1/login").text("application/json", body).send();
    let account = system.client.post("/pillion/v1/accounts");
    let token_request = system.client.post("/2/oauth2/token");
    for answer in [
        login(r#"{"username": "alice", "password": 87654321}"#).await,
        login(r#"{"username": "alice", "password": ["87654321"]}"#).await,
        login(r#""87654321""#).await,
        account.text("application/json", r#"{"password": 87654321}"#).send().await,
        token_request.text("application/json", r#"{"client_secret": 87654321}"#).send().await,
        system.client.get("/2/users/me?password=87654321").bearer(&token).send().await,
        system.client.get("/2/users/me?access_token=87654321").bearer(&token).send().await,
    ] {
        let answer = answer.expect(400);
        assert!(!answer.text().contains("87654321"), "{}", answer.text());
    }
}
