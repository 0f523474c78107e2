//! Handshakes over real sockets: who is let in, who is called, and what the others are told.

use std::net::SocketAddr;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::{FakeClock, SystemClock};
use crate::testing::certificates::{Authority, Wanted};

const WITHIN: Duration = Duration::from_secs(5);

/// A folder with the certificate of an authority.
struct World {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new() };
        world.trust(&[&world.authority]);
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn trust(&self, authorities: &[&Authority]) {
        let pem: String = authorities.iter().map(|authority| authority.certificate()).collect();
        std::fs::write(self.path().join("ca.pem"), pem).unwrap();
    }

    fn identities(&self, own: &str) -> Identities {
        Identities {
            ca: self.path().join("ca.pem"),
            trust_domain: "pillion".to_owned(),
            own: own.to_owned(),
            services: ["users", "tweets"].map(str::to_owned).to_vec(),
        }
    }

    /// A service with a good certificate.
    fn service(&self, own: &str) -> Tls {
        let files = self.authority.issue(self.path(), own, &Wanted::of(own));
        Tls::mutual(files, self.identities(own)).unwrap()
    }

    /// The service with the files that are there.
    fn reopened(&self, own: &str) -> Tls {
        let file = |kind: &str| self.path().join(format!("{own}.{kind}"));
        let files = TlsFiles { certificate: file("pem"), key: file("key") };
        Tls::mutual(files, self.identities(own)).unwrap()
    }

    /// The same, whose checks of its own do not stop it from showing another one.
    fn impostor(&self, authority: &Authority, wanted: &Wanted) -> Tls {
        let good = self.service("users");
        let files = authority.issue(self.path(), "impostor", wanted);
        let contents = Contents {
            certificate: std::fs::read(&files.certificate).unwrap(),
            key: std::fs::read(&files.key).unwrap(),
            ca: std::fs::read(self.path().join("ca.pem")).unwrap(),
        };
        let material = contents.build(&files, Some(&self.identities("users"))).unwrap();
        good.0.current.store(Arc::new(material));
        good
    }
}

