//! Pillion under the referee: the host in this process, on a real socket, with the compiler in a
//! child of its own as the program runs it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use pillion_host::{
    ActivateError, ClientAddress, Compiler, FailurePolicy, GenerationSpec, Host, HostOptions,
    InstanceMode, LoadErrorReason, PluginSpec, RouteTable, SinkSpec, SinkTarget,
};
use pillion_tests::build;
use pillion_tests::client::Client;
use pillion_tests::rig;
use serde_json::json;

use crate::case::{Case, Request};
use crate::logs;
use crate::make::Made;
use crate::referee::{Answer, Called, HostUnderTest, Loaded, Submission};

/// Held by what measures, and by what takes a whole machine.
pub(crate) static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Threads that run requests.
pub(crate) const WORKERS: usize = 2;

/// The service behind the neighbor, and the neighbor's name.
pub(crate) const NEIGHBOR: &str = "neighbor";

/// The service behind the submission.
const SERVICE: &str = "case";

/// The header by which these tests say where a request comes from.
pub(crate) const CLIENT: &str = "x-client";

/// What a guest that is written with the SDK is granted unless its case says otherwise.
const GRANTS: [&str; 6] = ["clock", "kv", "limiter", "metrics", "random", "sink:access"];

/// How long `/slow` takes: longer than any test.
const SLOW: Duration = Duration::from_mins(2);

/// Longer than a completion hook takes to be counted.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

/// A host and a server around it; both stop when it is dropped.
pub(crate) struct Pillion {
    pub(crate) host: Host,
    pub(crate) base: String,
    folder: tempfile::TempDir,
    client: Client,
    server: tokio::task::JoinHandle<()>,
    plugin: String,
}

impl Drop for Pillion {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// How a host is set up here.
pub(crate) fn options(folder: &tempfile::TempDir) -> HostOptions {
    let mut options = HostOptions::new(folder.path().join("state"));
    let access = SinkSpec {
        target: SinkTarget::File(folder.path().join("access.log")),
        flush: Duration::from_millis(50),
    };
    options.sinks = BTreeMap::from([("access".to_owned(), access)]);
    options.workers = WORKERS;
    options.compiler = Compiler::Child {
        program: build::pillion(),
        arguments: vec!["compile-component".to_owned()],
    };
    options
}

/// Puts the client's address where the program's server would.
pub(crate) async fn with_address<B>(mut request: http::Request<B>) -> http::Request<B> {
    let said = request.headers().get(CLIENT).and_then(|value| value.to_str().ok()?.parse().ok());
    let address: IpAddr = said.unwrap_or(Ipv4Addr::LOCALHOST.into());
    request.extensions_mut().insert(ClientAddress(address));
    request
}

/// Another client each time.
pub(crate) fn next_client() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0001);
    Ipv4Addr::from_bits(NEXT.fetch_add(1, Ordering::Relaxed)).to_string()
}

/// The healthy plugin.
pub(crate) fn neighbor() -> PluginSpec {
    rig::plugin(
        build::plugin("ratelimit"),
        json!({ "address": { "burst": 1_000_000, "period_ms": 1_000 } }),
        &["limiter"],
    )
}

/// The plugin of a case whose component lies at `path`.
pub(crate) fn spec(case: &Case, made: &Made, path: PathBuf) -> PluginSpec {
    let load = &case.load;
    let all: &[&str] = if case.guest.is_some() { &GRANTS } else { &[] };
    let grants: Vec<&str> = match &load.grants {
        Some(grants) => grants.iter().map(String::as_str).collect(),
        None => all.to_vec(),
    };
    let mut spec = rig::plugin(path, load.config.clone(), &grants);
    spec.digest = made.pinned;
    let limits = serde_json::to_value(&load.limits).expect("limits");
    spec.limits = serde_json::from_value(limits).expect("names of limits");
    match load.failure_policy.as_deref() {
        None | Some("closed") => {}
        Some("open") => spec.failure_policy = FailurePolicy::Open,
        Some(other) => panic!("{}: there is no policy `{other}`", case.name),
    }
    match load.mode.as_deref() {
        None | Some("warm") => {}
        Some("fresh") => spec.mode = InstanceMode::Fresh,
        Some(other) => panic!("{}: there is no mode `{other}`", case.name),
    }
    spec
}

/// The class of a refusal, as the cases spell it.
pub(crate) fn class(error: &ActivateError) -> String {
    let ActivateError::Load(error) = error else {
        return "activation".to_owned();
    };
    let class = match &error.reason {
        LoadErrorReason::Read { .. } => "unreadable",
        LoadErrorReason::Digest { .. } => "digest",
        LoadErrorReason::TooLarge { .. } => "too-large",
        LoadErrorReason::NotAComponent(_) => "not-a-component",
        LoadErrorReason::Compile(_) => "compile",
        LoadErrorReason::WrongWorld(_) => "wrong-world",
        LoadErrorReason::ForbiddenImport { .. } => "forbidden-import",
        LoadErrorReason::NeedsGrant(_) => "needs-grant",
        LoadErrorReason::Descriptor(_) => "descriptor",
        LoadErrorReason::Config(_) => "configuration",
        LoadErrorReason::Failed { step, .. } => step,
        LoadErrorReason::NoRoom => "no-room",
        LoadErrorReason::Settings(_) => "settings",
        _ => "other",
    };
    class.to_owned()
}

