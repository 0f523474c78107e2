//! Work that is left over for later, such as the rest of an account that is deleted and had very
//! much: a worker does it some at a time, for others want to write meanwhile.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::service::{Shutdown, Worker};

/// How often it looks unasked: the process that had begun may be gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// After a failure. Nobody waits but sagas, which ask again themselves.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A worker that does what is left over, by one call of `do_some` after the other until one says
/// that there was nothing to do. It looks at the start, for what a crash left over, whenever it is
/// `told`, and every few seconds.
pub fn worker<F, W, E>(name: &'static str, told: Arc<Notify>, do_some: F) -> Worker
where
    F: Fn() -> W + Send + Sync + 'static,
    W: Future<Output = Result<bool, E>> + Send + 'static,
    E: Error + Send + 'static,
{
    let do_some = Arc::new(do_some);
    Worker::new(name, move |mut shutdown: Shutdown| {
        let (told, do_some) = (Arc::clone(&told), Arc::clone(&do_some));
        async move {
            loop {
                let some = do_some();
                let work = async {
                    match some.await {
                        Ok(true) => {}
                        Ok(false) => {
                            // Late is as good as told.
                            let _ = tokio::time::timeout(LOOK_INTERVAL, told.notified()).await;
                        }
                        Err(error) => {
                            tell(name, &error);
                            tokio::time::sleep(RETRY_DELAY).await;
                        }
                    }
                };
                tokio::select! {
                    () = work => {}
                    () = shutdown.requested() => return,
                }
            }
        }
    })
}

fn tell(worker: &str, error: &(dyn Error + 'static)) {
    tracing::warn!(worker, error, "what is left over was not done; trying again");
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::database::DatabaseError;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_until_nothing_is_left_and_looks_again_when_told_or_after_a_while() {
        let (began, told) = (Instant::now(), Arc::new(Notify::new()));
        let answers = VecDeque::from(["some", "fails", "some", "none", "some", "none", "none"]);
        let (answers, looks) = (Mutex::new(answers), Arc::new(Mutex::new(Vec::new())));
        let do_some = {
            let looks = looks.clone();
            move || {
                looks.lock().unwrap().push(began.elapsed());
                let answer = answers.lock().unwrap().pop_front();
                async move {
                    match answer {
                        Some("some") => Ok(true),
                        Some("fails") => Err(DatabaseError::Corrupt("a row".to_owned())),
                        _ => Ok(false),
                    }
                }
            }
        };
        let (trigger, shutdown) = Shutdown::new();
        let worker = worker("rest", told.clone(), do_some);
        assert_eq!(worker.name, "rest");
        let running = tokio::spawn(worker.run(shutdown));
        sleep(Duration::from_secs(2)).await;
        told.notify_one();
        sleep(Duration::from_secs(7)).await;
        trigger.request();
        running.await.unwrap();
        let looks: Vec<u64> = looks.lock().unwrap().iter().map(Duration::as_secs).collect();
        assert_eq!(looks, [0, 0, 1, 1, 2, 2, 7]);
    }
}
