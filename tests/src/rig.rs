//! Plugins around a trivial handler in this process, on a real socket: for suites that are about
//! the host and not about the services.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use pillion_host::{
    ClientAddress, GenerationSpec, Host, HostOptions, PluginSpec, RouteTable, SinkSpec, SinkTarget,
};
use serde_json::Value;

use crate::build;
use crate::client::Client;

/// How long `/slow` takes: longer than any test.
const SLOW: Duration = Duration::from_mins(1);

/// A host with one chain, and a server behind it. Stops when dropped.
#[derive(Debug)]
pub struct Rig {
    /// The host behind the server.
    pub host: Host,
    /// For the server.
    pub client: Client,
    /// The host's state, and the output `access.log`.
    pub folder: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

/// A state folder with the machine code of what most tests load, compiled once a suite.
fn compiled() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = Host::new(HostOptions::new(folder.path())).expect("a host");
        for component in
            [build::fixture("hostile"), build::plugin("ratelimit"), build::plugin("logging")]
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

/// A host with the sink `access` and nothing running. A second one in the same folder finds
/// what the first one left.
pub fn host(folder: &tempfile::TempDir) -> Host {
    let state = folder.path().join("state");
    if !state.exists() {
        copy(compiled(), &state);
    }
    let mut options = HostOptions::new(state);
    let access = SinkSpec {
        target: SinkTarget::File(folder.path().join("access.log")),
        flush: Duration::from_millis(50),
    };
    options.sinks = BTreeMap::from([("access".to_owned(), access)]);
    Host::new(options).expect("a host")
}

/// One plugin called `mine` around the service `app`.
pub fn single(plugin: PluginSpec) -> GenerationSpec {
    let mut spec = GenerationSpec::default();
    spec.plugins.insert("mine".to_owned(), plugin);
    spec.chains.insert("app".to_owned(), vec!["mine".to_owned()]);
    spec
}

/// A component with a configuration and grants.
pub fn plugin(component: std::path::PathBuf, config: Value, grants: &[&str]) -> PluginSpec {
    let mut spec = PluginSpec::new(component);
    spec.config = config;
    let names: Vec<String> = grants.iter().map(|name| (*name).to_owned()).collect();
    spec.grants = names.try_into().expect("known grants");
    spec
}

/// The sum over all series of a page that have the name and the labels of `series`, whatever other
/// labels they have: `calls_total{plugin="mine"}` sums over phases and versions.
pub fn sum(page: &str, series: &str) -> u64 {
    let labels = |series: &str| -> Vec<String> {
        let inside = series.split_once('{').map_or("", |(_, rest)| rest);
        let inside = inside.rsplit_once('}').map_or("", |(inside, _)| inside);
        inside.split("\",").map(|label| label.trim_end_matches('"').to_owned()).collect()
    };
    let name = |series: &str| series.split(['{', ' ']).next().unwrap_or_default().to_owned();
    let (wanted, wanted_labels) = (name(series), labels(series));
    let of_line = |line: &str| -> Option<u64> {
        let (found, value) = line.rsplit_once(' ')?;
        let found_labels = labels(found);
        let matches = name(found) == wanted
            && wanted_labels.iter().all(|label| label.is_empty() || found_labels.contains(label));
        if matches { value.parse().ok() } else { None }
    };
    page.lines().filter(|line| !line.starts_with('#')).filter_map(of_line).sum()
}

/// The header in which a test says from which address a request comes.
pub const CLIENT: &str = "x-test-client";

/// Stands for a server that knows its clients' addresses.
async fn client_address(
    mut request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let header = request.headers().get(CLIENT).and_then(|value| value.to_str().ok());
    if let Some(address) = header.map(|text| text.parse().expect("an address")) {
        request.extensions_mut().insert(ClientAddress(address));
    }
    next.run(request).await
}

impl Rig {
    /// Starts this set.
    pub async fn start(spec: GenerationSpec) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = host(&folder);
        host.start(spec).unwrap_or_else(|error| panic!("{error}"));
        let app = Router::new()
            .route("/empty", get(|| async { http::StatusCode::NO_CONTENT }))
            .route("/slow", get(|| tokio::time::sleep(SLOW)))
            .fallback(|| async { "the handler\n" })
            .layer(host.layer("app", RouteTable::default()))
            .layer(axum::middleware::from_fn(client_address));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves until it is aborted");
        });
        Self { host, client: Client::new(format!("http://{address}")), folder, server }
    }

    /// The sum of a metric's series that have these labels, 0 when there are none; see [`sum`].
    pub fn metric(&self, series: &str) -> u64 {
        sum(&self.host.metrics(), series)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.server.abort();
    }
}
