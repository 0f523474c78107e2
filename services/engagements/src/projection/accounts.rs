//! Accounts come and go, and with them what they did and what was done with their tweets. Of a
//! deactivated account all of that stays where it is, is not shown and does not count; with the
//! account it comes back.
//!
//! Who is gone is told by one row, however much they did. The counts, and what is left of a deleted
//! account, are settled some at a time, in the order of their positions: the first with the event
//! itself, which for most is all, and the others by [`crate::settle`].

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Transaction, UserId};
use pillion_events::UserEvent;

use crate::store::is_for_all;

/// Engagements that are settled in one transaction, while others wait for their turn.
const SETTLED_AT_ONCE_MAX: u32 = if cfg!(test) { 8 } else { 1_000 };

/// Takes up what happens to an account.
pub(super) async fn apply(
    transaction: &mut Transaction,
    event: UserEvent,
) -> Result<(), DatabaseError> {
    match event {
        UserEvent::Registered(event) => registered(transaction, event.user_id).await,
        UserEvent::ProfileChanged(event) => {
            protect(transaction, event.user_id, event.protected).await
        }
        UserEvent::Deactivated(event) => hide(transaction, event.user_id).await,
        UserEvent::Reactivated(event) => unhide(transaction, event.user_id).await,
        UserEvent::Deleted(event) => delete(transaction, event.user_id).await,
        UserEvent::Renamed(_) => Ok(()),
    }
}

async fn registered(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO account (user_id, protected, deleted) VALUES ($1, FALSE, FALSE)
         ON CONFLICT DO NOTHING",
    )
    .bind(user_id)
    .execute(transaction)
    .await?;
    Ok(())
}

async fn protect(
    transaction: &mut Transaction,
    user_id: UserId,
    protected: bool,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO account (user_id, protected, deleted) VALUES ($1, $2, FALSE)
         ON CONFLICT (user_id) DO UPDATE SET protected = excluded.protected",
    )
    .bind(user_id)
    .bind(protected)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Nobody sees any more what the account did and what was done with its tweets.
async fn hide(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO account (user_id, protected, deleted, hidden)
         VALUES ($1, FALSE, FALSE, TRUE)
         ON CONFLICT (user_id) DO UPDATE SET hidden = TRUE",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    unsettle(transaction, user_id).await
}

/// It is there again, unless the other end is hidden still.
async fn unhide(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    let shown = query("UPDATE account SET hidden = FALSE WHERE user_id = $1 AND hidden")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    if shown > 0 { unsettle(transaction, user_id).await } else { Ok(()) }
}