/// Answers one byte with the next one until it is dropped.
struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(tls: &Tls) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = tls.clone();
    let task = tokio::spawn(async move {
        loop {
            let (stream, client) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Some(mut stream) = tls.accept(stream, client.ip(), WITHIN).await
                    && let Ok(byte) = stream.read_u8().await
                {
                    stream.write_u8(byte + 1).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    Server { address, task }
}

/// One exchange; the words of what stopped it.
async fn exchange(client: &Tls, service: &str, server: &Server) -> Result<u8, String> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let exchanged = async {
        let mut stream = client.connect(service, stream, WITHIN).await?;
        stream.write_u8(41).await?;
        stream.flush().await?;
        stream.read_u8().await
    };
    timeout(WITHIN, exchanged).await.unwrap().map_err(|error| error.to_string())
}

fn refused(tls: &Tls, side: &str, reason: &str) -> u64 {
    let line = format!(
        "pillion_tls_refused_total{{of=\"services\",side=\"{side}\",reason=\"{reason}\"}} "
    );
    let page = tls.metrics("services");
    page.lines().find_map(|found| found.strip_prefix(&line)).expect("a line").parse().unwrap()
}

/// The counter, once it is so high: the server counts after the client was told.
async fn until_refused(tls: &Tls, side: &str, reason: &str) {
    for _ in 0..200 {
        if refused(tls, side, reason) == 1 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{side} {reason} is not counted:\n{}", tls.metrics("services"));
}

#[tokio::test]
async fn services_of_one_authority_talk() {
    let world = World::new();
    let (users, tweets) = (world.service("users"), world.service("tweets"));
    let server = serve(&users).await;
    assert_eq!(exchange(&tweets, "users", &server).await, Ok(42));
    assert_eq!(exchange(&users, "users", &server).await, Ok(42), "several of one service, too");
}

#[tokio::test]
async fn a_server_that_is_another_service_is_not_called() {
    let world = World::new();
    let (users, tweets) = (world.service("users"), world.service("tweets"));
    let server = serve(&users).await;
    let error = exchange(&users, "tweets", &server).await.unwrap_err();
    assert!(error.contains("another DNS name"), "{error}");
    assert_eq!(refused(&users, "client", "wrong_identity"), 1);
    // A DNS name alone makes no service of it.
    let wanted = Wanted { names: vec!["tweets".to_owned()], ..Wanted::of("users") };
    let server = serve(&world.impostor(&world.authority, &wanted)).await;
    let error = exchange(&tweets, "tweets", &server).await.unwrap_err();
    assert_eq!(error, "the certificate is for the service users, and tweets was meant");
}

#[tokio::test]
async fn a_client_without_a_good_certificate_is_not_let_in() {
    let world = World::new();
    let users = || world.service("users");
    let foreign = Authority::new();
    let other_domain =
        Wanted { uris: vec!["spiffe://elsewhere/users".to_owned()], ..Wanted::of("users") };
    let unnamed = Wanted { uris: Vec::new(), ..Wanted::of("users") };
    let two = ["spiffe://pillion/users", "spiffe://pillion/tweets"].map(str::to_owned).to_vec();
    let two = Wanted { uris: two, ..Wanted::of("users") };
    for (authority, wanted, reason) in [
        (&foreign, Wanted::of("users"), "unknown_authority"),
        (&world.authority, Wanted::of("users").expired(), "expired"),
        (&world.authority, other_domain, "wrong_identity"),
        (&world.authority, unnamed, "wrong_identity"),
        (&world.authority, two, "wrong_identity"),
        // A good certificate of the authority, and of none that may connect.
        (&world.authority, Wanted::of("billing"), "wrong_identity"),
    ] {
        let users = users();
        let server = serve(&users).await;
        let client = world.impostor(authority, &wanted);
        let error = exchange(&client, "users", &server).await.unwrap_err();
        assert!(error.contains("alert"), "{reason}: {error}");
        until_refused(&users, "server", reason).await;
    }
}

#[tokio::test]
async fn a_server_without_a_good_certificate_is_not_called() {
    let world = World::new();
    let foreign = Authority::new();
    for (authority, wanted, reason, says) in [
        (&foreign, Wanted::of("users"), "unknown_authority", "another authority than tls.ca"),
        (&world.authority, Wanted::of("users").expired(), "expired", "not valid now"),
    ] {
        let server = serve(&world.impostor(authority, &wanted)).await;
        let tweets = world.service("tweets");
        let error = exchange(&tweets, "users", &server).await.unwrap_err();
        assert!(error.contains(says), "{error}");
        assert_eq!(refused(&tweets, "client", reason), 1);
    }
}

#[tokio::test]
async fn plain_text_and_nobody_are_not_let_in() {
    let world = World::new();
    let users = world.service("users");
    let server = serve(&users).await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET /readyz HTTP/1.1\r\nhost: users\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(WITHIN, plain.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(refused(&users, "server", "plaintext"), 1);
    // TLS without a certificate, as a browser speaks it.
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(world.path().join("ca.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("users").unwrap();
    let mut nobody = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert!(timeout(WITHIN, nobody.read_u8()).await.unwrap().is_err());
    until_refused(&users, "server", "no_certificate").await;
    // And a server without TLS is not called.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read_u8().await.ok();
    });
    let error = exchange(&users, "users", &Server { address, task }).await.unwrap_err();
    assert!(error.contains("something else than TLS"), "{error}");
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let world = World::new();
    let users = world.service("users");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, client) = listener.accept().await.unwrap();
    assert!(users.accept(stream, client.ip(), Duration::from_millis(50)).await.is_none());
    assert_eq!(refused(&users, "server", "broken"), 1);
}

#[test]
fn certificates_that_the_others_would_refuse_are_refused_at_the_start() {
    let world = World::new();
    let start = |authority: &Authority, wanted: &Wanted| {
        let files = authority.issue(world.path(), "users", wanted);
        Tls::mutual(files, world.identities("users")).unwrap_err().to_string()
    };
    for (error, says) in [
        (start(&Authority::new(), &Wanted::of("users")), "is not good for the authority"),
        (start(&world.authority, &Wanted::of("users").expired()), "expired"),
        (start(&world.authority, &Wanted::of("tweets")), "users"),
        (
            start(&world.authority, &Wanted { uris: Vec::new(), ..Wanted::of("users") }),
            "spiffe://pillion/SERVICE",
        ),
        (
            start(&world.authority, &Wanted { names: Vec::new(), ..Wanted::of("users") }),
            "is not good for a server",
        ),
    ] {
        assert!(error.contains(says) && error.contains("users.pem"), "{says}: {error}");
    }
    let files = world.authority.issue(world.path(), "users", &Wanted::of("users"));
    let other = world.authority.issue(world.path(), "other", &Wanted::of("users"));
    let mixed = TlsFiles { key: other.key, ..files.clone() };
    let error = Tls::mutual(mixed, world.identities("users")).unwrap_err().to_string();
    assert!(error.contains("does not go with"), "{error}");
    std::fs::remove_file(&files.key).unwrap();
    let error = Tls::mutual(files, world.identities("users")).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("users.key"), "{error}");
}

#[tokio::test]
async fn changed_files_are_in_force_without_a_restart() {
    let world = World::new();
    let (users, tweets) = (world.service("users"), world.service("tweets"));
    let server = serve(&users).await;
    assert_eq!(exchange(&tweets, "users", &server).await, Ok(42));
    let in_force = |tls: &Tls| tls.0.current.load_full();
    let (mut of_users, mut of_tweets) = (None, None);
    // A new authority is trusted by all before anybody has a certificate of it.
    let next = Authority::new();
    world.trust(&[&world.authority, &next]);
    let before = in_force(&users);
    users.look(&mut of_users).await;
    assert!(Arc::ptr_eq(&before, &in_force(&users)), "one look may have found half of a change");
    users.look(&mut of_users).await;
    assert!(!Arc::ptr_eq(&before, &in_force(&users)));
    for _ in 0..2 {
        tweets.look(&mut of_tweets).await;
    }
    next.issue(world.path(), "users", &Wanted::of("users"));
    for _ in 0..2 {
        users.look(&mut of_users).await;
    }
    assert_eq!(exchange(&tweets, "users", &server).await, Ok(42));
    // What the others would refuse does not take the place of what they take.
    world.trust(&[&next]);
    for _ in 0..2 {
        tweets.look(&mut of_tweets).await;
    }
    assert!(tweets.metrics("services").contains("reload_failures_total{of=\"services\"} 1"));
    assert_eq!(exchange(&tweets, "users", &server).await, Ok(42));
    next.issue(world.path(), "tweets", &Wanted::of("tweets"));
    let old = tweets.clone();
    let tweets = world.reopened("tweets");
    for _ in 0..2 {
        users.look(&mut of_users).await;
    }
    assert_eq!(exchange(&tweets, "users", &server).await, Ok(42));
    assert!(exchange(&old, "users", &server).await.is_err(), "the old authority is over");
    until_refused(&users, "server", "unknown_authority").await;
}

#[tokio::test]
async fn expiry_is_told_in_time() {
    let world = World::new();
    let users = world.service("users");
    let page = users.metrics("services");
    let expiry = "pillion_tls_certificate_expiry_seconds{of=\"services\",certificate=";
    assert!(page.contains(&format!("{expiry}\"own\"")), "{page}");
    assert!(page.contains(&format!("{expiry}\"ca\"")), "{page}");
    let mut warned = Timestamp::from_micros(0);
    let clock = FakeClock::at(SystemClock.now());
    users.warn_of_expiry(&clock, &mut warned);
    assert_eq!(warned.as_micros(), 0);
    clock.advance(Duration::from_hours(20));
    users.warn_of_expiry(&clock, &mut warned);
    assert_eq!(warned, users.0.current.load().expires_at);
}
