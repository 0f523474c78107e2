//! A server of its own process: serves, answers for its CPU time, ends when its parent does.

use std::convert::Infallible;
use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use pillion_host::ClientAddress;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower_service::Service as _;

use crate::app::{self, Mode};
use crate::clock;

/// What the server says once it listens, followed by its address.
pub(crate) const LISTENING: &str = "listening ";

/// The line that asks for the CPU time so far, in nanoseconds.
pub(crate) const CPU: &str = "cpu";

/// How long accepting rests after an error, such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Serves `mode` on a free loopback port until standard input ends. Everything, the threads of
/// the host and of the log included, runs on one core.
pub fn serve(mode: Mode, folder: &Path, core: usize) -> Result<()> {
    // Before any thread starts: threads inherit it.
    pin(core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = app::app(mode, folder)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{LISTENING}{}", listener.local_addr()?)?;
        drop(stdout);
        let (ended, end) = oneshot::channel::<()>();
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            if let Err(error) = control() {
                eprintln!("the server's control ends: {error}");
            }
            drop(ended);
        })?;
        tokio::select! {
            never = accept(&listener, app) => never,
            _ = end => Ok(()),
        }
    })
}

/// Answers the parent until it hangs up.
fn control() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        if line? == CPU {
            writeln!(io::stdout().lock(), "{}", clock::cpu_ns())?;
        }
    }
    Ok(())
}

/// Every connection is a task, as in `axum::serve`.
async fn accept(listener: &TcpListener, app: Router) -> Result<()> {
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        stream.set_nodelay(true)?;
        let app = app.clone();
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(ClientAddress(client.ip()));
            let mut app = app.clone();
            async move { Ok::<_, Infallible>(app.call(request).await.unwrap_or_else(|e| match e {})) }
        });
        tokio::spawn(async move {
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new());
            // A client that hangs up is how every run ends.
            let _gone = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Keeps the calling thread, and all that it starts from now on, on one core.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core} alone"))
}

/// The cores that this process may use: the first, and the last, which is the same one where
/// there is only one.
pub(crate) fn cores() -> Result<(usize, usize)> {
    let set = sched_getaffinity(None)?;
    let mut usable = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    let first = usable.next().context("this process may use no core")?;
    Ok((first, usable.next_back().unwrap_or(first)))
}
