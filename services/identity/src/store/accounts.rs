//! Accounts. What the steps of sagas do is done in the transaction that notes the step.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Timestamp, Transaction, UserId};

use super::rows::{AccountRow, found, user_id};
use super::{Account, Store};

/// A registration or a deletion that a build before the sagas left half done.
pub(crate) struct Left {
    pub(crate) account: Account,
    /// What the users service was to be told, as JSON.
    pub(crate) profile: String,
}

impl Store {
    /// An account by its id, if it is active.
    pub(crate) async fn active_account(
        &self,
        id: UserId,
    ) -> Result<Option<Account>, DatabaseError> {
        found::<AccountRow, _>(
            query(
                "SELECT id, username, password_hash, state FROM account
                 WHERE id = $1 AND state = 'active'",
            )
            .bind(id)
            .fetch_optional(&self.0)
            .await?,
        )
    }

    /// An account by its handle, without regard to case.
    pub(crate) async fn account_by_username(
        &self,
        username: &str,
    ) -> Result<Option<Account>, DatabaseError> {
        found::<AccountRow, _>(
            query(
                "SELECT id, username, password_hash, state FROM account
                 WHERE username_folded = $1",
            )
            .bind(username.to_ascii_lowercase())
            .fetch_optional(&self.0)
            .await?,
        )
    }
}

/// An account by its id.
pub(crate) async fn find(
    transaction: &mut Transaction,
    id: UserId,
) -> Result<Option<Account>, DatabaseError> {
    found::<AccountRow, _>(
        query("SELECT id, username, password_hash, state FROM account WHERE id = $1")
            .bind(id)
            .fetch_optional(transaction)
            .await?,
    )
}

/// The account that has a handle, without regard to case.
pub(crate) async fn holder(
    transaction: &mut Transaction,
    username: &str,
) -> Result<Option<Account>, DatabaseError> {
    found::<AccountRow, _>(
        query("SELECT id, username, password_hash, state FROM account WHERE username_folded = $1")
            .bind(username.to_ascii_lowercase())
            .fetch_optional(transaction)
            .await?,
    )
}

/// Stores a pending account, whose handle must be free.
pub(crate) async fn insert(
    transaction: &mut Transaction,
    account: &Account,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO account (id, username, username_folded, password_hash, state, state_since)
         VALUES ($1, $2, $3, $4, 'pending', $5)",
    )
    .bind(account.id)
    .bind(&account.username)
    .bind(account.username.to_ascii_lowercase())
    .bind(&account.password_hash)
    .bind(now)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Forgets an account that never became active.
pub(crate) async fn drop_pending(
    transaction: &mut Transaction,
    id: UserId,
) -> Result<(), DatabaseError> {
    query("DELETE FROM account WHERE id = $1 AND state = 'pending'")
        .bind(id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Makes a pending account active; others stay as they are.
pub(crate) async fn enable(
    transaction: &mut Transaction,
    id: UserId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE account SET state = 'active', state_since = $2 WHERE id = $1 AND state = 'pending'",
    )
    .bind(id)
    .bind(now)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Closes an account and revokes its sessions and access tokens; whether it was active.
pub(crate) async fn deactivate(
    transaction: &mut Transaction,
    id: UserId,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let closed = query(
        "UPDATE account SET state = 'deactivated', state_since = $2
         WHERE id = $1 AND state = 'active'",
    )
    .bind(id)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    query("UPDATE session SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    // The saga's step closes it once more, which revokes nothing anew.
    if closed > 0 {
        super::revocations::revoke_user(transaction, id, now).await?;
        super::revocations::revoke_apps_of(transaction, id, now).await?;
    }
    Ok(closed > 0)
}

/// Opens a deactivated account again; its sessions stay revoked.
pub(crate) async fn reopen(
    transaction: &mut Transaction,
    id: UserId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE account SET state = 'active', state_since = $2
         WHERE id = $1 AND state = 'deactivated'",
    )
    .bind(id)
    .bind(now)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Forgets a deactivated account, with its apps and sessions.
pub(crate) async fn purge(
    transaction: &mut Transaction,
    id: UserId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    super::revocations::remove_apps_of(transaction, id, now).await?;
    query("DELETE FROM account WHERE id = $1 AND state = 'deactivated'")
        .bind(id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Gives an account a handle, which must be free or its own; whether there is such an account.
pub(crate) async fn rename(
    transaction: &mut Transaction,
    id: UserId,
    username: &str,
) -> Result<bool, DatabaseError> {
    let renamed = query("UPDATE account SET username = $2, username_folded = $3 WHERE id = $1")
        .bind(id)
        .bind(username)
        .bind(username.to_ascii_lowercase())
        .execute(transaction)
        .await?;
    Ok(renamed > 0)
}

/// Takes the next of what a build before the sagas left half done.
pub(crate) async fn take_left(
    transaction: &mut Transaction,
) -> Result<Option<Left>, DatabaseError> {
    let next = query(
        "DELETE FROM account_left
         WHERE account_id = (SELECT min(account_id) FROM account_left)
         RETURNING account_id, profile",
    )
    .fetch_optional::<(i64, String)>(&mut *transaction)
    .await?;
    let Some((id, profile)) = next else {
        return Ok(None);
    };
    // The one cannot be there without the other.
    let account = find(transaction, user_id(id)?).await?;
    Ok(account.map(|account| Left { account, profile }))
}
