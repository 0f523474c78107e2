//! Apps, and the codes that users allow them.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Timestamp, UserId};

use super::revocations::revoke_app;
use super::rows::{AppRow, CodeRow, found};
use super::{App, Code, Store};
use crate::secret::Hash;

impl Store {
    /// Stores an app, unless its owner has `count_max` already; whether it was stored.
    pub(crate) async fn insert_app(
        &self,
        app: &App,
        count_max: u32,
    ) -> Result<bool, DatabaseError> {
        let redirect_uris = serde_json::Value::from(app.redirect_uris.as_slice()).to_string();
        let mut transaction = self.0.write().await?;
        let stored = query(
            "INSERT INTO app (client_id, owner_id, name, secret_hash, redirect_uris, created_at)
             SELECT $1, $2, $3, $4, $5, $6
             WHERE (SELECT count(*) FROM app WHERE owner_id = $2) < $7",
        )
        .bind(&app.client_id)
        .bind(app.owner_id)
        .bind(&app.name)
        .bind(app.secret_hash.clone())
        .bind(redirect_uris)
        .bind(app.created_at)
        .bind(count_max)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok(stored > 0)
    }

    /// An app by its client id, if its owner is there.
    pub(crate) async fn app(&self, client_id: &str) -> Result<Option<App>, DatabaseError> {
        found::<AppRow, _>(
            query(
                "SELECT client_id, owner_id, name, secret_hash, redirect_uris, created_at,
                        token_generation
                 FROM app JOIN account ON account.id = owner_id
                 WHERE client_id = $1 AND state = 'active'",
            )
            .bind(client_id)
            .fetch_optional(&self.0)
            .await?,
        )
    }

    /// Removes an app of an owner, and revokes all tokens for it; whether there was one.
    pub(crate) async fn remove_app(
        &self,
        client_id: &str,
        owner_id: UserId,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut transaction = self.0.write().await?;
        let removed = query("DELETE FROM app WHERE client_id = $1 AND owner_id = $2")
            .bind(client_id)
            .bind(owner_id)
            .execute(&mut transaction)
            .await?;
        if removed == 0 {
            return Ok(false);
        }
        query("UPDATE session SET revoked_at = $1 WHERE client_id = $2 AND revoked_at IS NULL")
            .bind(now)
            .bind(client_id)
            .execute(&mut transaction)
            .await?;
        revoke_app(&mut transaction, client_id, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The apps of an owner, oldest first.
    pub(crate) async fn apps_of(&self, owner_id: UserId) -> Result<Vec<App>, DatabaseError> {
        let rows: Vec<AppRow> = query(
            "SELECT client_id, owner_id, name, secret_hash, redirect_uris, created_at,
                    token_generation
             FROM app WHERE owner_id = $1 ORDER BY created_at, client_id",
        )
        .bind(owner_id)
        .fetch_all(&self.0)
        .await?;
        rows.into_iter().map(App::try_from).collect()
    }

    /// Stores an authorization code.
    pub(crate) async fn insert_code(&self, code: &Code) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query(
            "INSERT INTO authorization_code
             (hash, client_id, account_id, redirect_uri, scope, challenge, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(code.hash.as_slice())
        .bind(&code.client_id)
        .bind(code.account_id)
        .bind(&code.redirect_uri)
        .bind(code.scopes.to_string())
        .bind(&code.challenge)
        .bind(code.expires_at)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await
    }

    /// An authorization code, in whatever condition it is.
    pub(crate) async fn code(&self, hash: &Hash) -> Result<Option<Code>, DatabaseError> {
        found::<CodeRow, _>(
            query(
                "SELECT hash, client_id, account_id, redirect_uri, scope, challenge, expires_at
                 FROM authorization_code WHERE hash = $1",
            )
            .bind(hash.as_slice())
            .fetch_optional(&self.0)
            .await?,
        )
    }
}
