//! What users allowed apps, as they see it and take it back.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Scopes, Timestamp, UserId};

use super::Store;
use super::revocations::{RevokeError, revoke_user};
use super::sessions::revoke;

/// Authorizations that are shown, the newest first. Nobody allows more by hand.
const SHOWN_MAX: i64 = 500;

/// What a user allowed an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) client_id: String,
    /// The app's name.
    pub(crate) name: String,
    /// The handle of the account that made the app.
    pub(crate) owner: String,
    /// All that any of its sessions may do.
    pub(crate) scopes: Scopes,
    /// When the user allowed it first.
    pub(crate) since: Timestamp,
}

impl Store {
    /// The handle of an account.
    pub(crate) async fn username(&self, id: UserId) -> Result<Option<String>, DatabaseError> {
        let row: Option<(String,)> = query("SELECT username FROM account WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.0)
            .await?;
        Ok(row.map(|(username,)| username))
    }

    /// The number that a user's access tokens carry.
    pub(crate) async fn token_epoch(&self, id: UserId) -> Result<i64, DatabaseError> {
        let row: Option<(i64,)> = query("SELECT token_epoch FROM account WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.0)
            .await?;
        Ok(row.map_or(0, |(epoch,)| epoch))
    }

    /// The apps that may act for a user, in the order in which they were allowed.
    pub(crate) async fn authorizations(
        &self,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<Vec<Authorization>, DatabaseError> {
        let rows: Vec<(String, String, String, String, i64)> = query(
            "SELECT session.client_id, app.name, owner.username, session.scope, session.created_at
             FROM session
             JOIN app ON app.client_id = session.client_id
             JOIN account owner ON owner.id = app.owner_id
             WHERE session.account_id = $1 AND session.revoked_at IS NULL
               AND (session.access_until > $2 OR EXISTS
                    (SELECT 1 FROM refresh_token
                     WHERE session_id = session.id AND used_at IS NULL AND expires_at > $2))
             ORDER BY session.created_at DESC, session.id DESC LIMIT $3",
        )
        .bind(user_id)
        .bind(now)
        .bind(SHOWN_MAX)
        .fetch_all(&self.0)
        .await?;
        let mut all: Vec<Authorization> = Vec::new();
        for (client_id, name, owner, scope, created_at) in rows.into_iter().rev() {
            let since = Timestamp::from_micros(created_at);
            if let Some(known) = all.iter_mut().find(|known| known.client_id == client_id) {
                known.scopes = Scopes::parse(&format!("{} {scope}", known.scopes));
            } else {
                let scopes = Scopes::parse(&scope);
                all.push(Authorization { client_id, name, owner, scopes, since });
            }
        }
        Ok(all)
    }

    /// Ends all sessions that a user has with a client, and forgets codes that the client has not
    /// exchanged; how many sessions there were.
    pub(crate) async fn revoke_authorization(
        &self,
        user_id: UserId,
        client_id: &str,
        now: Timestamp,
    ) -> Result<usize, RevokeError> {
        let mut transaction = self.0.write().await?;
        let sessions: Vec<(i64,)> = query(
            "SELECT id FROM session
             WHERE account_id = $1 AND client_id = $2 AND revoked_at IS NULL",
        )
        .bind(user_id)
        .bind(client_id)
        .fetch_all(&mut transaction)
        .await?;
        for (session,) in &sessions {
            revoke(&mut transaction, *session, user_id.as_i64(), now).await?;
        }
        query(
            "DELETE FROM authorization_code
             WHERE account_id = $1 AND client_id = $2 AND session_id IS NULL",
        )
        .bind(user_id)
        .bind(client_id)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok(sessions.len())
    }

    /// Ends all sessions of a user and revokes all of their access tokens.
    pub(crate) async fn log_out_everywhere(
        &self,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query("UPDATE session SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL")
            .bind(user_id)
            .bind(now)
            .execute(&mut transaction)
            .await?;
        query("DELETE FROM authorization_code WHERE account_id = $1 AND session_id IS NULL")
            .bind(user_id)
            .execute(&mut transaction)
            .await?;
        revoke_user(&mut transaction, user_id, now).await?;
        transaction.commit().await
    }
}
