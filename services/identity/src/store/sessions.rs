//! Sessions and their refresh tokens.

use pillion_chassis::database::Transaction;
use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Timestamp};

use super::revocations::{Owner, RevokeError, USER_KEPT, revoke_one, session_id};
use super::rows::{CodeState, SessionRow, TokenRow, found, user_id};
use super::{Exchange, RefreshToken, Session, Store};
use crate::secret::Hash;
use crate::signer::after;

/// When a refresh token is exchanged, and until when what comes of it is good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    /// Until when the access token works that the exchange gives out.
    pub(crate) access_until: Timestamp,
    /// A refresh token that was used at this moment or later answers as it did then.
    pub(crate) grace_since: Timestamp,
}

impl Store {
    /// Exchanges an authorization code for a session, with a refresh token if there is to be one.
    pub(crate) async fn exchange_code(
        &self,
        code: &Hash,
        session: &Session,
        token: Option<&RefreshToken>,
        moment: Moment,
    ) -> Result<Exchange, RevokeError> {
        let now = moment.now;
        let mut transaction = self.0.write().await?;
        let state: Option<CodeState> = query(
            "SELECT session_id, account_id, expires_at > $1 AND state = 'active' AS valid
             FROM authorization_code JOIN account ON account.id = account_id WHERE hash = $2",
        )
        .bind(now)
        .bind(code.as_slice())
        .fetch_optional(&mut transaction)
        .await?;
        let outcome = match state {
            Some(CodeState { session_id: Some(session_id), account_id, .. }) => {
                revoke(&mut transaction, session_id, account_id, now).await?;
                Exchange::Reused
            }
            Some(CodeState { valid: true, .. }) => {
                insert_session(&mut transaction, session, token, moment).await?;
                query("UPDATE authorization_code SET session_id = $1 WHERE hash = $2")
                    .bind(session.id.cast_signed())
                    .bind(code.as_slice())
                    .execute(&mut transaction)
                    .await?;
                Exchange::Done(now)
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
        moment: Moment,
    ) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        insert_session(&mut transaction, session, Some(token), moment).await?;
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

    /// Exchanges a refresh token for `next`. One that was exchanged within the grace gives the
    /// same moment again: `next` follows from it, so that the answer is the same.
    pub(crate) async fn rotate(
        &self,
        presented: &Hash,
        next: &RefreshToken,
        moment: Moment,
    ) -> Result<Exchange, RevokeError> {
        let now = moment.now;
        let mut transaction = self.0.write().await?;
        let token: Option<TokenRow> = query(
            "SELECT session_id, account_id, used_at,
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
            Some(TokenRow { used_at: Some(used_at), valid: true, .. })
                if used_at >= moment.grace_since.as_micros() =>
            {
                return Ok(Exchange::Done(Timestamp::from_micros(used_at)));
            }
            Some(TokenRow { used_at: Some(_), session_id, account_id, .. }) => {
                revoke(&mut transaction, session_id, account_id, now).await?;
                Exchange::Reused
            }
            Some(TokenRow { valid: true, session_id, .. }) => {
                query("UPDATE refresh_token SET used_at = $1 WHERE hash = $2")
                    .bind(now)
                    .bind(presented.as_slice())
                    .execute(&mut transaction)
                    .await?;
                query("UPDATE session SET access_until = $1 WHERE id = $2")
                    .bind(moment.access_until)
                    .bind(session_id)
                    .execute(&mut transaction)
                    .await?;
                insert_token(&mut transaction, session_id, next).await?;
                Exchange::Done(now)
            }
            Some(_) | None => return Ok(Exchange::Invalid),
        };
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Ends a session: its tokens are good for nothing.
    pub(crate) async fn revoke_session(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<(), RevokeError> {
        let mut transaction = self.0.write().await?;
        let account_id = session.account_id.as_i64();
        revoke(&mut transaction, session.id.cast_signed(), account_id, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets codes, refresh tokens and revocations that have expired, and sessions that have no
    /// token left.
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
            "DELETE FROM session WHERE access_until <= $1 AND NOT EXISTS
             (SELECT 1 FROM refresh_token WHERE session_id = session.id)",
        )
        .bind(now)
        .execute(&mut transaction)
        .await?;
        super::revocations::forget_expired(&mut transaction, now).await?;
        transaction.commit().await
    }
}

async fn insert_session(
    transaction: &mut Transaction,
    session: &Session,
    token: Option<&RefreshToken>,
    moment: Moment,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO session (id, account_id, client_id, scope, created_at, access_until)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(session.id.cast_signed())
    .bind(session.account_id)
    .bind(&session.client_id)
    .bind(session.scopes.to_string())
    .bind(moment.now)
    .bind(moment.access_until)
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

/// Ends a session that has not ended: its refresh tokens and its access tokens.
pub(super) async fn revoke(
    transaction: &mut Transaction,
    session: i64,
    account_id: i64,
    now: Timestamp,
) -> Result<(), RevokeError> {
    let ended = query("UPDATE session SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
        .bind(now)
        .bind(session)
        .execute(&mut *transaction)
        .await?;
    if ended == 0 {
        return Ok(());
    }
    let owner = Owner::User(user_id(account_id)?);
    let id = session_id(session.cast_unsigned());
    revoke_one(transaction, &id, owner, after(now, USER_KEPT), now).await
}
