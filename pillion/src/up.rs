//! `pillion up` and `pillion serve`: from the command line to a running process and the words
//! that it greets with.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::cli;
use crate::config::{Loaded, SERVICES};
use crate::data::{keep_new_files_private, write_secret};
use crate::output::print;
use crate::process::{Part, Process, Signals, hangups};
use crate::seed::{self, Demo};
use crate::tracing_output;

/// How long the process waits for threads that are at work when everything else has ended, such
/// as one that compiles a plugin. What they do is on disk whole or not at all.
const THREADS_END: Duration = Duration::from_secs(1);

/// What `--ready-file` holds.
#[derive(Debug, Serialize)]
struct Ready<'a> {
    url: &'a str,
    admin_url: &'a str,
    admin_token: &'a str,
    /// Null without seeded data.
    demo: Option<&'a Demo>,
}

/// Every service in this process.
pub(crate) fn up(up: &cli::Up) -> Result<()> {
    let loaded = Loaded::load(up.settings.config.as_deref(), up.settings.overrides())?;
    let part = Part::All(&SERVICES);
    start(&loaded, part, up.ready_file.as_deref(), !up.no_seed)
}

/// One service in this process.
pub(crate) fn serve(serve: &cli::Serve) -> Result<()> {
    let mut overrides = serve.settings.overrides();
    let name = SERVICES.into_iter().find(|name| *name == serve.service);
    let name = name.with_context(|| format!("there is no service `{}`", serve.service))?;
    // The service's own addresses take the place of the file's; flags take the place of both.
    let config = Loaded::load(serve.settings.config.as_deref(), overrides.clone())?.config;
    if let Some(service) = config.services.get(name) {
        overrides.listen = overrides.listen.or(service.listen);
        overrides.admin_listen = overrides
            .admin_listen
            .or(service.admin_listen)
            // The file's is the one of `up`, and this machine may run several services.
            .or(Some(([127, 0, 0, 1], 0).into()));
    }
    let loaded = Loaded::load(serve.settings.config.as_deref(), overrides)?;
    start(&loaded, Part::One(name), serve.ready_file.as_deref(), false)
}

fn start(loaded: &Loaded, part: Part, ready_file: Option<&Path>, seed: bool) -> Result<()> {
    tracing_output::begin(&loaded.config)?;
    keep_new_files_private();
    if let Some(path) = ready_file {
        forget(path)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(loaded.workers())
        .thread_name("pillion")
        .enable_all()
        .build()
        .context("cannot start the worker threads")?;
    run(runtime, async {
        // From here on a signal ends the process in order, also while it starts.
        let mut signals = Signals::new()?;
        let hangups = hangups()?;
        let started = async {
            let process = Process::start(loaded, part, seed, hangups).await?;
            let demo = match &process.identity {
                Some(identity) if seed => seed::seed(&process, identity).await?,
                _ => None,
            };
            anyhow::Ok((process, demo))
        };
        let (process, demo) = tokio::select! {
            started = started => started?,
            () = signals.stop() => {
                tracing::info!("ended by a signal before it was ready");
                return Ok(());
            }
        };
        let ready = serde_json::to_string_pretty(&Ready {
            url: &process.url,
            admin_url: &process.admin_url,
            admin_token: &process.admin_token,
            demo: demo.as_ref(),
        })?;
        let greeting = greeting(&process, loaded, part, demo.as_ref());
        process
            .run(signals, || {
                if let Some(path) = ready_file {
                    write_secret(path, &ready)?;
                }
                print(&greeting)
            })
            .await
    })
}

/// Runs to the end. Threads that do not end then are left behind: waiting for them would make a
/// signal wait for them too.
fn run(runtime: Runtime, main: impl Future<Output = Result<()>>) -> Result<()> {
    let ended = runtime.block_on(main);
    runtime.shutdown_timeout(THREADS_END);
    ended
}

/// A file of an earlier run would say "ready" too early.
fn forget(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn greeting(process: &Process, loaded: &Loaded, part: Part, demo: Option<&Demo>) -> String {
    let Process { url, admin_url, data, .. } = process;
    let data = data.path();
    let what = match part {
        Part::All(_) => "Pillion".to_owned(),
        Part::One(name) => format!("Pillion's {name}"),
    };
    // Writing to a String cannot fail.
    let mut text = format!("\n{what} is ready at {url}\n");
    if let Some(Demo { user_id, username, bearer_token }) = demo {
        let hours = seed::TOKEN_LIFETIME.as_secs() / 3_600;
        let _ = writeln!(
            text,
            "
Try it as @{username} (the token works for {hours} hours):

  TOKEN={bearer_token}
  curl -H \"Authorization: Bearer $TOKEN\" {url}/2/users/me
  curl -H \"Authorization: Bearer $TOKEN\" \"{url}/2/users/{user_id}/timelines/reverse_chronological?max_results=5\"
  curl -H \"Authorization: Bearer $TOKEN\" \"{url}/2/tweets/search/recent?query=from:{username}\"
  curl -H \"Authorization: Bearer $TOKEN\" {url}/2/tweets --json '{{\"text\": \"Hello from curl\"}}'"
        );
    }
    let _ = writeln!(text, "\n  data     {}", data.display());
    for (name, sink) in &loaded.config.sinks {
        let _ = writeln!(text, "  {name:<8} {}", sink.place(data));
    }
    let token = process.admin_file.display();
    let _ = writeln!(text, "  admin    {admin_url} (token in {token})");
    text += "\nStop it with Ctrl-C. `pillion plugin list` shows the plugins.\n";
    text
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_hangs_does_not_keep_the_process() {
        let (_never, hang) = mpsc::channel::<()>();
        let runtime = Runtime::new().unwrap();
        let begun = Instant::now();
        let ended = run(runtime, async {
            let (tell, runs) = tokio::sync::oneshot::channel();
            drop(tokio::task::spawn_blocking(move || {
                tell.send(()).unwrap();
                hang.recv()
            }));
            runs.await?;
            anyhow::bail!("the reason")
        });
        assert_eq!(ended.unwrap_err().to_string(), "the reason");
        let took = begun.elapsed();
        assert!(took >= THREADS_END && took < THREADS_END * 3, "{took:?}");
    }
}
