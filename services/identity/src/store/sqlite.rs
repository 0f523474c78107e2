//! The storage in `SQLite`.

mod rows;

use async_trait::async_trait;
use pillion_chassis::database::OpenError;
use pillion_chassis::{Database, DatabaseError, Timestamp, UserId};
use sqlx::migrate::Migrator;
use sqlx::{Sqlite, Transaction};

use super::{Account, App, Code, Exchange, RefreshToken, Session, Store, StoredKey};
use crate::secret::Hash;
use rows::{AccountRow, AppRow, CodeRow, CodeState, KeyRow, SessionRow, TokenRow, found};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The storage in the service's `SQLite` file.
#[derive(Debug)]
pub(crate) struct SqliteStore(Database);

impl SqliteStore {
    /// Brings the schema up to date.
    pub(crate) async fn open(database: &Database) -> Result<Self, OpenError> {
        database.migrate(&MIGRATIONS).await?;
        Ok(Self(database.clone()))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn insert_account(
        &self,
        account: &Account,
        now: Timestamp,
    ) -> Result<Option<Account>, DatabaseError> {
        let profile = serde_json::to_string(&account.profile)
            .map_err(|error| DatabaseError::Corrupt(format!("a profile without JSON: {error}")))?;
        let folded = account.profile.username.to_ascii_lowercase();
        let mut transaction = self.0.write().await?;
        let holder: Option<AccountRow> = sqlx::query_as(
            "SELECT id, profile, password_hash, state FROM account
             WHERE username_folded = ?",
        )
        .bind(&folded)
        .fetch_optional(&mut *transaction)
        .await?;
        if holder.is_some() {
            return found(holder);
        }
        sqlx::query(
            "INSERT INTO account
             (id, username_folded, profile, password_hash, state, state_since)
             VALUES (?, ?, ?, ?, 'pending', ?)",
        )
        .bind(account.id.as_i64())
        .bind(&folded)
        .bind(profile)
        .bind(&account.password_hash)
        .bind(now.as_micros())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(None)
    }

    async fn activate(&self, id: UserId, now: Timestamp) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        sqlx::query(
            "UPDATE account SET state = 'active', state_since = ?
             WHERE id = ? AND state = 'pending'",
        )
        .bind(now.as_micros())
        .bind(id.as_i64())
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    async fn drop_pending(&self, id: UserId) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        sqlx::query("DELETE FROM account WHERE id = ? AND state = 'pending'")
            .bind(id.as_i64())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    async fn begin_deletion(&self, id: UserId, now: Timestamp) -> Result<bool, DatabaseError> {
        let mut transaction = self.0.write().await?;
        let marked = sqlx::query(
            "UPDATE account SET state = 'deleting', state_since = ?
             WHERE id = ? AND state = 'active'",
        )
        .bind(now.as_micros())
        .bind(id.as_i64())
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        sqlx::query(
            "UPDATE session SET revoked_at = ? WHERE account_id = ? AND revoked_at IS NULL",
        )
        .bind(now.as_micros())
        .bind(id.as_i64())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(marked > 0)
    }

    async fn finish_deletion(&self, id: UserId) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        sqlx::query("DELETE FROM account WHERE id = ? AND state = 'deleting'")
            .bind(id.as_i64())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, DatabaseError> {
        found::<AccountRow, _>(
            sqlx::query_as("SELECT id, profile, password_hash, state FROM account WHERE id = ?")
                .bind(id.as_i64())
                .fetch_optional(self.0.read())
                .await?,
        )
    }

    async fn account_by_username(&self, username: &str) -> Result<Option<Account>, DatabaseError> {
        found::<AccountRow, _>(
            sqlx::query_as(
                "SELECT id, profile, password_hash, state FROM account
                 WHERE username_folded = ?",
            )
            .bind(username.to_ascii_lowercase())
            .fetch_optional(self.0.read())
            .await?,
        )
    }

    async fn unfinished(
        &self,
        before: Timestamp,
        count_max: u32,
    ) -> Result<Vec<Account>, DatabaseError> {
        let rows: Vec<AccountRow> = sqlx::query_as(
            "SELECT id, profile, password_hash, state FROM account
             WHERE state <> 'active' AND state_since <= ? ORDER BY state_since LIMIT ?",
        )
        .bind(before.as_micros())
        .bind(count_max)
        .fetch_all(self.0.read())
        .await?;
        rows.into_iter().map(Account::try_from).collect()
    }

    async fn last_id(&self) -> Result<Option<u64>, DatabaseError> {
        let (last,): (Option<i64>,) = sqlx::query_as(
            "SELECT max(id) FROM
             (SELECT max(id) AS id FROM account UNION ALL SELECT max(id) FROM session)",
        )
        .fetch_one(self.0.read())
        .await?;
        Ok(last.map(i64::cast_unsigned))
    }

    async fn insert_app(&self, app: &App, count_max: u32) -> Result<bool, DatabaseError> {
        let redirect_uris = serde_json::Value::from(app.redirect_uris.as_slice()).to_string();
        let mut transaction = self.0.write().await?;
        let stored = sqlx::query(
            "INSERT INTO app (client_id, owner_id, name, secret_hash, redirect_uris, created_at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6
             WHERE (SELECT count(*) FROM app WHERE owner_id = ?2) < ?7",
        )
        .bind(&app.client_id)
        .bind(app.owner_id.as_i64())
        .bind(&app.name)
        .bind(&app.secret_hash)
        .bind(redirect_uris)
        .bind(app.created_at.as_micros())
        .bind(count_max)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        transaction.commit().await?;
        Ok(stored > 0)
    }

    async fn app(&self, client_id: &str) -> Result<Option<App>, DatabaseError> {
        found::<AppRow, _>(
            sqlx::query_as(
                "SELECT client_id, owner_id, name, secret_hash, redirect_uris, created_at
                 FROM app WHERE client_id = ?",
            )
            .bind(client_id)
            .fetch_optional(self.0.read())
            .await?,
        )
    }

    async fn insert_code(&self, code: &Code) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        sqlx::query(
            "INSERT INTO authorization_code
             (hash, client_id, account_id, redirect_uri, scope, challenge, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&code.hash)
        .bind(&code.client_id)
        .bind(code.account_id.as_i64())
        .bind(&code.redirect_uri)
        .bind(code.scopes.to_string())
        .bind(&code.challenge)
        .bind(code.expires_at.as_micros())
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    async fn code(&self, hash: &Hash) -> Result<Option<Code>, DatabaseError> {
        found::<CodeRow, _>(
            sqlx::query_as(
                "SELECT hash, client_id, account_id, redirect_uri, scope, challenge, expires_at
                 FROM authorization_code WHERE hash = ?",
            )
            .bind(hash)
            .fetch_optional(self.0.read())
            .await?,
        )
    }

    async fn exchange_code(
        &self,
        code: &Hash,
        session: &Session,
        token: Option<&RefreshToken>,
        now: Timestamp,
    ) -> Result<Exchange, DatabaseError> {
        let mut transaction = self.0.write().await?;
        let state: Option<CodeState> = sqlx::query_as(
            "SELECT session_id, expires_at > ? AND state = 'active' AS valid
             FROM authorization_code JOIN account ON account.id = account_id WHERE hash = ?",
        )
        .bind(now.as_micros())
        .bind(code)
        .fetch_optional(&mut *transaction)
        .await?;
        let outcome = match state {
            Some(CodeState { session_id: Some(session_id), .. }) => {
                revoke(&mut transaction, session_id, now).await?;
                Exchange::Reused
            }
            Some(CodeState { valid: true, .. }) => {
                insert_session(&mut transaction, session, token, now).await?;
                sqlx::query("UPDATE authorization_code SET session_id = ? WHERE hash = ?")
                    .bind(session.id.cast_signed())
                    .bind(code)
                    .execute(&mut *transaction)
                    .await?;
                Exchange::Done
            }
            Some(_) | None => return Ok(Exchange::Invalid),
        };
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn begin_session(
        &self,
        session: &Session,
        token: &RefreshToken,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        insert_session(&mut transaction, session, Some(token), now).await?;
        Ok(transaction.commit().await?)
    }

    async fn session_of(&self, token: &Hash) -> Result<Option<Session>, DatabaseError> {
        found::<SessionRow, _>(
            sqlx::query_as(
                "SELECT session.id, account_id, client_id, scope
                 FROM refresh_token JOIN session ON session.id = session_id WHERE hash = ?",
            )
            .bind(token)
            .fetch_optional(self.0.read())
            .await?,
        )
    }

    async fn rotate(
        &self,
        presented: &Hash,
        next: &RefreshToken,
        now: Timestamp,
    ) -> Result<Exchange, DatabaseError> {
        let mut transaction = self.0.write().await?;
        let token: Option<TokenRow> = sqlx::query_as(
            "SELECT session_id, used_at IS NOT NULL AS used,
                    expires_at > ? AND revoked_at IS NULL AND state = 'active' AS valid
             FROM refresh_token
             JOIN session ON session.id = session_id
             JOIN account ON account.id = account_id
             WHERE hash = ?",
        )
        .bind(now.as_micros())
        .bind(presented)
        .fetch_optional(&mut *transaction)
        .await?;
        let outcome = match token {
            Some(TokenRow { used: true, session_id, .. }) => {
                revoke(&mut transaction, session_id, now).await?;
                Exchange::Reused
            }
            Some(TokenRow { valid: true, session_id, .. }) => {
                sqlx::query("UPDATE refresh_token SET used_at = ? WHERE hash = ?")
                    .bind(now.as_micros())
                    .bind(presented)
                    .execute(&mut *transaction)
                    .await?;
                insert_token(&mut transaction, session_id, next).await?;
                Exchange::Done
            }
            Some(_) | None => return Ok(Exchange::Invalid),
        };
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn revoke_session(&self, id: u64, now: Timestamp) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        revoke(&mut transaction, id.cast_signed(), now).await?;
        Ok(transaction.commit().await?)
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        sqlx::query("DELETE FROM authorization_code WHERE expires_at <= ?")
            .bind(now.as_micros())
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM refresh_token WHERE expires_at <= ?")
            .bind(now.as_micros())
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "DELETE FROM session WHERE NOT EXISTS
             (SELECT 1 FROM refresh_token WHERE session_id = session.id)",
        )
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    async fn signing_keys(&self) -> Result<Vec<StoredKey>, DatabaseError> {
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT kid, seed, signs_from FROM signing_key ORDER BY signs_from, kid",
        )
        .fetch_all(self.0.read())
        .await?;
        Ok(rows
            .into_iter()
            .map(|KeyRow { kid, seed, signs_from }| StoredKey {
                kid,
                seed,
                signs_from: Timestamp::from_micros(signs_from),
            })
            .collect())
    }

    async fn insert_signing_key(&self, key: &StoredKey) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        sqlx::query("INSERT INTO signing_key (kid, seed, signs_from) VALUES (?, ?, ?)")
            .bind(&key.kid)
            .bind(&key.seed)
            .bind(key.signs_from.as_micros())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    async fn forget_signing_key(&self, kid: &str) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        sqlx::query("DELETE FROM signing_key WHERE kid = ?")
            .bind(kid)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

async fn insert_session(
    transaction: &mut Transaction<'_, Sqlite>,
    session: &Session,
    token: Option<&RefreshToken>,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO session (id, account_id, client_id, scope, created_at)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(session.id.cast_signed())
    .bind(session.account_id.as_i64())
    .bind(&session.client_id)
    .bind(session.scopes.to_string())
    .bind(now.as_micros())
    .execute(&mut **transaction)
    .await?;
    let Some(token) = token else { return Ok(()) };
    insert_token(transaction, session.id.cast_signed(), token).await
}

async fn insert_token(
    transaction: &mut Transaction<'_, Sqlite>,
    session_id: i64,
    token: &RefreshToken,
) -> Result<(), DatabaseError> {
    sqlx::query("INSERT INTO refresh_token (hash, session_id, expires_at) VALUES (?, ?, ?)")
        .bind(&token.hash)
        .bind(session_id)
        .bind(token.expires_at.as_micros())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn revoke(
    transaction: &mut Transaction<'_, Sqlite>,
    session_id: i64,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query("UPDATE session SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
        .bind(now.as_micros())
        .bind(session_id)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
