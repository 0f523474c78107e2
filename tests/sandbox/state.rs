//! `kv` and `limiter` in memory, in `SQLite` and in Redis, through real components: exact under
//! concurrency, shared where they should be, kept where they should be, and never in the way
//! for long.

mod bounds;
mod degraded;
mod exactness;
mod faults;
mod oracle;
mod refused;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use pillion_host::{GenerationSpec, Host, HostOptions, PluginSpec, RouteTable, StateBackend};
use pillion_test_servers::{Redis, ServerOptions};
use pillion_tests::build;
use pillion_tests::client::Client;
use pillion_tests::rig::{plugin, single, sum};
use serde_json::json;

/// A host with a server around it; it stops when it is dropped.
struct Node {
    host: Host,
    client: Client,
    server: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Machine code of what these tests load, compiled once.
fn compiled() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Host::new(HostOptions::new(folder.path())).expect("a host");
        for component in
            [build::fixture("state"), build::fixture("hostile"), build::plugin("ratelimit")]
        {
            host.inspect(&component).expect("a plugin");
        }
        folder
    });
    folder.path()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).expect("a copy");
        }
    }
}

/// More than a busy machine takes for any answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Both stores in one back end.
fn both(backend: &StateBackend) -> impl FnOnce(&mut HostOptions) + use<> {
    let backend = backend.clone();
    move |options| {
        options.kv = backend.clone();
        options.limiter = backend;
        options.state_call_max = PATIENCE;
    }
}

/// The fixture `state`, as `mine` around the service `app`.
fn state() -> GenerationSpec {
    single(state_plugin())
}

fn state_plugin() -> PluginSpec {
    let mut plugin = plugin(build::fixture("state"), json!({}), &["clock", "kv", "limiter"]);
    plugin.limits.wait_ms = 20_000;
    plugin
}

impl Node {
    async fn start(spec: GenerationSpec, change: impl FnOnce(&mut HostOptions)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy(compiled(), folder.path());
        let mut options = HostOptions::new(folder.path());
        change(&mut options);
        let host = Host::new(options).expect("a host");
        host.start(spec).expect("it is activated");
        let app = Router::new()
            .fallback(|| async { "the handler\n" })
            .layer(host.layer("app", RouteTable::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let app = app.layer(axum::middleware::map_request(local));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves until it is aborted");
        });
        let client = Client::new(format!("http://{address}"));
        Self { host, client, server, _folder: folder }
    }

    /// What the fixture answers to these deeds.
    async fn ask(&self, deeds: &str) -> String {
        self.client.get("/").header("x-before", deeds).send().await.expect(200).text()
    }

    /// The sum of a metric's series that have these labels, 0 when there are none.
    fn metric(&self, series: &str) -> u64 {
        sum(&self.host.metrics(), series)
    }

    /// Waits until `deeds` are answered with what begins like this.
    async fn until(&self, deeds: &str, beginning: &str) {
        let began = std::time::Instant::now();
        loop {
            let answer = self.ask(deeds).await;
            if answer.starts_with(beginning) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "still {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// All requests come from one address.
async fn local<B>(mut request: http::Request<B>) -> http::Request<B> {
    let address = pillion_host::ClientAddress([192, 0, 2, 1].into());
    request.extensions_mut().insert(address);
    request
}

/// A file for state, in a folder of its own.
fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.sqlite");
    (folder, path)
}

/// Each back end, with what must live as long as it is used.
async fn back_ends() -> Vec<(StateBackend, Box<dyn std::any::Any + Send>)> {
    let redis = Redis::start().await;
    let (folder, path) = file();
    vec![
        (StateBackend::Memory, Box::new(())),
        (StateBackend::Sqlite(path), Box::new(folder)),
        (StateBackend::Redis(redis.url()), Box::new(redis)),
    ]
}

/// The answer of a Redis to an inline command.
async fn redis_says(redis: &Redis, command: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = ("127.0.0.1", redis.port());
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
    socket.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    answer.lines().next().unwrap_or_default().to_owned()
}
