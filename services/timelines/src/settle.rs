//! Lets what is left of deleted accounts go: what they had in the timelines of others, and their own.
//! Some at a time, for very many may have followed them.

use std::sync::Arc;

use pillion_chassis::{AppendError, Clock, Journal, Timestamp, Worker, backlog};
use pillion_events::{TimelineChange, TimelineEvent};
use tokio::sync::Notify;

use crate::store::settling;

/// Does it beside the handlers.
pub(crate) fn worker(journal: Journal, clock: Arc<dyn Clock>, unsettled: Arc<Notify>) -> Worker {
    backlog::worker("unsettled-accounts-timelines", unsettled, move || {
        let (journal, clock) = (journal.clone(), clock.clone());
        async move { settle_some(&journal, clock.now().floor_to_millis()).await }
    })
}

/// Lets some of an account go; whether there was one of which something is left.
pub(crate) async fn settle_some(journal: &Journal, at: Timestamp) -> Result<bool, AppendError> {
    // Nobody waits while there is nothing to do.
    if settling::next(journal.database()).await?.is_none() {
        return Ok(false);
    }
    let mut transaction = journal.database().write().await?;
    let Some(user_id) = settling::next(&mut transaction).await? else {
        return Ok(false);
    };
    let stream = format!("user/{user_id}");
    let version = journal.version(&mut transaction, &stream).await?;
    let event = TimelineEvent::Settled(TimelineChange { user_id, at });
    journal.record(&mut transaction, &stream, version, &event, at).await?;
    transaction.commit().await?;
    Ok(true)
}
