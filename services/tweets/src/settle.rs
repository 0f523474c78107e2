//! Settles the tweets of authors who went or came back: the counts that they have a share in, and
//! what is left of deleted accounts. Some at a time, for an author may have written very much, and
//! others want to write meanwhile.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::{AppendError, Clock, Shutdown, Worker};

use crate::store::Store;

/// How often it looks unasked: the process that had begun may be gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// After a failure. Nobody waits but the saga that purges an account.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Looks at the start, for what a crash left over, and whenever there may be something.
pub(crate) fn worker(store: Store, clock: Arc<dyn Clock>) -> Worker {
    Worker::new("unsettled-authors", async move |mut shutdown: Shutdown| {
        loop {
            let settle = async {
                match store.settle_some(clock.now().floor_to_millis()).await {
                    Ok(true) => {}
                    Ok(false) => {
                        // Late is as good as told.
                        let told = store.unsettled.notified();
                        let _ = tokio::time::timeout(LOOK_INTERVAL, told).await;
                    }
                    Err(error) => {
                        tell(&error);
                        tokio::time::sleep(RETRY_DELAY).await;
                    }
                }
            };
            tokio::select! {
                () = settle => {}
                () = shutdown.requested() => return,
            }
        }
    })
}

fn tell(error: &AppendError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(error, "tweets of authors who went or came back are not settled; trying again");
}