/// Ends all that the account did and all that was done with its tweets, and lets nothing begin
/// any more.
async fn delete(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    for sql in [
        "INSERT INTO account (user_id, protected, deleted, hidden)
         VALUES ($1, FALSE, TRUE, FALSE)
         ON CONFLICT (user_id) DO UPDATE
         SET protected = FALSE, deleted = TRUE, hidden = FALSE",
        "DELETE FROM user_count WHERE user_id = $1",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    unsettle(transaction, user_id).await
}

/// Begins to settle an account, from the first position on.
async fn unsettle(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO settling (user_id, after_position) VALUES ($1, 0)
         ON CONFLICT (user_id) DO UPDATE SET after_position = 0",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    settle(transaction, user_id).await
}

/// The first positions after `$2` of one kind of engagements by the account `$1`, or with its
/// tweets.
macro_rules! first {
    ($account:literal, $kind:literal) => {
        concat!(
            "SELECT position
             FROM (SELECT position FROM engagement WHERE ",
            $account,
            " = $1 AND kind = '",
            $kind,
            "' AND position > $2 ORDER BY position LIMIT $3) AS part"
        )
    };
}

/// The `$3`th position after `$2` of all that has to do with the account `$1`.
pub(crate) const NTH: &str = concat!(
    "SELECT position FROM (",
    first!("user_id", "like"),
    " UNION ALL ",
    first!("user_id", "retweet"),
    " UNION ALL ",
    first!("user_id", "bookmark"),
    " UNION ALL ",
    first!("author_id", "like"),
    " UNION ALL ",
    first!("author_id", "retweet"),
    " UNION ALL ",
    first!("author_id", "bookmark"),
    ") AS next ORDER BY position LIMIT 1 OFFSET $3 - 1"
);

/// Engagements by the account `$1`, or with its tweets, after the position `$2` and up to `$3`.
macro_rules! side {
    ($account:literal) => {
        concat!(
            "(",
            $account,
            " = $1 AND kind IN ('like', 'retweet', 'bookmark')
              AND position > $2 AND position <= $3)"
        )
    };
}

/// Both.
macro_rules! in_part {
    () => {
        concat!("(", side!("user_id"), " OR ", side!("author_id"), ")")
    };
}

/// Brings a part of it to the counts or takes it off them: `$by` is `+` or `-`, and `$those` says
/// which are to be counted anew.
macro_rules! recount {
    ($by:literal, $those:expr, $shown:literal) => {
        [
            concat!(
                "UPDATE tweet_count SET total = total ",
                $by,
                " part.times
                 FROM (SELECT tweet_id, kind, count(*) AS times FROM engagement WHERE ",
                in_part!(),
                $those,
                " GROUP BY tweet_id, kind) AS part
                 WHERE tweet_count.tweet_id = part.tweet_id AND tweet_count.kind = part.kind"
            ),
            concat!(
                "UPDATE user_count SET like_count = like_count ",
                $by,
                " part.times
                 FROM (SELECT user_id, count(*) AS times FROM engagement WHERE kind = 'like' AND ",
                in_part!(),
                $those,
                " GROUP BY user_id) AS part
                 WHERE user_count.user_id = part.user_id"
            ),
            concat!(
                "UPDATE engagement SET shown = ",
                $shown,
                " WHERE ",
                in_part!(),
                $those
            ),
        ]
    };
}

pub(crate) const DISCOUNT: [&str; 3] =
    recount!("-", concat!(" AND shown AND NOT ", is_for_all!()), "FALSE");
pub(crate) const COUNT: [&str; 3] =
    recount!("+", concat!(" AND NOT shown AND ", is_for_all!()), "TRUE");
pub(crate) const FORGET: [&str; 2] = [
    concat!(
        "DELETE FROM tweet_count WHERE total = 0 AND tweet_id IN
             (SELECT tweet_id FROM engagement WHERE ",
        side!("author_id"),
        ")"
    ),
    concat!("DELETE FROM engagement WHERE ", in_part!()),
];

/// Counts what is next of an account, as far as it is for all to see, and nothing else; removes it
/// when the account was deleted. Does nothing when all is settled.
pub(super) async fn settle(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    let found = query(
        "SELECT s.after_position, a.deleted FROM settling AS s
         JOIN account AS a ON a.user_id = s.user_id WHERE s.user_id = $1",
    )
    .bind(user_id)
    .fetch_optional::<(i64, bool)>(&mut *transaction)
    .await?;
    let Some((after, is_deleted)) = found else {
        return Ok(());
    };
    let nth = query(NTH)
        .bind(user_id)
        .bind(after)
        .bind(SETTLED_AT_ONCE_MAX)
        .fetch_optional::<(i64,)>(&mut *transaction)
        .await?;
    let to = nth.map_or(i64::MAX, |(position,)| position);
    let forget = if is_deleted { &FORGET[..] } else { &[] };
    for sql in DISCOUNT.iter().chain(&COUNT).chain(forget) {
        query(*sql).bind(user_id).bind(after).bind(to).execute(&mut *transaction).await?;
    }
    let settled = if nth.is_some() {
        query("UPDATE settling SET after_position = $2 WHERE user_id = $1").bind(user_id).bind(to)
    } else {
        query("DELETE FROM settling WHERE user_id = $1").bind(user_id)
    };
    settled.execute(transaction).await?;
    Ok(())
}
