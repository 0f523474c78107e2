//! Accounts.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Timestamp, UserId};

use super::rows::{AccountRow, found};
use super::{Account, Store};

impl Store {
    /// Stores an account in the state pending; if its handle is taken, the account that has it.
    pub(crate) async fn insert_account(
        &self,
        account: &Account,
        now: Timestamp,
    ) -> Result<Option<Account>, DatabaseError> {
        let profile = serde_json::to_string(&account.profile)
            .map_err(|error| DatabaseError::Corrupt(format!("a profile without JSON: {error}")))?;
        let folded = account.profile.username.to_ascii_lowercase();
        let mut transaction = self.0.write().await?;
        let holder: Option<AccountRow> = query(
            "SELECT id, profile, password_hash, state FROM account
             WHERE username_folded = $1",
        )
        .bind(&folded)
        .fetch_optional(&mut transaction)
        .await?;
        if holder.is_some() {
            return found(holder);
        }
        query(
            "INSERT INTO account
             (id, username_folded, profile, password_hash, state, state_since)
             VALUES ($1, $2, $3, $4, 'pending', $5)",
        )
        .bind(account.id)
        .bind(&folded)
        .bind(profile)
        .bind(&account.password_hash)
        .bind(now)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok(None)
    }

    /// Marks a pending account as active; others stay as they are.
    pub(crate) async fn activate(&self, id: UserId, now: Timestamp) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query(
            "UPDATE account SET state = 'active', state_since = $1
             WHERE id = $2 AND state = 'pending'",
        )
        .bind(now)
        .bind(id)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await
    }

    /// Forgets an account that never became active.
    pub(crate) async fn drop_pending(&self, id: UserId) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query("DELETE FROM account WHERE id = $1 AND state = 'pending'")
            .bind(id)
            .execute(&mut transaction)
            .await?;
        transaction.commit().await
    }

    /// Marks an account as being deleted and revokes its sessions; whether it was active.
    pub(crate) async fn begin_deletion(
        &self,
        id: UserId,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut transaction = self.0.write().await?;
        let marked = query(
            "UPDATE account SET state = 'deleting', state_since = $1
             WHERE id = $2 AND state = 'active'",
        )
        .bind(now)
        .bind(id)
        .execute(&mut transaction)
        .await?;
        query("UPDATE session SET revoked_at = $1 WHERE account_id = $2 AND revoked_at IS NULL")
            .bind(now)
            .bind(id)
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(marked > 0)
    }

    /// Forgets an account that is being deleted, with its apps and sessions.
    pub(crate) async fn finish_deletion(&self, id: UserId) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query("DELETE FROM account WHERE id = $1 AND state = 'deleting'")
            .bind(id)
            .execute(&mut transaction)
            .await?;
        transaction.commit().await
    }

    /// An account by its id.
    pub(crate) async fn account(&self, id: UserId) -> Result<Option<Account>, DatabaseError> {
        found::<AccountRow, _>(
            query("SELECT id, profile, password_hash, state FROM account WHERE id = $1")
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
                "SELECT id, profile, password_hash, state FROM account
                 WHERE username_folded = $1",
            )
            .bind(username.to_ascii_lowercase())
            .fetch_optional(&self.0)
            .await?,
        )
    }

    /// Accounts that have been pending or deleting since before a moment, longest first.
    pub(crate) async fn unfinished(
        &self,
        before: Timestamp,
        count_max: u32,
    ) -> Result<Vec<Account>, DatabaseError> {
        let rows: Vec<AccountRow> = query(
            "SELECT id, profile, password_hash, state FROM account
             WHERE state <> 'active' AND state_since <= $1 ORDER BY state_since LIMIT $2",
        )
        .bind(before)
        .bind(count_max)
        .fetch_all(&self.0)
        .await?;
        rows.into_iter().map(Account::try_from).collect()
    }
}
