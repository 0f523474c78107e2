//! Services that know each other by their certificates: everything works as without, and whoever
//! shows none, or a bad one, gets nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillion_chassis::TlsFiles;
use pillion_chassis::testing::certificates::{Authority, Wanted};
use pillion_tests::client::Client;
use pillion_tests::system::System;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{EVEN_DEADLINE, Form, SERVICES, Split, carries_everything_and_survives_a_death, place};

/// New files are in force within this: two looks at them, five seconds apart.
const ROTATION_DEADLINE: Duration = Duration::from_mins(1);
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The configuration with the files that [`make`] makes.
pub(super) fn named(config: &str) -> String {
    let mut config = config.to_owned();
    for line in [
        "ca = \"certs/ca.pem\"",
        "certificate = \"certs/{service}.pem\"",
        "key = \"certs/{service}.key\"",
    ] {
        assert!(config.contains(&format!("# {line}")), "{line}");
        config = config.replacen(&format!("# {line}"), line, 1);
    }
    config
}

/// An authority and a certificate for every service, as an operator makes them.
pub(super) fn make(folder: &Path) {
    issue(folder, &["init"]);
    issue(folder, &[["issue"].as_slice(), &SERVICES].concat());
}

fn issue(folder: &Path, arguments: &[&str]) {
    let dir = folder.join("certs");
    let dir = dir.to_str().expect("a path of a test");
    let made = System::bare(&[["certs"].as_slice(), arguments, &["--dir", dir]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Split {
    fn certs(&self) -> std::path::PathBuf {
        self.system.folder().join("certs")
    }

    async fn metrics(&self, service: &str) -> String {
        let port = self.probes.as_ref().expect("probes")[place(service)];
        let page = Client::new(format!("http://127.0.0.1:{port}")).get("/metrics").send().await;
        page.expect(200).text()
    }

    async fn refused(&self, service: &str, side: &str, reason: &str) -> u64 {
        let line = format!(
            "pillion_tls_refused_total{{of=\"services\",side=\"{side}\",reason=\"{reason}\"}} "
        );
        let page = self.metrics(service).await;
        let count = page.lines().find_map(|found| found.strip_prefix(&line)).expect("a count");
        count.parse().expect("a number")
    }

    /// Waits until something was refused for this reason, and the log says why.
    async fn until_refused(&self, service: &str, side: &str, reason: &str, says: &str) {
        let began = Instant::now();
        while self.refused(service, side, reason).await == 0 {
            assert!(began.elapsed() < EVEN_DEADLINE, "{service}: {side} {reason} is not counted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = self.system.folder().join(format!("{service}.log"));
        let log = std::fs::read_to_string(log).expect("a log");
        assert!(log.contains(says), "{says} is not in\n{log}");
    }

    /// What a stranger with this certificate, or none, gets from a service.
    async fn stranger(&self, service: &str, files: Option<&TlsFiles>) -> Result<String, String> {
        let port = self.ports[place(service)];
        let config = client_config(&self.certs().join("ca.pem"), files);
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a listener");
        let name = ServerName::try_from(service.to_owned()).expect("a name");
        let exchange = async {
            let mut stream = TlsConnector::from(config).connect(name, stream).await?;
            let request = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            // Servers here close without the goodbye of TLS once a connection is over.
            match stream.read_to_string(&mut answer).await {
                Err(error) if answer.is_empty() => Err(error),
                _ => Ok(answer),
            }
        };
        let exchanged = tokio::time::timeout(ANSWER_DEADLINE, exchange).await.expect("an end");
        exchanged.map_err(|error: std::io::Error| error.to_string())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(files: &TlsFiles) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_file(&files.certificate).expect("a certificate");
    (vec![certificate], PrivateKeyDer::from_pem_file(&files.key).expect("a key"))
}

fn client_config(ca: &Path, files: Option<&TlsFiles>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("an authority");
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    Arc::new(match files {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (chain, key) = chain(files);
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    })
}

#[tokio::test]
async fn services_work_over_mutual_tls_and_take_new_certificates_without_a_restart() {
    let split = Split::start(Form::Tls).await;
    let split = carries_everything_and_survives_a_death(split).await;
    let expiry = async || {
        let line = "pillion_tls_certificate_expiry_seconds{of=\"services\",certificate=\"own\"} ";
        let page = split.metrics("tweets").await;
        let at = page.lines().find_map(|found| found.strip_prefix(line)).expect("a time");
        at.parse::<u64>().expect("a number")
    };
    let before = expiry().await;
    issue(split.system.folder(), &["issue", "tweets", "--days", "30"]);
    let began = Instant::now();
    while expiry().await == before {
        assert!(began.elapsed() < ROTATION_DEADLINE, "the new certificate is not in force");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (_, token) = split.register("zoe").await;
    let body = json!({ "text": "with a new certificate" });
    split.client.post("/2/tweets").bearer(&token).json(&body).send().await.expect(201);
    assert!(split.metrics("tweets").await.contains("reload_failures_total{of=\"services\"} 0"));
}

#[tokio::test]
async fn strangers_get_nothing_from_services_and_services_nothing_from_strangers() {
    let mut split = Split::start(Form::Tls).await;
    let (_, token) = split.register("vera").await;
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Authority::open(&split.certs());
    let issued = |authority: &Authority, name: &str, wanted: &Wanted| {
        authority.issue(folder.path(), name, wanted)
    };

    // A certificate of a service opens the door: what follows fails for its own reason.
    let good = issued(&ours, "good", &Wanted::of("gateway"));
    let answer = split.stranger("tweets", Some(&good)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let plain = Client::new(format!("http://127.0.0.1:{}", split.ports[place("tweets")]));
    assert!(plain.get("/readyz").try_send().await.is_err());
    split.until_refused("tweets", "server", "plaintext", "something else than TLS").await;
    for (files, reason, says) in [
        (None, "no_certificate", "shows no certificate"),
        (
            Some(issued(&Authority::new(), "foreign", &Wanted::of("gateway"))),
            "unknown_authority",
            "of another authority than tls.ca",
        ),
        (
            Some(issued(&ours, "expired", &Wanted::of("gateway").expired())),
            "expired",
            "is not valid now",
        ),
        (
            Some(issued(&ours, "billing", &Wanted::of("billing"))),
            "wrong_identity",
            "is for the service billing, and one of gateway",
        ),
    ] {
        let refused = split.stranger("tweets", files.as_ref()).await.unwrap_err();
        assert!(refused.contains("alert") || refused.contains("reset"), "{reason}: {refused}");
        split.until_refused("tweets", "server", reason, says).await;
    }

    // What answers at tweets' address is users: nobody tells it anything.
    split.kill("tweets");
    let users = TlsFiles {
        certificate: split.certs().join("users.pem"),
        key: split.certs().join("users.key"),
    };
    let (chain, key) = chain(&users);
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let impostor = TcpListener::bind(("127.0.0.1", split.ports[place("tweets")])).await;
    let impostor = impostor.expect("the port of the service that was killed");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let impostor = tokio::spawn(async move {
        loop {
            let (stream, _) = impostor.accept().await.expect("a connection");
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer).await.ok();
            }
        }
    });
    let body = json!({ "text": "for nobody else" });
    let answer = split.client.post("/2/tweets").bearer(&token).json(&body).send().await;
    assert!(answer.expect(503).text().contains("tweets"));
    split.until_refused("gateway", "client", "wrong_identity", "a service is not called").await;
    impostor.abort();

    // Nor does a service begin with what is not its own.
    for kind in ["pem", "key"] {
        let file = |service: &str| split.certs().join(format!("{service}.{kind}"));
        std::fs::copy(file("users"), file("tweets")).expect("a folder of the test");
    }
    let serve = ["serve", "tweets", "--listen", "127.0.0.1:0"];
    let refused = split.system.pillion(&serve).output().expect("the program runs");
    let says = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(says.contains("the certificate of tweets cannot be used"), "{says}");
}