/// The failures that the metrics count for a plugin, by phase and reason.
pub(crate) fn failures(metrics: &str, plugin: &str) -> BTreeMap<(String, String), u64> {
    let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("pillion_plugin_failures_total{") else { continue };
        let Some((labels, value)) = rest.split_once("} ") else { continue };
        let label = |name: &str| {
            let begin = labels.find(&format!("{name}=\""))? + name.len() + 2;
            labels.get(begin..)?.split('"').next().map(str::to_owned)
        };
        if label("plugin").as_deref() == Some(plugin)
            && let (Some(phase), Some(reason)) = (label("phase"), label("reason"))
            && let Ok(value @ 1..) = value.trim().parse()
        {
            *found.entry((phase, reason)).or_default() += value;
        }
    }
    found
}

impl Pillion {
    /// A host on which only the neighbor runs.
    pub(crate) async fn start() -> Self {
        Self::with_instances(1_000).await
    }

    /// The same with so many places in the pool of instances.
    pub(crate) async fn with_instances(instances_max: u32) -> Self {
        Self::with(instances_max, &[SERVICE.to_owned()]).await
    }

    /// The same with these services beside the neighbor's, each below its own name.
    pub(crate) async fn with(instances_max: u32, services: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut options = options(&folder);
        options.instances_max = instances_max;
        let host = Host::new(options).expect("a host");
        let mut app = Router::new();
        for service in services.iter().map(String::as_str).chain([NEIGHBOR]) {
            let behind = Router::new()
                .route("/slow", axum::routing::get(|| tokio::time::sleep(SLOW)))
                .fallback(|| async { "the handler\n" })
                .layer(host.layer(service, RouteTable::default()));
            app = app.nest_service(&format!("/{service}"), behind);
        }
        let app = app.layer(axum::middleware::map_request(with_address));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves until it is aborted");
        });
        let client = Client::new(base.clone());
        let started = Self { host, base, folder, client, server, plugin: String::new() };
        let only = Self::generation(None);
        started.activate(only).await.expect("the neighbor starts");
        started
    }

    fn generation(hostile: Option<(&str, PluginSpec)>) -> GenerationSpec {
        let mut spec = GenerationSpec::default();
        spec.plugins.insert(NEIGHBOR.to_owned(), neighbor());
        spec.chains.insert(NEIGHBOR.to_owned(), vec![NEIGHBOR.to_owned()]);
        if let Some((name, plugin)) = hostile {
            spec.plugins.insert(name.to_owned(), plugin);
            spec.chains.insert(SERVICE.to_owned(), vec![name.to_owned()]);
        }
        spec
    }

    /// Runs this plugin beside the neighbor, in the place of the one before.
    pub(crate) async fn run(
        &mut self,
        name: &str,
        plugin: PluginSpec,
    ) -> Result<(), ActivateError> {
        name.clone_into(&mut self.plugin);
        self.activate(Self::generation(Some((name, plugin)))).await
    }

    /// A request that stays in the handler until it is aborted.
    pub(crate) fn hold(&self) -> tokio::task::JoinHandle<()> {
        let client = self.client.clone();
        tokio::spawn(async move {
            client.get("/case/slow").send().await;
        })
    }

    /// Runs this set of plugins.
    pub(crate) async fn activate(&self, spec: GenerationSpec) -> Result<(), ActivateError> {
        let host = self.host.clone();
        let started = tokio::task::spawn_blocking(move || host.start(spec));
        started.await.expect("the host does not panic").map(drop)
    }
}

impl HostUnderTest for Pillion {
    async fn load(&mut self, submission: &Submission<'_>) -> Loaded {
        let Submission { case, component } = submission;
        let path = self.folder.path().join(format!("{}.wasm", case.name));
        std::fs::write(&path, &component.bytes).expect("a file");
        match self.run(&case.name, spec(case, component, path)).await {
            Ok(()) => Loaded::Accepted,
            Err(error) => Loaded::Refused { class: class(&error), message: error.to_string() },
        }
    }

    async fn call(&mut self, request: &Request, phase: Option<&str>) -> Called {
        let before = failures(&self.host.metrics(), &self.plugin);
        let path = format!("/case{}", request.path);
        let client = next_client();
        let mut call = self.client.get(&path).header(CLIENT, &client);
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        let began = Instant::now();
        let answer = call.try_send().await;
        let took = began.elapsed();
        let counted = || {
            let after = failures(&self.host.metrics(), &self.plugin);
            let new = after.into_iter().filter(|(key, value)| before.get(key) != Some(value));
            new.map(|(key, _)| key).collect::<Vec<_>>()
        };
        let mut failures = counted();
        while failures.is_empty() && phase.is_some() && began.elapsed() < COUNTED_WITHIN {
            tokio::time::sleep(Duration::from_millis(2)).await;
            failures = counted();
        }
        let answer = match answer {
            Ok(answer) => {
                Ok(Answer { status: answer.status, headers: answer.headers, body: answer.body })
            }
            Err(error) => Err(format!("{error:#}")),
        };
        Called { answer, failures, took }
    }

    async fn neighbor(&mut self) -> Result<(), String> {
        match self.client.get("/neighbor/").try_send().await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("{}: {}", answer.status, answer.text())),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    fn alive(&mut self) -> bool {
        // It is this very process; what must not happen is that its server has ended.
        !self.server.is_finished()
    }

    fn dropped(&mut self, what: &str) -> Option<u64> {
        let name = match what {
            "log-lines" => "pillion_plugin_log_lines_dropped_total",
            "series" => "pillion_plugin_series_dropped_total",
            _ => return None,
        };
        let own = format!("plugin=\"{}\"", self.plugin);
        let metrics = self.host.metrics();
        let values = metrics
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')))
            .filter(|line| line.contains(&own))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        Some(values.sum())
    }

    fn printed(&mut self) -> Vec<String> {
        logs::taken()
    }

    fn metrics(&mut self) -> String {
        self.host.metrics()
    }
}
