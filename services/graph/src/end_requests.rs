//! Ends the requests of accounts that were deleted: each by an event, and with its saga. Beside the
//! handlers, some at a time, for a protected account may have been asked by very many.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::{Shutdown, Worker};
use pillion_events::Relation;
use tokio::sync::Notify;

use crate::error::Error;
use crate::{Graph, follow_protected, store};

/// Ended in one transaction, while others wait for their turn.
const BATCH_MAX: u32 = 50;
/// After a failure. Nobody waits but the saga that purges the account.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Looks at the start, for what a crash left over, and whenever an account was deleted.
pub(crate) fn worker(graph: Graph, deleted: Arc<Notify>) -> Worker {
    Worker::new("requests-of-deleted-accounts", async move |mut shutdown: Shutdown| {
        loop {
            let wait = async {
                match end_some(&graph).await {
                    Ok(0) => deleted.notified().await,
                    Ok(_) => {}
                    Err(error) => {
                        tell(&error);
                        tokio::time::sleep(RETRY_DELAY).await;
                    }
                }
            };
            tokio::select! {
                () = wait => {}
                () = shutdown.requested() => return,
            }
        }
    })
}

fn tell(error: &Error) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(error, "requests of deleted accounts were not ended; trying again");
}

/// How many were ended.
async fn end_some(graph: &Graph) -> Result<usize, Error> {
    let mut transaction = graph.store.write().await?;
    let requests = store::requests_of_deleted(&mut transaction, BATCH_MAX).await?;
    let at = graph.clock.now().floor_to_millis();
    for &(user_id, target_user_id, position) in &requests {
        let relation = Relation { user_id, target_user_id, at };
        follow_protected::end(graph, &mut transaction, relation, position, "account deleted")
            .await?;
    }
    if !requests.is_empty() {
        transaction.commit().await?;
    }
    Ok(requests.len())
}
