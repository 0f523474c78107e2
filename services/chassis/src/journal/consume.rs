//! Takes up the events of another service, in their order, each exactly once.
//!
//! The cursor moves in the transaction in which the tables take the event up. So an event that is
//! delivered again is known, and one that is missing is noticed: positions have no gaps. A
//! failure stops the source at that event; one that is the event's own fault ends, after some
//! tries, with the event parked, and later events of the same stream behind it.
//!
//! Keys of personal data that the service does not have yet it asks for between transactions:
//! nobody's write waits for another service's answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{ApplyError, Journal, note};
use crate::broker::{Broker, BrokerError};
use crate::crash::crash_point;
use crate::database::{DatabaseError, Transaction};
use crate::event_log::Recorded;
use crate::personal::{self, Keys, PersonalKeysError};
use crate::service::Shutdown;
use crate::sql::query;

/// Events that are taken up in one transaction, with one wait for the disk.
const BATCH_EVENTS_MAX: usize = 64;
/// Tries of an event that cannot be taken up, before it is parked.
pub(super) const ATTEMPTS_MAX: i64 = 10;
/// Between tries: doubles from the first to the last.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// A failure that lasts is told again after so many tries.
const TELL_EVERY: u32 = 60;

/// Why events were not taken up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// The database failed; nothing was taken up.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The broker failed.
    #[error("the broker does not deliver")]
    Broker(#[from] BrokerError),
    /// The keys of personal data in the events cannot be had now; nothing was taken up.
    #[error(transparent)]
    Keys(#[from] PersonalKeysError),
    /// An event is missing between the cursor and what was delivered.
    #[error(
        "events of {source_name} after {cursor} are missing: the broker delivered {delivered} \
         next; delete the broker's data of {source_name} and it will be filled from the log"
    )]
    Gap { source_name: String, cursor: i64, delivered: i64 },
    /// The tables did not take the event up; those before it were.
    #[error("the event {position} of {source_name} ({name}) cannot be taken up: {reason}")]
    Poison { source_name: String, position: i64, name: String, reason: String },
}

