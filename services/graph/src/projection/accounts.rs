//! Accounts come and go. Of one that is hidden all relations stay where they are, are not shown and
//! do not count for others; its own counts stay as they are, for the day when it is there again.
//! Of one that is deleted nothing stays.
//!
//! Who is gone is told by one row, however many follow them. The counts of the others, and the
//! relations of a deleted account, are settled some at a time, in the order of their positions: the
//! first with the event itself, which for most is all, and the others by [`crate::settle`]. How far
//! it has come is one position, that of `uncounted_to!`: going moves it up and a return down, so
//! that the account may change its mind half-way.

use std::ops::RangeInclusive;

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Transaction, UserId};
use pillion_events::{GraphAccountEvent, UserEvent};

use super::uncounted_to;
use crate::store::{self, Kind, settling};

/// Relations that are settled in one transaction, while others wait for their turn.
const SETTLED_AT_ONCE_MAX: u32 = if cfg!(test) { 8 } else { 1_000 };

/// No relation has a larger position.
const LAST: i64 = i64::MAX;

/// Takes up what this service's events tell of a whole account.
pub(super) async fn apply(
    transaction: &mut Transaction,
    event: &GraphAccountEvent,
) -> Result<(), DatabaseError> {
    let user_id = event.hiding().user_id;
    let known = store::account(&mut *transaction, user_id).await?.unwrap_or_default();
    match event {
        GraphAccountEvent::Hidden(_) if !known.is_gone() => {
            set_hidden(transaction, user_id, true).await
        }
        GraphAccountEvent::Unhidden(_) if known.hidden => {
            set_hidden(transaction, user_id, false).await
        }
        GraphAccountEvent::Settled(_) => settle(transaction, user_id).await,
        GraphAccountEvent::Hidden(_) | GraphAccountEvent::Unhidden(_) => Ok(()),
    }
}

/// Takes up what the users service tells of its accounts.
pub(super) async fn apply_user(
    transaction: &mut Transaction,
    event: UserEvent,
) -> Result<(), DatabaseError> {
    match event {
        UserEvent::Registered(event) => {
            query(
                "INSERT INTO account (user_id, protected, deleted) VALUES ($1, FALSE, FALSE)
                 ON CONFLICT DO NOTHING",
            )
            .bind(event.user_id)
            .execute(transaction)
            .await?;
        }
        // Requests wait for their answer also when the account becomes public: X accepts none by
        // itself, and who asked may follow anew.
        UserEvent::ProfileChanged(event) => {
            query(
                "INSERT INTO account (user_id, protected, deleted) VALUES ($1, $2, FALSE)
                 ON CONFLICT (user_id) DO UPDATE SET protected = excluded.protected",
            )
            .bind(event.user_id)
            .bind(event.protected)
            .execute(transaction)
            .await?;
        }
        UserEvent::Deleted(event) => delete(transaction, event.user_id).await?,
        // Names are nothing of this service's, and what is hidden is told by its own events.
        UserEvent::Renamed(_) | UserEvent::Deactivated(_) | UserEvent::Reactivated(_) => {}
    }
    Ok(())
}

async fn set_hidden(
    transaction: &mut Transaction,
    user_id: UserId,
    hidden: bool,
) -> Result<(), DatabaseError> {
    unsettle(transaction, user_id).await?;
    query(
        "INSERT INTO account (user_id, protected, deleted, hidden) VALUES ($1, FALSE, FALSE, $2)
         ON CONFLICT (user_id) DO UPDATE SET hidden = excluded.hidden",
    )
    .bind(user_id)
    .bind(hidden)
    .execute(&mut *transaction)
    .await?;
    settle(transaction, user_id).await
}

/// From now on the account is for nobody, and nothing begins with it any more. What was between it
/// and others goes by and by; requests with their sagas, by events.
async fn delete(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    unsettle(transaction, user_id).await?;
    for statement in [
        "DELETE FROM follow_count WHERE user_id = $1",
        "INSERT INTO account (user_id, protected, deleted, hidden)
         VALUES ($1, FALSE, TRUE, FALSE)
         ON CONFLICT (user_id) DO UPDATE
         SET protected = FALSE, deleted = TRUE, hidden = FALSE",
    ] {
        query(statement).bind(user_id).execute(&mut *transaction).await?;
    }
    settle(transaction, user_id).await
}

