//! What every kind of server can be told, without blocking the test's own tasks.

use std::panic;
use std::path::Path;
use std::sync::Arc;

use crate::place::Place;
use crate::process::Process;

/// A server on a port of 127.0.0.1, unless it was put elsewhere; both stay the same for as long as it lives. Ended and
/// removed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Server {
    process: Arc<Process>,
}

impl Server {
    /// The process is started by `start`.
    pub(crate) async fn start(start: impl FnOnce() -> Process + Send + 'static) -> Self {
        Self { process: Arc::new(aside(start).await) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.process.port()
    }

    /// The id of its first process while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        self.process.place()
    }

    /// `HOST:PORT`.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.place().address(), self.port())
    }

    /// What it has logged since it was first started.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its own folder.
    pub(crate) fn folder(&self) -> &Path {
        self.process.folder()
    }

    /// Ends it in order, which cuts its connections; waits until it has ended.
    pub async fn stop(&self) {
        self.tell(Process::stop).await;
    }

    /// Ends it and all of its processes with SIGKILL; waits until it has ended.
    pub async fn kill(&self) {
        self.tell(Process::kill).await;
    }

    /// Starts it on the same port and data after it was stopped or killed; waits until it is
    /// ready.
    pub async fn start_again(&self) {
        self.tell(Process::start_again).await;
    }

    /// Halts all of its processes: connections stay open, new ones come about, and nobody
    /// answers.
    pub async fn pause(&self) {
        self.tell(Process::pause).await;
    }

    /// Lets it go on after [`Self::pause`].
    pub async fn resume(&self) {
        self.tell(Process::resume).await;
    }

    async fn tell(&self, what: impl FnOnce(&Process) + Send + 'static) {
        let process = Arc::clone(&self.process);
        aside(move || what(&process)).await;
    }
}

/// Runs what waits for processes beside the runtime.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            Err(error) => panic!("the test's runtime ended: {error}"),
        },
    }
}
