//! Databases, broker and plugins' state behind TLS and passwords: everything works, whom one cannot
//! trust is refused in words that say what to do, and no password is told.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pillion_test_servers::{
    Nats, Postgres, PostgresOptions, Redis, SERVICES, ServerFiles, ServerOptions,
};
use pillion_tests::system::System;
use serde_json::json;

/// 32 bytes, in base64.
const KEY_ENCRYPTION_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// What a service recorded, another has taken up within this; so soon a log has a line.
const DEADLINE: Duration = Duration::from_secs(20);

struct Servers {
    postgres: Postgres,
    nats: Nats,
    redis: Redis,
    /// `ca.pem` is their authority, `other/ca.pem` is not, `gateway.pem` is for who connects.
    certificates: tempfile::TempDir,
    databases: Vec<(String, String)>,
}

fn certs(folder: &Path, arguments: &[&str]) {
    let folder = folder.to_str().expect("a path of a test");
    let made = System::bare(&[&["certs"], arguments, &["--dir", folder]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Servers {
    async fn start() -> Self {
        let certificates = tempfile::tempdir().expect("a folder");
        let folder = certificates.path();
        certs(folder, &["init"]);
        certs(folder, &["issue", "gateway", "postgres", "nats", "redis", "--ip", "127.0.0.1"]);
        certs(&folder.join("other"), &["init"]);
        let server = |name: &str| ServerOptions {
            tls: Some(ServerFiles::of(folder, name)),
            password: Some(format!("secret-of-{name}")),
            ..ServerOptions::default()
        };
        let (postgres, nats, redis) = tokio::join!(
            Postgres::start(PostgresOptions { fsync: false, server: server("postgres") }),
            Nats::start_with(server("nats")),
            Redis::start_with(server("redis")),
        );
        let mut databases = Vec::new();
        for (service, _) in SERVICES {
            let url = postgres.database().await;
            databases.push((format!("PILLION_DATABASE_{}", service.to_uppercase()), url));
        }
        Self { postgres, nats, redis, certificates, databases }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.certificates.path().join(name)
    }

    /// A system on them with this authority, and URLs changed as texts.
    fn system(&self, ca: &str, change: impl Fn(&str) -> String) -> System {
        let databases = self.databases.iter();
        let databases = databases.map(|(name, url)| (name.clone(), change(url)));
        let configure = |config: &str| {
            let mut config = config.replace(
                "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]",
                "plugins = [\"logging\", \"auth\", \"ratelimit\"]",
            );
            let path = |name: &str| format!("{:?}", self.file(name).display().to_string());
            let url = |url: &str| format!("{:?}", change(url));
            for (from, key, to) in [
                ("# ca = \"servers/ca.pem\"", "ca", path(ca)),
                ("# certificate = \"servers/pillion.pem\"", "certificate", path("gateway.pem")),
                ("# key = \"servers/pillion.key\"", "key", path("gateway.key")),
                ("# url = \"nats://127.0.0.1:4222\"", "url", url(&self.nats.url())),
                ("kv = \"memory\"", "kv", url(&self.redis.url())),
                ("limiter = \"memory\"", "limiter", url(&self.redis.url())),
            ] {
                assert!(config.contains(from), "{from}");
                config = config.replacen(from, &format!("{key} = {to}"), 1);
            }
            config
        };
        // All starts on these databases need the key with which the first one encrypted.
        let key = ("PILLION_KEY_ENCRYPTION_KEY".to_owned(), KEY_ENCRYPTION_KEY.to_owned());
        System::new(configure, databases.chain([key]).collect())
    }

    /// No password is in it, and nothing that panicked.
    fn tells_nothing(&self, said: &str) {
        let database_passwords = self.databases.iter().map(|(_, url)| password(url));
        let others = [self.nats.url(), self.redis.url()].map(|url| password(&url));
        for password in database_passwords.chain(others) {
            assert!(password.len() > 8 && !said.contains(&password), "{password} is told: {said}");
        }
        assert!(!said.contains("panicked at"), "{said}");
    }

    /// What `pillion migrate` says when it does not do it.
    fn not_migrated(&self, ca: &str, change: impl Fn(&str) -> String) -> String {
        let migrated = self.system(ca, change).pillion(&["migrate"]).output();
        let migrated = migrated.expect("the program runs");
        assert!(!migrated.status.success());
        let said = String::from_utf8_lossy(&migrated.stderr).into_owned();
        self.tells_nothing(&said);
        said
    }
}

fn password(url: &str) -> String {
    url.split(['@', '/']).nth(2).and_then(|who| who.split(':').nth(1)).expect("one").to_owned()
}

/// Waits until the log says all of it.
async fn until(system: &System, said: &[&str]) {
    let began = Instant::now();
    while let Some(missing) = said.iter().find(|words| !system.log().contains(**words)) {
        assert!(began.elapsed() < DEADLINE, "{missing}: {}", system.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Databases take the authority that their URL names, and those without one the configured.
fn without_authority(url: &str) -> String {
    let (url, _) = url.split_once("&sslrootcert=").unwrap_or((url, ""));
    url.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_trusted_by_their_certificates_and_no_password_is_told() {
    let servers = Servers::start().await;
    let mut system = servers.system("ca.pem", without_authority);
    let migrated = system.pillion(&["migrate"]).output().expect("the program runs");
    let said = String::from_utf8_lossy(&migrated.stderr);
    assert!(migrated.status.success(), "{said}");
    let everything = "info,async_nats=debug,redis=debug,rustls=debug,sqlx=debug,pillion=debug,\
                      pillion_chassis=debug,pillion_host=debug";
    system.once("PILLION_LOG", everything);
    system.launch();
    let (anna, token) = system.register("anna").await;
    let tweet = json!({ "text": "for nobody on the way" });
    system.client.post("/2/tweets").bearer(&token).json(&tweet).send().await.expect(201);
    let home = format!("/2/users/{anna}/timelines/reverse_chronological");
    let began = Instant::now();
    loop {
        let page = system.client.get(&home).bearer(&token).send().await;
        if page.expect(200).json()["data"][0]["text"] == tweet["text"] {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "the tweet does not come home");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = system.admin().get("/metrics").send().await.expect(200).text();
    let place = format!("{{backend=\"redis\",place=\"127.0.0.1:{}/0\"}}", servers.redis.port());
    assert!(metrics.contains(&format!("pillion_limiter_degraded{place} 0")), "{metrics}");
    let statement = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'pillion'";
    assert_eq!(servers.postgres.sql("postgres", statement).await.trim(), "t");
    system.stop();
    servers.tells_nothing(&(system.log() + &metrics));

    // Databases: nothing begins without them.
    let said = servers.not_migrated("other/ca.pem", without_authority);
    assert!(said.contains("is of another authority than the one that is configured"), "{said}");
    let other_name = |url: &str| without_authority(url).replace("127.0.0.1", "localhost");
    let said = servers.not_migrated("ca.pem", other_name);
    assert!(said.contains("connect by a name that the server's certificate has"), "{said}");
    let plain = |url: &str| without_authority(url).replace("verify-full", "disable");
    let said = servers.not_migrated("ca.pem", plain);
    assert!(said.contains("takes no connection without TLS: write ?sslmode=verify-full"), "{said}");

    // Broker and state: the others go on without, and say why they do.
    let mut system = servers.system("other/ca.pem", str::to_owned);
    system.launch();
    until(
        &system,
        &[
            "the server's certificate is of another authority than the one that is configured",
            "its certificate is of another authority than the one that is configured",
        ],
    )
    .await;
    system.stop();
    servers.tells_nothing(&system.log());
    let changed = |url: &str| {
        url.replace("rediss://", "redis://").replace("secret-of-nats", "not-the-password")
    };
    let mut system = servers.system("ca.pem", changed);
    system.launch();
    until(&system, &["authorization violation", "a server that wants TLS is at rediss://"]).await;
    system.stop();
    servers.tells_nothing(&system.log());
    assert!(!system.log().contains("not-the-password"));
}
