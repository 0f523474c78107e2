//! Two processes of search and of notifications: a stream brings the same from either, whichever
//! of them took the events up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{World, text};

/// What happened is on a stream within this.
const DEADLINE: Duration = Duration::from_secs(20);
/// Tweets, and likes of them.
const COUNT: usize = 12;

/// What a gateway shows to other services.
fn as_gateway(certificates: &Path) -> TlsConnector {
    let certificate = |name| CertificateDer::from_pem_file(certificates.join(name));
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem").expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_file(certificates.join("gateway.key")).expect("a key");
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate("gateway.pem").expect("a certificate")], key);
    TlsConnector::from(Arc::new(config.expect("a pair")))
}

/// A stream, read by lines.
struct Lines(BufReader<TlsStream<TcpStream>>);

impl Lines {
    /// At a process itself, as the gateway asks it. HTTP/1.0, whose bodies have no frames.
    async fn open(world: &mut World, (service, copy): (&str, u8), path: &str, token: &str) -> Self {
        let url = world.fleet.host(service, copy).url();
        let address = url.strip_prefix("https://").expect("an address");
        let stream = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::try_from(service.to_owned()).expect("a name");
        let connector = as_gateway(&world.fleet.folder().join("certs"));
        let mut stream = connector.connect(name, stream).await.expect("it trusts us");
        let request =
            format!("GET {path} HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a connection");
        let mut lines = Self(BufReader::new(stream));
        let status = lines.line().await;
        assert!(status.contains(" 200 "), "{status}");
        while !lines.line().await.is_empty() {}
        lines
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(DEADLINE, self.0.read_line(&mut line)).await;
        let bytes = read.expect("a line in time").expect("a connection");
        assert!(bytes > 0, "the stream ended");
        line.trim_end().to_owned()
    }

    /// The next JSON; `prefix` stands before it.
    async fn json(&mut self, prefix: &str) -> Value {
        loop {
            let line = self.line().await;
            if let Some(json) = line.strip_prefix(prefix).filter(|json| json.starts_with('{')) {
                return serde_json::from_str(json).expect("JSON");
            }
        }
    }
}

impl Lines {
    /// The next notification of a retweet. That of the reader's follow may come late.
    async fn retweet(&mut self) -> Value {
        loop {
            let notification = self.json("data: ").await;
            if notification["type"] == json!("retweet") {
                return notification;
            }
        }
    }
}

pub(crate) async fn bring_what_any_process_took_up(world: &mut World) {
    for service in ["search", "notifications"] {
        world.fleet.host(service, 2).launch();
    }
    for service in ["search", "notifications"] {
        world.fleet.host(service, 2).ready().await;
    }
    let rule = json!({ "add": [{ "value": "from:anna" }] });
    let rules = "/2/tweets/search/stream/rules";
    let anna = world.anna().clone();
    let mut tweets = Vec::new();
    let mut news = Vec::new();
    for copy in [1, 2] {
        // An app has one connection among all processes.
        let app = world.app(&anna).await;
        let answer = world.gateways.ask(&app, http::Method::POST, rules, &rule).await;
        answer.expect("an answer").expect(201);
        let path = "/2/tweets/search/stream";
        tweets.push(Lines::open(world, ("search", copy), path, &app).await);
        let path = "/pillion/v1/notifications/stream";
        news.push(Lines::open(world, ("notifications", copy), path, &anna.token).await);
    }
    let mut posted = Vec::new();
    for n in 0..COUNT {
        let body = json!({ "text": format!("live {n}") });
        let made = world.post(&anna, "/2/tweets", body).await;
        posted.push(text(&made["data"]["id"]));
    }
    for stream in &mut tweets {
        let mut seen = Vec::new();
        for _ in &posted {
            seen.push(text(&stream.json("").await["data"]["id"]));
        }
        assert_eq!(seen, posted);
    }
    let rita = world.rita().clone();
    let path = format!("/2/users/{}/retweets", rita.id);
    for tweet in &posted {
        world.post(&rita, &path, json!({ "tweet_id": tweet })).await;
    }
    for stream in &mut news {
        for tweet in &posted {
            let notification = stream.retweet().await;
            assert_eq!(notification["tweet_id"], json!(tweet), "{notification}");
        }
    }
    println!("two streams of tweets and two of notifications brought {COUNT} each");
}
