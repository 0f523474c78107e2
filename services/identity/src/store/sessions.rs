//! Sessions and their refresh tokens.

use pillion_chassis::database::Transaction;
use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Timestamp};

use super::rows::{CodeState, SessionRow, TokenRow, found};
use super::{Exchange, RefreshToken, Session, Store};
use crate::secret::Hash;

impl Store {
    /// Exchanges an authorization code for a session, with a refresh token if there is to be one.
    pub(crate) async fn exchange_code(
        &self,
        code: &Hash,
        session: &Session,
        token: Option<&RefreshToken>,
        now: Timestamp,
    ) -> Result<Exchange, DatabaseError> {
        let mut transaction = self.0.write().await?;
        let state: Option<CodeState> = query(
            "SELECT session_id, expires_at > $1 AND state = 'active' AS valid
             FROM authorization_code JOIN account ON account.id = account_id WHERE hash = $2",
        )
        .bind(now)
        .bind(code.as_slice())
        .fetch_optional(&mut transaction)
        .await?;
        let outcome = match state {
            Some(CodeState { session_id: Some(session_id), .. }) => {
                revoke(&mut transaction, session_id, now).await?;
                Exchange::Reused
            }
            Some(CodeState { valid: true, .. }) => {
                insert_session(&mut transaction, session, token, now).await?;
                query("UPDATE authorization_code SET session_id = $1 WHERE hash = $2")
                    .bind(session.id.cast_signed())
                    .bind(code.as_slice())
                    .execute(&mut transaction)
                    .await?;
                Exchange::Done
            }
            Some(_) | None => return Ok(Exchange::Invalid),
        };
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Stores a session with its first refresh token.
    pub(crate) async fn begin_session(
        &self,
        session: &Session,
        token: &RefreshToken,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        insert_session(&mut transaction, session, Some(token), now).await?;
        transaction.commit().await
    }

    /// The session that a refresh token belongs to, in whatever condition both are.
    pub(crate) async fn session_of(&self, token: &Hash) -> Result<Option<Session>, DatabaseError> {
        found::<SessionRow, _>(
            query(
                "SELECT session.id, account_id, client_id, scope
                 FROM refresh_token JOIN session ON session.id = session_id WHERE hash = $1",
            )
            .bind(token.as_slice())
            .fetch_optional(&self.0)
            .await?,
        )
    }

    /// Exchanges a refresh token for the next one.
    pub(crate) async fn rotate(
        &self,
        presented: &Hash,
        next: &RefreshToken,
        now: Timestamp,
    ) -> Result<Exchange, DatabaseError> {
        let mut transaction = self.0.write().await?;
        let token: Option<TokenRow> = query(
            "SELECT session_id, used_at IS NOT NULL AS used,
                    expires_at > $1 AND revoked_at IS NULL AND state = 'active' AS valid
             FROM refresh_token
             JOIN session ON session.id = session_id
             JOIN account ON account.id = account_id
             WHERE hash = $2",
        )
        .bind(now)
        .bind(presented.as_slice())
        .fetch_optional(&mut transaction)
        .await?;
        let outcome = match token {
            Some(TokenRow { used: true, session_id, .. }) => {
                revoke(&mut transaction, session_id, now).await?;
                Exchange::Reused
            }
            Some(TokenRow { valid: true, session_id, .. }) => {
                query("UPDATE refresh_token SET used_at = $1 WHERE hash = $2")
                    .bind(now)
                    .bind(presented.as_slice())
                    .execute(&mut transaction)
                    .await?;
                insert_token(&mut transaction, session_id, next).await?;
                Exchange::Done
            }
            Some(_) | None => return Ok(Exchange::Invalid),
        };
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Ends a session: its refresh tokens are good for nothing.
    pub(crate) async fn revoke_session(
        &self,
        id: u64,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        revoke(&mut transaction, id.cast_signed(), now).await?;
        transaction.commit().await
    }

    /// Forgets codes and refresh tokens that have expired, and sessions that have none left.
    pub(crate) async fn forget_expired(&self, now: Timestamp) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query("DELETE FROM authorization_code WHERE expires_at <= $1")
            .bind(now)
            .execute(&mut transaction)
            .await?;
        query("DELETE FROM refresh_token WHERE expires_at <= $1")
            .bind(now)
            .execute(&mut transaction)
            .await?;
        query(
            "DELETE FROM session WHERE NOT EXISTS
             (SELECT 1 FROM refresh_token WHERE session_id = session.id)",
        )
        .execute(&mut transaction)
        .await?;
        transaction.commit().await
    }
}

async fn insert_session(
    transaction: &mut Transaction,
    session: &Session,
    token: Option<&RefreshToken>,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO session (id, account_id, client_id, scope, created_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(session.id.cast_signed())
    .bind(session.account_id)
    .bind(&session.client_id)
    .bind(session.scopes.to_string())
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    let Some(token) = token else { return Ok(()) };
    insert_token(transaction, session.id.cast_signed(), token).await
}

async fn insert_token(
    transaction: &mut Transaction,
    session_id: i64,
    token: &RefreshToken,
) -> Result<(), DatabaseError> {
    query("INSERT INTO refresh_token (hash, session_id, expires_at) VALUES ($1, $2, $3)")
        .bind(token.hash.as_slice())
        .bind(session_id)
        .bind(token.expires_at)
        .execute(transaction)
        .await?;
    Ok(())
}

async fn revoke(
    transaction: &mut Transaction,
    session_id: i64,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query("UPDATE session SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
        .bind(now)
        .bind(session_id)
        .execute(transaction)
        .await?;
    Ok(())
}
