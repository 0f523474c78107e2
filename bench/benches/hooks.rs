//! What a request through [`PluginLayer`](pillion_host::PluginLayer) costs, and what swaps and
//! restarts take. A hook's cost is its case less `hooks/alone`, the same service without a layer.

use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use criterion::Criterion;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use pillion_bench::{
    SERVICE, Tokens, authorized, criterion_folder, fixture, host, pin, plugins, request, routes,
};
use pillion_host::{
    GenerationSpec, Host, InstanceMode, PluginLayer, PluginSpec, RollbackRequest, RouteTable,
    SwapRequest,
};
use serde_json::json;
use tower_layer::Layer as _;
use tower_service::Service;

fn main() -> Result<()> {
    pin(0)?;
    let mut criterion = Criterion::default()
        .output_directory(&criterion_folder())
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    let folder = tempfile::tempdir()?;
    hooks(&mut criterion, folder.path())?;
    chains(&mut criterion, folder.path())?;
    lifecycle(&mut criterion, folder.path())?;
    criterion.final_summary();
    Ok(())
}

/// One request, from call to the end of the body.
fn hooks(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let (noop, fields) = (fixture("noop")?, fixture("fields")?);
    let declared =
        host(&folder.join("inspect"), &folder.join("log"), 1)?.inspect(&fields)?.description;
    let declared: Vec<&str> = (declared.phases.iter())
        .flat_map(|phase| &phase.fields)
        .filter_map(|field| field.strip_prefix("header:"))
        .collect();
    let request = request(declared.iter().copied())?;

    let mut group = criterion.benchmark_group("hooks");
    // With the copy of the request in what is measured: taken out of the difference with `alone`,
    // and the request as warm in the cache as one that was just parsed.
    let mut case = |name: &str, service: &mut dyn FnMut(Request<()>)| {
        group.bench_function(name, |bencher| bencher.iter(|| service(request.clone())));
    };
    let mut alone = Hello;
    case("alone", &mut |request| drive(&mut alone, request));
    for (name, chain, mode) in [
        ("no-plugin", &[][..], InstanceMode::Warm),
        ("one-field", &[&noop], InstanceMode::Warm),
        // The second hook's cost is what a hook adds once a chain is there.
        ("one-field-twice", &[&noop, &noop], InstanceMode::Warm),
        ("twenty-fields", &[&fields], InstanceMode::Warm),
        ("fresh", &[&noop], InstanceMode::Fresh),
    ] {
        let host = host(&folder.join(name), &folder.join("log"), 1)?;
        let mut spec = GenerationSpec::default();
        for (place, component) in chain.iter().enumerate() {
            let mut plugin = PluginSpec::new(component);
            plugin.mode = mode;
            let called = format!("plugin-{place}");
            spec.plugins.insert(called.clone(), plugin);
            spec.chains.entry(SERVICE.to_owned()).or_default().push(called);
        }
        host.start(spec)?;
        let mut service = layer(&host).layer(Hello);
        case(name, &mut |request| drive(&mut service, request));
    }
    group.finish();
    Ok(())
}

/// The real plugins on the request of the comparison of servers.
fn chains(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let request = authorized()?;
    let mut group = criterion.benchmark_group("chains");
    for (name, tokens, chain) in [
        ("logging", Tokens::Cache, &["logging"][..]),
        ("auth", Tokens::CheckAlways, &["auth"]),
        ("auth-cache", Tokens::Cache, &["auth"]),
        ("auth-cache-ratelimit", Tokens::Cache, &["auth", "ratelimit"]),
        ("all", Tokens::CheckAlways, &["logging", "auth", "ratelimit"]),
        ("all-cache", Tokens::Cache, &["logging", "auth", "ratelimit"]),
    ] {
        let host = host(&folder.join("chains"), &folder.join("log"), 1)?;
        let mut spec = plugins(tokens, InstanceMode::Warm)?;
        let chain = chain.iter().map(|name| (*name).to_owned()).collect();
        spec.chains.insert(SERVICE.to_owned(), chain);
        host.start(spec)?;
        let mut service = host.layer(SERVICE, routes()).layer(Hello);
        group.bench_function(name, |bencher| {
            bencher.iter(|| drive(&mut service, request.clone()));
        });
    }
    group.finish();
    Ok(())
}