/// Consumes until the shutdown. `told` is the last event that the projection here was notified of,
/// which a restart of the worker must not skip.
pub(super) async fn run(
    journal: Journal,
    source: &'static str,
    broker: Arc<dyn Broker>,
    told: &mut Option<i64>,
    mut shutdown: Shutdown,
) {
    let mut failures = 0_u32;
    loop {
        let ended = tokio::select! {
            () = shutdown.requested() => return,
            ended = follow(&journal, source, &*broker, &mut failures, told) => ended,
        };
        let Err(error) = ended;
        if failures.is_multiple_of(TELL_EVERY) {
            tracing::warn!(
                service = journal.name,
                source,
                error = &error as &dyn std::error::Error,
                "events are not taken up; trying again"
            );
        }
        let pause = BACK_OFF_MIN.saturating_mul(1 << failures.min(10)).min(BACK_OFF_MAX);
        failures = failures.saturating_add(1);
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes events up, until something fails, from the cursor on, or from behind the last event that
/// the projection here was told of: other processes of the service move the cursor, too.
async fn follow(
    journal: &Journal,
    source: &str,
    broker: &dyn Broker,
    failures: &mut u32,
    told: &mut Option<i64>,
) -> Result<std::convert::Infallible, TakeError> {
    let told = match told {
        Some(told) => told,
        none => none.insert(cursor(journal, source).await?),
    };
    let mut subscription = broker.subscribe(source, *told).await?;
    loop {
        let events = subscription.next(BATCH_EVENTS_MAX).await?;
        crash_point!("deliver.after");
        let last = events.last().map_or(0, |event| event.position);
        let cursor = cursor(journal, source).await?;
        if cursor >= last {
            // Another process was faster, and there is nothing to write.
            tell(journal, &events, cursor, told);
        } else {
            // One time for each event that is parked on the way.
            while take(journal, &events, told).await? < last {}
        }
        *failures = 0;
    }
}

/// Tells the projection of what the database has taken up, whoever did it, and it has not been
/// told of: in the form of the log, in which personal data are sealed, for what streams need to
/// know is never sealed.
fn tell(journal: &Journal, events: &[Recorded], cursor: i64, told: &mut i64) {
    for event in events.iter().filter(|event| event.position <= cursor) {
        if event.position > *told {
            journal.projection.applied(event);
            *told = event.position;
        }
    }
}

/// The last position of a source that was taken up or parked.
async fn cursor(journal: &Journal, source: &str) -> Result<i64, DatabaseError> {
    let found = query("SELECT position FROM cursor WHERE source = $1")
        .bind(source)
        .fetch_optional::<(i64,)>(&journal.database)
        .await?;
    Ok(found.map_or(0, |(position,)| position))
}

/// Takes up events of one source in one transaction; those that were taken up before are left
/// out. Stops before one that cannot be taken up, and behind one that is parked. The projection is
/// told of those behind `told`. Gives the cursor.
pub(super) async fn take(
    journal: &Journal,
    events: &[Recorded],
    told: &mut i64,
) -> Result<i64, TakeError> {
    let Some(first) = events.first() else {
        return Ok(0);
    };
    let source = first.source.as_str();
    let (mut transaction, keys) = begin(journal, source, events).await?;
    let (begun, attempts) = position(&mut transaction, source).await?;
    if events.last().is_some_and(|last| last.position <= begun) {
        // Another process was faster; how often it tried the next one stays as it is.
        tell(journal, events, begun, told);
        return Ok(begun);
    }
    let mut cursor = begun;
    let held = held_streams(&mut transaction, source).await?;
    let mut poison = None;
    for event in events.iter().skip_while(|event| event.position <= begun) {
        if event.position != cursor + 1 {
            let (cursor, delivered) = (cursor, event.position);
            return Err(TakeError::Gap { source_name: source.to_owned(), cursor, delivered });
        }
        if held.contains(&event.stream_id) {
            super::parked::park(&mut transaction, event, None).await?;
            cursor += 1;
            continue;
        }
        match apply(journal, &mut transaction, &keys, event).await {
            Ok(()) => cursor += 1,
            Err(error) if error.is_passing() => return Err(passing(error)),
            Err(error) => {
                poison = Some((event, error.to_string()));
                break;
            }
        }
    }
    let outcome = match poison {
        None => Ok(()),
        Some((event, reason)) => {
            // The tries count for the event at which the source stopped, not for one before it.
            let tries = if cursor == begun { attempts + 1 } else { 1 };
            refuse(&mut transaction, &mut cursor, event, tries, reason).await?
        }
    };
    if outcome.is_ok() {
        set_cursor(&mut transaction, source, cursor).await?;
    }
    crash_point!("inbox.commit.before");
    transaction.commit().await?;
    crash_point!("inbox.commit.after");
    tell(journal, events, cursor, told);
    outcome.map(|()| cursor)
}

/// Begins a transaction with all keys that the events take.
async fn begin(
    journal: &Journal,
    source: &str,
    events: &[Recorded],
) -> Result<(Transaction, Keys), TakeError> {
    let sealed = journal.sealed(events);
    let mut transaction = journal.database.write().await?;
    let keys = Keys::of(&mut transaction, &sealed).await?;
    let missing = keys.missing(&sealed);
    if missing.is_empty() {
        return Ok((transaction, keys));
    }
    drop(transaction);
    let told = journal.ask(source, &missing).await?;
    let mut transaction = journal.database.write().await?;
    personal::keep(&mut transaction, source, &told).await?;
    let keys = Keys::of(&mut transaction, &sealed).await?;
    Ok((transaction, keys))
}

/// Counts a try of an event that cannot be taken up, or parks it after the last one.
async fn refuse(
    transaction: &mut Transaction,
    cursor: &mut i64,
    event: &Recorded,
    tries: i64,
    reason: String,
) -> Result<Result<(), TakeError>, DatabaseError> {
    let source = event.source.as_str();
    if tries >= ATTEMPTS_MAX {
        tracing::error!(
            source,
            position = event.position,
            stream = event.stream_id,
            event = event.name,
            reason,
            "an event is parked, and those of its stream that follow; \
             `pillion events replay` takes them up when the cause is gone"
        );
        super::parked::park(transaction, event, Some(&reason)).await?;
        *cursor = event.position;
        return Ok(Ok(()));
    }
    set_cursor(transaction, source, *cursor).await?;
    query("UPDATE cursor SET attempts = $2, error = $3 WHERE source = $1")
        .bind(source)
        .bind(tries)
        .bind(&reason)
        .execute(transaction)
        .await?;
    Ok(Err(TakeError::Poison {
        source_name: source.to_owned(),
        position: event.position,
        name: event.name.clone(),
        reason,
    }))
}

fn passing(error: ApplyError) -> TakeError {
    match error {
        ApplyError::Database(error) => TakeError::Database(error),
        ApplyError::Poison(error) => TakeError::Database(DatabaseError::Corrupt(error.to_string())),
    }
}

/// Makes the tables take up an event in its plain form and keeps its place in the order. When it
/// fails, the transaction is as it was before.
pub(super) async fn apply(
    journal: &Journal,
    transaction: &mut Transaction,
    keys: &Keys,
    event: &Recorded,
) -> Result<(), ApplyError> {
    let plain = journal.open(keys, event)?;
    query("SAVEPOINT event").execute(&mut *transaction).await?;
    let applied = match journal.projection.apply(transaction, &plain).await {
        Ok(()) => note(transaction, event).await.map_err(ApplyError::from),
        Err(error) => Err(error),
    };
    match applied {
        Ok(()) => {
            query("RELEASE SAVEPOINT event").execute(&mut *transaction).await?;
        }
        // A database that is full or gone has undone everything by itself.
        Err(error) if error.is_passing() => return Err(error),
        Err(error) => {
            query("ROLLBACK TO SAVEPOINT event").execute(&mut *transaction).await?;
            query("RELEASE SAVEPOINT event").execute(&mut *transaction).await?;
            return Err(error);
        }
    }
    Ok(())
}

/// The cursor of a source, and how often the event after it was tried.
async fn position(
    transaction: &mut Transaction,
    source: &str,
) -> Result<(i64, i64), DatabaseError> {
    let found = query("SELECT position, attempts FROM cursor WHERE source = $1")
        .bind(source)
        .fetch_optional::<(i64, i64)>(transaction)
        .await?;
    Ok(found.unwrap_or_default())
}

async fn set_cursor(
    transaction: &mut Transaction,
    source: &str,
    position: i64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO cursor (source, position) VALUES ($1, $2)
         ON CONFLICT (source) DO UPDATE SET position = $2, attempts = 0, error = NULL",
    )
    .bind(source)
    .bind(position)
    .execute(transaction)
    .await?;
    Ok(())
}

/// The streams of which an event is parked: those that follow wait behind it.
async fn held_streams(
    transaction: &mut Transaction,
    source: &str,
) -> Result<HashSet<String>, DatabaseError> {
    let rows = query("SELECT DISTINCT stream_id FROM parked WHERE source = $1")
        .bind(source)
        .fetch_all::<(String,)>(transaction)
        .await?;
    Ok(rows.into_iter().map(|(stream,)| stream).collect())
}
