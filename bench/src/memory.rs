//! What a warm instance holds: the private memory of threads that have one, less that of threads
//! that do the same work without a plugin.

use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::path::Path;
use std::pin::pin;
use std::sync::{Barrier, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use axum::body::Body;
use http::{Request, Response};
use pillion_host::{GenerationSpec, InstanceMode};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::wasm::{self, Tokens};
use crate::workload::{self, SERVICE};

/// Worker threads, and so warm instances of each plugin.
const WORKERS: usize = 64;

/// Requests of each worker before it is measured: enough for the instance's buffers to have their
/// size, few enough that lines waiting for the log do not count as its memory.
const REQUESTS: u64 = 20;

/// Figures of one plugin.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) plugin: String,
    /// Private memory of one warm instance with all that the host keeps for it, in bytes.
    pub(crate) resident: f64,
    /// The size of its linear memory, used or not, in bytes.
    pub(crate) linear: f64,
}

/// Measures each plugin alone; `folder` gets the host's state.
pub(crate) fn measure(folder: &Path) -> Result<Vec<Memory>> {
    let all = wasm::plugins(Tokens::Cache, InstanceMode::Warm)?;
    let mut empty = all.clone();
    empty.chains.clear();
    empty.plugins.clear();
    // The first round also pays what is paid once in a process.
    grown(folder, &empty)?;
    let (base, _) = grown(folder, &empty)?;
    let mut figures = Vec::new();
    for (name, plugin) in &all.plugins {
        let mut alone = empty.clone();
        alone.plugins.insert(name.clone(), plugin.clone());
        alone.chains.insert(SERVICE.to_owned(), vec![name.clone()]);
        // Compiled first, so that the compiler's memory is not in the figures.
        grown(folder, &alone)?;
        let (bytes, linear) = grown(folder, &alone)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        figures.push(Memory {
            plugin: name.clone(),
            resident: (bytes - base).max(0) as f64 / WORKERS as f64,
            linear: linear as f64 / WORKERS as f64,
        });
    }
    Ok(figures)
}

/// How much private memory a host and its busy workers take, and the plugins' linear memory.
fn grown(folder: &Path, spec: &GenerationSpec) -> Result<(i64, usize)> {
    let host = wasm::host(&folder.join("state-memory"), &folder.join("memory.log"), WORKERS)?;
    let before = private_bytes()?;
    host.start(spec.clone())?;
    let layer = host.layer(SERVICE, wasm::routes());
    let (busy, measured) = (Barrier::new(WORKERS + 1), Barrier::new(WORKERS + 1));
    let request = workload::authorized()?;
    // One at a time: there are more workers than cores.
    let turn = Mutex::new(());
    let after = thread::scope(|scope| {
        let work = || {
            let mut service = layer.layer(Answers);
            let worked = {
                let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
                (0..REQUESTS).try_for_each(|_| drive(&mut service, request.clone()))
            };
            busy.wait();
            measured.wait();
            worked
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        busy.wait();
        let after = private_bytes();
        measured.wait();
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a worker panicked"))??;
        }
        after
    })?;
    let linear = host.list().iter().map(|plugin| plugin.memory_bytes).sum();
    Ok((after - before, linear))
}

/// Answers everything.
#[derive(Clone, Debug)]
struct Answers;

impl Service<Request<()>> for Answers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}

fn drive<S, B>(service: &mut S, request: Request<()>) -> Result<()>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let future = pin!(service.call(request));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) if response.status().is_success() => Ok(()),
        Poll::Ready(Ok(response)) => bail!("a plugin answers {}", response.status()),
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => bail!("a request waits, though nothing is awaited"),
    }
}

/// Anonymous memory of this process that is in RAM.
fn private_bytes() -> Result<i64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib: i64 = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next())
        .and_then(|kib| kib.parse().ok())
        .context("/proc/self/status has no RssAnon")?;
    Ok(kib * 1_024)
}
