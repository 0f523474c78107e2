//! Carries a service's events from its log to the broker, in their order.
//!
//! It keeps no mark of its own: where to go on is what the broker says it has. So a broker that
//! lost everything is filled again from the log, and of several relays of one service only one
//! gets each event through.
//!
//! The number alone is not believed: the broker's last event must be the log's event at this
//! position. Else the log is another one than the broker's, and its events between would come to
//! nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Journal;
use crate::broker::{Broker, BrokerError};
use crate::crash::crash_point;
use crate::database::DatabaseError;
use crate::event_log;
use crate::service::Shutdown;

/// Events that go to the broker at once.
const BATCH_EVENTS_MAX: u32 = 256;
/// How often it looks for events that nobody woke it for: those of a process that died between
/// its commit and its own relay's turn.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often the broker is asked whether it still has what it had, when there is nothing to
/// publish: the next event would find out too.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// How long it waits after a failure; the broker or the database needs time to come back.
const BACK_OFF: Duration = Duration::from_millis(500);
/// A failure that lasts is told again after so many of them.
const TELL_EVERY: u32 = 120;

/// Why events are not published.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error("the log cannot be read")]
    Log(#[from] DatabaseError),
    #[error("the broker does not take events")]
    Broker(#[from] BrokerError),
    #[error("the broker has events up to {broker}, but the log ends at {log}: {}", way_out(.name))]
    Ahead { name: &'static str, broker: i64, log: i64 },
    #[error("the broker's last event, {position}, is not the log's: {}", way_out(.name))]
    Diverged { name: &'static str, position: i64 },
}

impl RelayError {
    /// Whether log and broker tell of different events, so that somebody has to choose.
    pub(super) fn is_divergence(&self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::Diverged { .. })
    }
}

fn way_out(name: &str) -> String {
    format!(
        "the database was restored from a backup, or the broker belongs to another system; \
         nothing is published until the broker's data of {name} are deleted (of NATS the stream \
         PILLION-{name}), which are then filled from the log: see \"A restore was not of \
         everything\" in docs/operating.md"
    )
}

/// Publishes until the shutdown.
pub(super) async fn run(journal: Journal, broker: Arc<dyn Broker>, mut shutdown: Shutdown) {
    let mut failures = 0_u32;
    let mut mark = None;
    while !shutdown.is_requested() {
        let published = tokio::select! {
            () = shutdown.requested() => return,
            published = publish_all(&journal, &*broker, &mut mark) => published,
        };
        let pause = match published {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!(service = journal.name, "events are published again");
                }
                failures = 0;
                POLL_INTERVAL
            }
            Err(error) => {
                mark = None;
                if failures.is_multiple_of(TELL_EVERY) {
                    tracing::error!(
                        service = journal.name,
                        error = &error as &dyn std::error::Error,
                        "events are not published; they wait in the log"
                    );
                }
                failures = failures.saturating_add(1);
                BACK_OFF
            }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            () = journal.recorded.notified(), if failures == 0 => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether the broker's event at its last position is the log's, as every copy of the log is. The
/// whole event is compared: another one at this position differs in its time, if in nothing else.
pub(super) async fn agree(
    journal: &Journal,
    broker: &dyn Broker,
    last: i64,
) -> Result<(), RelayError> {
    let name = journal.name;
    if last == 0 {
        return Ok(());
    }
    let own = event_log::read_after(&journal.database, name, last - 1, 1).await?;
    let Some(own) = own.first() else {
        let log = event_log::last_position(&journal.database).await?;
        return Err(RelayError::Ahead { name, broker: last, log });
    };
    match broker.event(name, last).await {
        Ok(Some(there)) if there == *own => Ok(()),
        // Emptied meanwhile, as the broker says of what is published next.
        Ok(None) => Ok(()),
        Ok(Some(_)) | Err(BrokerError::Corrupt { .. }) => {
            Err(RelayError::Diverged { name, position: last })
        }
        Err(error) => Err(error.into()),
    }
}

/// How far the broker has come, as it said at a time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    last: i64,
    asked_at: Instant,
}

/// Publishes what the log has beyond the broker.
async fn publish_all(
    journal: &Journal,
    broker: &dyn Broker,
    mark: &mut Option<Mark>,
) -> Result<(), RelayError> {
    let mut last = match *mark {
        Some(Mark { last, asked_at }) if asked_at.elapsed() < ASK_INTERVAL => last,
        _ => {
            let last = broker.last_position(journal.name).await?;
            agree(journal, broker, last).await?;
            *mark = Some(Mark { last, asked_at: Instant::now() });
            last
        }
    };
    loop {
        let events =
            event_log::read_after(&journal.database, journal.name, last, BATCH_EVENTS_MAX).await?;
        let Some(newest) = events.last().map(|event| event.position) else {
            return Ok(());
        };
        crash_point!("publish.before");
        last = match broker.publish(journal.name, last, &events).await {
            Ok(()) => newest,
            // Another relay was faster, or the broker was emptied meanwhile.
            Err(BrokerError::OutOfOrder { last }) => {
                agree(journal, broker, last).await?;
                last
            }
            Err(error) => return Err(error.into()),
        };
        crash_point!("publish.after");
        if let Some(mark) = mark {
            mark.last = last;
        }
    }
}