/// Begins to settle an account, from what counts now, before anything else is said of it. One that
/// is being settled goes on from where it is.
async fn unsettle(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    query(concat!(
        "INSERT INTO settling (user_id, uncounted_to) SELECT $1, ",
        uncounted_to!("$1"),
        " WHERE TRUE ON CONFLICT DO NOTHING"
    ))
    .bind(user_id)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Settles some more of an account. Does nothing when all is settled.
async fn settle(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    let found = query("SELECT uncounted_to FROM settling WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional::<(i64,)>(&mut *transaction)
        .await?;
    let Some((uncounted_to,)) = found else {
        return Ok(());
    };
    let account = store::account(&mut *transaction, user_id).await?.unwrap_or_default();
    let is_settled = if account.deleted {
        forget(transaction, user_id, uncounted_to).await?
    } else if account.hidden {
        let to = up(transaction, user_id, Kind::Follow, uncounted_to).await?;
        count(transaction, user_id, uncounted_to + 1..=to, -1).await?;
        set_uncounted(transaction, user_id, to).await?;
        to == LAST
    } else {
        let to = down(transaction, user_id, uncounted_to).await?;
        count(transaction, user_id, to + 1..=uncounted_to, 1).await?;
        set_uncounted(transaction, user_id, to).await?;
        to == 0
    };
    if is_settled {
        query("DELETE FROM settling WHERE user_id = $1").bind(user_id).execute(transaction).await?;
    }
    Ok(())
}

/// Removes some of what is between a deleted account and others; whether that was the last.
async fn forget(
    transaction: &mut Transaction,
    user_id: UserId,
    uncounted_to: i64,
) -> Result<bool, DatabaseError> {
    for kind in [Kind::Follow, Kind::Block, Kind::Mute] {
        let to = up(transaction, user_id, kind, 0).await?;
        if kind == Kind::Follow && to > uncounted_to {
            count(transaction, user_id, uncounted_to + 1..=to, -1).await?;
        }
        for statement in [
            "DELETE FROM relation WHERE source_id = $1 AND kind = $2 AND position <= $3",
            "DELETE FROM relation WHERE target_id = $1 AND kind = $2 AND position <= $3",
        ] {
            query(statement)
                .bind(user_id)
                .bind(kind.as_str())
                .bind(to)
                .execute(&mut *transaction)
                .await?;
        }
        if to < LAST {
            return Ok(false);
        }
    }
    Ok(settling::requests(transaction, user_id, 1).await?.is_empty())
}

/// Of the relations of a kind by and to the account `$1` that are on this side of the position
/// `$3`, the one that is the `$4`th from there.
macro_rules! nth {
    ($side:literal, $order:literal) => {
        concat!(
            "SELECT position
             FROM (SELECT position
                   FROM (SELECT position FROM relation
                         WHERE source_id = $1 AND kind = $2 AND position ",
            $side,
            " $3 ORDER BY position ",
            $order,
            " LIMIT $4) AS by_it
                   UNION ALL
                   SELECT position
                   FROM (SELECT position FROM relation
                         WHERE target_id = $1 AND kind = $2 AND position ",
            $side,
            " $3 ORDER BY position ",
            $order,
            " LIMIT $4) AS to_it) AS next
             ORDER BY position ",
            $order,
            " LIMIT 1 OFFSET $4 - 1"
        )
    };
}

pub(crate) const NTH_ABOVE: &str = nth!(">", "ASC");
pub(crate) const NTH_BELOW: &str = nth!("<=", "DESC");

async fn nth(
    transaction: &mut Transaction,
    statement: &'static str,
    (user_id, kind, from): (UserId, Kind, i64),
) -> Result<Option<i64>, DatabaseError> {
    let found = query(statement)
        .bind(user_id)
        .bind(kind.as_str())
        .bind(from)
        .bind(SETTLED_AT_ONCE_MAX)
        .fetch_optional::<(i64,)>(transaction)
        .await?;
    Ok(found.map(|(position,)| position))
}

/// How far up from a position to go at once.
async fn up(
    transaction: &mut Transaction,
    user_id: UserId,
    kind: Kind,
    from: i64,
) -> Result<i64, DatabaseError> {
    Ok(nth(transaction, NTH_ABOVE, (user_id, kind, from)).await?.unwrap_or(LAST))
}

/// How far down among the account's follows to go at once; the one that is there is left out.
async fn down(
    transaction: &mut Transaction,
    user_id: UserId,
    from: i64,
) -> Result<i64, DatabaseError> {
    let lowest = nth(transaction, NTH_BELOW, (user_id, Kind::Follow, from)).await?;
    Ok(lowest.map_or(0, |position| position - 1))
}

/// The follows by an account that began at these positions, and those of it, count for the other
/// ends: so much each.
pub(crate) const COUNT: [&str; 2] = [
    "UPDATE follow_count SET followers_count = followers_count + $4
     WHERE user_id IN (SELECT target_id FROM relation
                       WHERE source_id = $1 AND kind = 'follow' AND position BETWEEN $2 AND $3)",
    "UPDATE follow_count SET following_count = following_count + $4
     WHERE user_id IN (SELECT source_id FROM relation
                       WHERE target_id = $1 AND kind = 'follow' AND position BETWEEN $2 AND $3)",
];

async fn count(
    transaction: &mut Transaction,
    user_id: UserId,
    positions: RangeInclusive<i64>,
    by: i64,
) -> Result<(), DatabaseError> {
    for statement in COUNT {
        query(statement)
            .bind(user_id)
            .bind(*positions.start())
            .bind(*positions.end())
            .bind(by)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}

async fn set_uncounted(
    transaction: &mut Transaction,
    user_id: UserId,
    to: i64,
) -> Result<(), DatabaseError> {
    query("UPDATE settling SET uncounted_to = $2 WHERE user_id = $1")
        .bind(user_id)
        .bind(to)
        .execute(transaction)
        .await?;
    Ok(())
}
