//! Tells a projection with live streams of its service's own events, whichever process recorded
//! them: what comes from the broker was committed before.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::Journal;
use super::consume::TakeError;
use crate::broker::Broker;
use crate::event_log;
use crate::service::Shutdown;

/// Events that are read at once.
const BATCH_EVENTS_MAX: usize = 64;
/// How long it waits after a failure; the broker or the database needs time to come back.
const BACK_OFF: Duration = Duration::from_millis(500);

/// Follows until the shutdown. `told` is the last event that the projection was notified of.
pub(super) async fn run(
    journal: Journal,
    broker: Arc<dyn Broker>,
    told: &mut Option<i64>,
    mut shutdown: Shutdown,
) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            ended = follow(&journal, &*broker, told) => {
                // The relay and the consumers say aloud that the broker or the database is away.
                let Err(error) = ended;
                let error = &error as &dyn std::error::Error;
                tracing::debug!(service = journal.name, error, "own events are not followed");
            }
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(BACK_OFF) => {}
        }
    }
}

async fn follow(
    journal: &Journal,
    broker: &dyn Broker,
    told: &mut Option<i64>,
) -> Result<Infallible, TakeError> {
    let told = match told {
        Some(told) => told,
        none => none.insert(event_log::last_position(&journal.database).await?),
    };
    let mut subscription = broker.subscribe(journal.name, *told).await?;
    loop {
        for event in subscription.next(BATCH_EVENTS_MAX).await? {
            journal.projection.applied(&event);
            *told = event.position;
        }
    }
}
