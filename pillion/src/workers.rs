//! What runs beside the requests: the services' workers under a supervisor, and the watch over
//! their databases.

mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::{Database, Shutdown, Worker};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use supervisor::WorkerBoard;

/// Workers get this long after the last connection: their steps are single transactions.
const END: Duration = Duration::from_secs(5);

/// How often databases are asked whether they are there: load balancers ask about as often.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Slower than this, a database is of no use to requests either.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Workers at work, each under a supervisor.
pub(crate) struct Workers(JoinSet<()>);

impl Workers {
    /// Starts them all; `board` shows how they are. One that fails is restarted and takes nothing
    /// else with it.
    pub(crate) fn start(
        workers: impl IntoIterator<Item = Worker>,
        board: &WorkerBoard,
        shutdown: &Shutdown,
    ) -> Self {
        let mut set = JoinSet::new();
        for worker in workers {
            let state = board.add(&worker);
            set.spawn(supervisor::supervise(worker, state, shutdown.clone()));
        }
        Self(set)
    }

    /// Waits for them after the shutdown was asked for, for a bounded time.
    pub(crate) async fn end(mut self) {
        let all = async { while self.0.join_next().await.is_some() {} };
        if tokio::time::timeout(END, all).await.is_err() {
            tracing::warn!(workers = self.0.len(), "workers did not end in time");
            self.0.shutdown().await;
        }
    }
}

/// Tells whether every database answers, from now on.
pub(crate) fn watch_databases(databases: Vec<Database>) -> (Worker, watch::Receiver<bool>) {
    let (tell, well) = watch::channel(true);
    let shared = Arc::new((databases, tell));
    let worker = Worker::new("databases", move |mut shutdown: Shutdown| {
        let shared = Arc::clone(&shared);
        async move {
            let (databases, tell) = &*shared;
            loop {
                tokio::select! {
                    () = shutdown.requested() => return,
                    () = tokio::time::sleep(WATCH_INTERVAL) => {}
                }
                let mut all = true;
                for database in databases {
                    let answer = tokio::time::timeout(ANSWER_TIMEOUT, database.check()).await;
                    if !matches!(answer, Ok(Ok(()))) {
                        let place = database.place();
                        tracing::warn!(place, ?answer, "a database does not answer");
                        all = false;
                    }
                }
                tell.send_replace(all);
            }
        }
    });
    // Without it nobody knows whether the databases answer.
    (worker.required(), well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_worker_only() {
        let (trigger, shutdown) = Shutdown::new();
        let (done, is_done) = watch::channel(false);
        let done = Arc::new(done);
        let workers = Workers::start(
            [
                Worker::new("panics", async |_: Shutdown| panic!("on purpose")),
                Worker::new("works", move |mut shutdown: Shutdown| {
                    let done = Arc::clone(&done);
                    async move {
                        shutdown.requested().await;
                        done.send_replace(true);
                    }
                }),
            ],
            &WorkerBoard::default(),
            &shutdown,
        );
        tokio::task::yield_now().await;
        trigger.request();
        workers.end().await;
        assert!(*is_done.borrow());
    }

    #[tokio::test]
    async fn a_database_that_is_closed_is_not_well() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("x.sqlite")).await.unwrap();
        let (worker, mut well) = watch_databases(vec![database.clone()]);
        let (trigger, shutdown) = Shutdown::new();
        let workers = Workers::start([worker], &WorkerBoard::default(), &shutdown);
        assert!(*well.borrow_and_update());
        database.close().await;
        tokio::time::timeout(Duration::from_secs(10), well.wait_for(|well| !well))
            .await
            .unwrap()
            .unwrap();
        trigger.request();
        workers.end().await;
    }
}
