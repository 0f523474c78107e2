//! What a service is given and what it gives back.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use tokio::sync::{Mutex, watch};

use crate::clock::Clock;
use crate::database::{Database, DatabaseError, OpenError};
use crate::ids::Ids;
use crate::journal::Journal;
use crate::peers::Peers;
use crate::random::{Random, RandomError};
use crate::routes::RouteId;
use crate::saga::Sagas;
use crate::service_token::ServiceTokens;

/// What a service stands on.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<Ids>,
    /// Unpredictable bytes.
    pub random: Arc<dyn Random>,
    /// The service's own database.
    pub database: Database,
    /// The other services.
    pub peers: Arc<dyn Peers>,
    /// What it shows them when it acts on its own behalf.
    pub service_tokens: Arc<ServiceTokens>,
}

/// A service that is ready to serve.
#[derive(Debug)]
pub struct Service {
    /// Its name, as configuration and peers call it.
    pub name: &'static str,
    /// Its handlers. The plugin chain goes around it.
    pub router: Router,
    /// The routes of `router`.
    pub routes: Vec<RouteId>,
    /// What runs beside the handlers.
    pub workers: Vec<Worker>,
    /// Its events and tables, when it has any: the program carries the events to and fro.
    pub journal: Option<Journal>,
    /// The sagas that it conducts, for operators; their worker is among `workers`.
    pub sagas: Option<Sagas>,
}

/// Why a service cannot start. The message names the culprit and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database failed while the service read what it needs.
    #[error("the service could not read its database")]
    Database(#[from] DatabaseError),
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Something that the operator set cannot be.
    #[error("{0}")]
    Configuration(String),
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The future of one run of a [`Worker::stateful`], which borrows the state.
pub type Run<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Work that goes on beside the handlers until the service shuts down. It can be started again:
/// a supervisor restarts a worker that panics or ends before the shutdown.
pub struct Worker {
    /// Its name, for log and metrics; unique within the process.
    pub name: Cow<'static, str>,
    /// Whether requests depend on it, so that the process is not ready while it keeps failing.
    pub is_required: bool,
    start: Box<dyn Fn(Shutdown) -> Task + Send + Sync>,
}

impl Worker {
    /// A worker whose future ends soon after the shutdown that it is given is asked for. `start`
    /// is called once for each run.
    pub fn new<F>(
        name: impl Into<Cow<'static, str>>,
        start: impl Fn(Shutdown) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let start = Box::new(move |shutdown| -> Task { Box::pin(start(shutdown)) });
        Self { name: name.into(), is_required: false, start }
    }

    /// A worker with state that a restart finds as the run before left it.
    pub fn stateful<S: Send + 'static>(
        name: impl Into<Cow<'static, str>>,
        state: S,
        run: impl for<'a> Fn(&'a mut S, Shutdown) -> Run<'a> + Send + Sync + 'static,
    ) -> Self {
        // Runs follow each other, so nothing ever waits for the lock.
        let shared = Arc::new((Mutex::new(state), run));
        Self::new(name, move |shutdown| {
            let shared = Arc::clone(&shared);
            async move {
                let (state, run) = &*shared;
                run(&mut *state.lock().await, shutdown).await;
            }
        })
    }

    /// The same worker, on which requests depend.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// The future of one run, to be spawned.
    pub fn run(&self, shutdown: Shutdown) -> impl Future<Output = ()> + Send + 'static + use<> {
        let run = (self.start)(shutdown);
        #[cfg(feature = "crash-points")]
        let run = crate::crash::panicking_on_demand(self.name.to_string(), run);
        run
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Tells that it is time to stop. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Asks for the shutdown; dropping it does too.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl Shutdown {
    /// A shutdown that has not been asked for, and what asks for it.
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Whether it has been asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until it is asked for. Cancelling the wait loses nothing.
    pub async fn requested(&mut self) {
        // An error says that the trigger is gone, which asks for the shutdown as well.
        let _ = self.0.wait_for(|requested| *requested).await;
    }
}

impl ShutdownTrigger {
    /// Asks everyone to stop.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_runs_until_the_shutdown() {
        let (trigger, shutdown) = Shutdown::new();
        let worker = Worker::new("waits", async |mut shutdown: Shutdown| {
            shutdown.requested().await;
        });
        assert_eq!(worker.name, "waits");
        let task = tokio::spawn(worker.run(shutdown.clone()));
        tokio::task::yield_now().await;
        assert!(!task.is_finished() && !shutdown.is_requested());
        trigger.request();
        task.await.unwrap();
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_second_run_finds_the_state_of_the_first() {
        let (_trigger, shutdown) = Shutdown::new();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let worker = Worker::stateful("counts", 0_u32, move |runs, _| {
            let tell = tell.clone();
            Box::pin(async move {
                *runs += 1;
                tell.send(*runs).unwrap();
                assert!(*runs > 1, "the first run fails");
            })
        });
        assert!(tokio::spawn(worker.run(shutdown.clone())).await.unwrap_err().is_panic());
        tokio::spawn(worker.run(shutdown)).await.unwrap();
        assert_eq!((told.recv().await, told.recv().await), (Some(1), Some(2)));
    }

    #[tokio::test]
    async fn a_lost_trigger_stops_too() {
        let (trigger, mut shutdown) = Shutdown::new();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