/// From an order to the first request that is served by it.
fn lifecycle(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let state = folder.join("lifecycle");
    let log = folder.join("log");
    let spec = plugins(Tokens::Cache, InstanceMode::Warm)?;
    let start = || -> Result<Host> {
        let host = host(&state, &log, 1)?;
        host.start(spec.clone())?;
        Ok(host)
    };
    // Compiles, so that from here on the cache is warm.
    let running = start()?;
    let request = request([])?;
    let mut group = criterion.benchmark_group("lifecycle");
    group.sample_size(20);

    let mut service = layer(&running).layer(Hello);
    let swap = |change: SwapRequest| running.swap("auth", change).context("auth cannot be swapped");
    let config = spec.plugins.get("auth").map(|auth| auth.config.clone());
    let config = config.context("there is no auth")?;
    let mut entries = 0;
    group.bench_function("swap-config", |bencher| {
        bencher.iter(|| {
            entries = (entries + 1) % 1_000;
            let mut config = config.clone();
            if let Some(value) = config.get_mut("cache_entries") {
                *value = json!(1_000 + entries);
            }
            let change = SwapRequest { config: Some(config), ..SwapRequest::default() };
            swap(change).expect("its configuration is good");
            drive(&mut service, request.clone());
        });
    });
    // To and fro between the last two sets.
    let mut ids = running.history().into_iter().map(|generation| generation.generation);
    let (mut current, mut before) = (ids.next(), ids.next());
    group.bench_function("rollback", |bencher| {
        bencher.iter(|| {
            let back = RollbackRequest { to: before, ..RollbackRequest::default() };
            let rolled_back = running.roll_back(&back).expect("a generation on record");
            before = current.replace(rolled_back.generation);
            drive(&mut service, request.clone());
        });
    });
    let auth = spec.plugins.get("auth").map(|auth| &auth.component);
    let twin = twin(auth.context("there is no auth")?, folder)?;
    let components = [twin.as_path(), auth.context("there is no auth")?];
    for component in components {
        let change = |path: &Path| SwapRequest {
            component: Some(path.to_owned()),
            ..SwapRequest::default()
        };
        swap(change(component))?;
    }
    let mut turn = components.into_iter().cycle();
    group.bench_function("swap-component", |bencher| {
        bencher.iter(|| {
            let change = SwapRequest {
                component: turn.next().map(Path::to_owned),
                ..SwapRequest::default()
            };
            swap(change).expect("both components are good");
            drive(&mut service, request.clone());
        });
    });
    drop(service);
    drop(running);

    group.bench_function("restart", |bencher| {
        bencher.iter_custom(|times| {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                let began = Instant::now();
                let host = start().expect("it started before");
                drive(&mut layer(&host).layer(Hello), request.clone());
                took += began.elapsed();
                // Its end, which waits for the log's last lines, is not its start.
                drop(host);
            }
            took
        });
    });
    group.finish();
    Ok(())
}

/// The same component with another digest: an empty custom section at its end.
fn twin(component: &Path, folder: &Path) -> Result<std::path::PathBuf> {
    /// Section 0, three bytes: a name of two and nothing else.
    const CUSTOM_SECTION: [u8; 5] = [0, 3, 2, b'v', b'2'];
    let mut bytes = fs::read(component)?;
    bytes.extend_from_slice(&CUSTOM_SECTION);
    let path = folder.join("twin.wasm");
    fs::write(&path, bytes)?;
    Ok(path)
}

fn layer(host: &Host) -> PluginLayer {
    host.layer(SERVICE, RouteTable::default())
}

/// Calls the service and reads the body to its end, as a server would.
fn drive<S, B>(service: &mut S, request: Request<()>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut context) else {
        unreachable!("nothing is awaited");
    };
    assert_eq!(response.status(), 200, "{:?}", response.headers());
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => {
                std::hint::black_box(frame.into_data().unwrap_or_default());
            }
            Poll::Ready(None) => break,
            other => unreachable!("the body is whole, but there is {:?}", other.is_pending()),
        }
    }
}

/// The trivial service inside.
#[derive(Clone, Debug)]
struct Hello;

impl Service<Request<()>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        std::hint::black_box(&request);
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    }
}
