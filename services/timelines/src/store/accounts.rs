//! Accounts come and go, for good or for a while.

use pillion_chassis::sql::{On, query};
use pillion_chassis::{DatabaseError, Transaction, UserId};

use super::settling;

/// Makes sure that the account is known; `false` when it was deleted, and then nothing must be
/// kept for it.
pub(crate) async fn ensure(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let found = query("SELECT deleted FROM account WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional::<(bool,)>(&mut *transaction)
        .await?;
    if let Some((deleted,)) = found {
        return Ok(!deleted);
    }
    query("INSERT INTO account (user_id) VALUES ($1)")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    query("INSERT INTO follow (follower_id, followee_id) VALUES ($1, $1)")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    Ok(true)
}

/// An account is gone for good, and nobody sees anything of it any more. What is left of it goes by
/// and by.
pub(crate) async fn delete(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    for sql in [
        "INSERT INTO account (user_id, deleted) VALUES ($1, TRUE)
         ON CONFLICT (user_id) DO UPDATE SET deleted = TRUE",
        "INSERT INTO hidden_user (user_id) VALUES ($1) ON CONFLICT DO NOTHING",
        "INSERT INTO settling (user_id) VALUES ($1) ON CONFLICT DO NOTHING",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    settling::settle(transaction, user_id).await
}

/// An account was never there: nothing of it remains.
pub(crate) async fn forget(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    delete(transaction, user_id).await?;
    // Who was never registered has next to nothing.
    while settling::is_unsettled(transaction, user_id).await? {
        settling::settle(transaction, user_id).await?;
    }
    query("DELETE FROM account WHERE user_id = $1").bind(user_id).execute(transaction).await?;
    Ok(())
}

/// Leaves a user out of all timelines from now on, or does not any more.
pub(crate) async fn set_hidden(
    transaction: &mut Transaction,
    user_id: UserId,
    hidden: bool,
) -> Result<(), DatabaseError> {
    let sql = if hidden {
        "INSERT INTO hidden_user (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
    } else {
        "DELETE FROM hidden_user WHERE user_id = $1"
    };
    query(sql).bind(user_id).execute(transaction).await?;
    Ok(())
}

/// How an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is known of it.
    Unknown,
    /// It is there.
    There,
    /// It is deactivated.
    Hidden,
    /// It is gone for good.
    Deleted,
}

/// How an account stands.
pub(crate) async fn standing<'c>(
    on: impl Into<On<'c>>,
    user_id: UserId,
) -> Result<Standing, DatabaseError> {
    let found = query(
        "SELECT deleted, EXISTS (SELECT 1 FROM hidden_user AS u WHERE u.user_id = account.user_id)
         FROM account WHERE user_id = $1",
    )
    .bind(user_id)
    .fetch_optional::<(bool, bool)>(on)
    .await?;
    Ok(match found {
        None => Standing::Unknown,
        Some((true, _)) => Standing::Deleted,
        Some((false, true)) => Standing::Hidden,
        Some((false, false)) => Standing::There,
    })
}
