//! The saga by which a user comes to follow a protected account, and what drives it: the user asks,
//! the owner accepts or denies, or time passes.
//!
//! A request is a row of `relation` with the position of the event that began it, which tells it
//! from earlier and later requests of the same two. The row decides: whoever ends a request, by a
//! denial, a block, or taking it back, removes the row at once and then lets the saga compensate; a
//! pivot that no longer finds the row refuses. So the caller sees what they did when they are
//! answered, however far the saga has come.

use std::time::Duration;

use pillion_chassis::saga::{OnTimer, Outcome, Saga, Signal, Signalled, Step};
use pillion_chassis::{Transaction, UserId};
use pillion_events::{GraphEvent, Relation, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::{Graph, NAME};

/// The first step only looks at what the request itself has written. It is not to run out of time
/// untried, however long the process is down: then nobody would take the request back.
const LOOK_TIME_MAX: Duration = Duration::from_hours(24 * 365);
/// How long the request waits for a notifications service that is away, until it is given up: most
/// outages are shorter.
const NOTIFY_TIME_MAX: Duration = Duration::from_mins(10);
/// How long an acceptance waits for the follow to be there: that takes milliseconds, unless the
/// notification of the request is still on its way.
const ACCEPT_TIME_MAX: Duration = Duration::from_secs(3);

/// From the request to the follow.
pub(crate) static FOLLOW_PROTECTED: Saga = Saga {
    name: "follow_protected",
    steps: &[
        Step::compensated(NAME, "pending").within(LOOK_TIME_MAX),
        Step::compensated("notifications", "request").within(NOTIFY_TIME_MAX),
        Step::wait("answer", "expires_at", OnTimer::Compensate),
        Step::pivot(NAME, "activate"),
        Step::retried("timelines", "backfill"),
    ],
};

/// A request, as every step of the saga is told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Who asks.
    pub(crate) user_id: UserId,
    /// Whom.
    pub(crate) target_user_id: UserId,
    /// Of the event that began it.
    pub(crate) request_position: i64,
    /// When the user asked.
    pub(crate) at: Timestamp,
    /// Until when an answer is waited for, in microseconds since 1970.
    pub(crate) expires_at: i64,
}

/// The saga's key: one per request, so that a user may ask again while the saga of an earlier
/// request is still taking things back.
fn key(relation: &Relation, request_position: i64) -> String {
    let Relation { user_id, target_user_id, .. } = relation;
    format!("{user_id}/{target_user_id}/{request_position}")
}

/// Records the request, and begins the saga that brings it to its end.
pub(crate) async fn ask(
    graph: &Graph,
    transaction: &mut Transaction,
    relation: Relation,
) -> Result<(), Error> {
    let recorded = GraphEvent::FollowRequested(relation);
    let request_position = graph.store.record(transaction, recorded).await?;
    let Relation { user_id, target_user_id, at } = relation;
    let patience = graph.config.follow_request_time;
    let patience = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX);
    let expires_at = at.as_micros().saturating_add(patience);
    let request = Asked { user_id, target_user_id, request_position, at, expires_at };
    let data = serde_json::to_value(request).map_err(Error::Encode)?;
    let key = key(&relation, request_position);
    graph.sagas.start(transaction, &FOLLOW_PROTECTED, &key, data).await?;
    Ok(())
}

/// Ends a request: for everyone at once, and for what the saga did elsewhere by compensation.
/// `reason` is for the saga's journal.
pub(crate) async fn end(
    graph: &Graph,
    transaction: &mut Transaction,
    relation: Relation,
    request_position: i64,
    reason: &str,
) -> Result<(), Error> {
    graph.store.record(transaction, GraphEvent::FollowRequestRemoved(relation)).await?;
    let key = key(&relation, request_position);
    // Whatever it says is good. A request from before there were sagas has none; a saga at its
    // pivot finds the row gone.
    graph.sagas.signal(transaction, &FOLLOW_PROTECTED, &key, Signal::Compensate(reason)).await?;
    Ok(())
}

/// Accepts a request: when this is done, the user follows. Else the request is over, which is
/// [`Error::NoRequest`], or it takes longer, and goes on by itself.
pub(crate) async fn accept(
    graph: &Graph,
    mut transaction: Transaction,
    relation: Relation,
    request_position: i64,
) -> Result<(), Error> {
    let key = key(&relation, request_position);
    let sagas = &graph.sagas;
    let proceed = sagas.signal(&mut transaction, &FOLLOW_PROTECTED, &key, Signal::Proceed).await?;
    let (Signalled::Taken(saga) | Signalled::PastPivot(saga)) = proceed else {
        if sagas.running(&mut transaction, &FOLLOW_PROTECTED, &key).await?.is_some() {
            // Its time is up, and it is being taken back.
            return Err(Error::NoRequest(relation.user_id));
        }
        // A request from before there were sagas.
        graph.store.record(&mut transaction, GraphEvent::FollowRequestRemoved(relation)).await?;
        graph.store.record(&mut transaction, GraphEvent::Followed(relation)).await?;
        return Ok(transaction.commit().await?);
    };
    transaction.commit().await?;
    match sagas.outcome_at_pivot(saga, ACCEPT_TIME_MAX).await? {
        Outcome::Pivoted | Outcome::Completed => Ok(()),
        Outcome::Compensated(_) => Err(Error::NoRequest(relation.user_id)),
        Outcome::Unfinished => Err(Error::Unfinished),
    }
}
