//! Settles accounts that went or came back: the counts of others, and what is left of deleted
//! accounts. Some at a time, for an account may have very many followers. The requests of deleted
//! accounts end each by an event, and with its saga.

use std::sync::Arc;

use pillion_chassis::{Worker, backlog};
use pillion_events::{AccountHiding, GraphAccountEvent, Relation};
use tokio::sync::Notify;

use crate::error::Error;
use crate::store::{self, Account, settling};
use crate::{Graph, follow_protected};

/// The worker's name.
pub(crate) const WORKER: &str = "unsettled-accounts-graph";
/// Requests in either direction that are ended in one transaction, while others wait for their
/// turn.
const REQUESTS_AT_ONCE_MAX: u32 = 25;

/// Does it beside the handlers.
pub(crate) fn worker(graph: Graph, unsettled: Arc<Notify>) -> Worker {
    backlog::worker(WORKER, unsettled, move || {
        let graph = graph.clone();
        async move { settle_some(&graph).await }
    })
}

/// Settles some of an account that is unsettled; whether there was one.
pub(crate) async fn settle_some(graph: &Graph) -> Result<bool, Error> {
    // Nobody waits while there is nothing to do.
    if settling::next(graph.store.database()).await?.is_none() {
        return Ok(false);
    }
    let mut transaction = graph.store.write().await?;
    let Some(user_id) = settling::next(&mut transaction).await? else {
        return Ok(false);
    };
    let at = graph.clock.now().floor_to_millis();
    let account = store::account(&mut transaction, user_id).await?;
    let requests = match account {
        Some(Account { deleted: true, .. }) => {
            settling::requests(&mut transaction, user_id, REQUESTS_AT_ONCE_MAX).await?
        }
        _ => Vec::new(),
    };
    for &(user_id, target_user_id, position) in &requests {
        let relation = Relation { user_id, target_user_id, at };
        follow_protected::end(graph, &mut transaction, relation, position, "account deleted")
            .await?;
    }
    if requests.is_empty() {
        let event = GraphAccountEvent::Settled(AccountHiding { user_id, at });
        graph.store.record_account(&mut transaction, event).await?;
    }
    transaction.commit().await?;
    Ok(true)
}
