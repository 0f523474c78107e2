//! Rows, and what they stand for.

use pillion_chassis::{DatabaseError, Scopes, Timestamp, UserId};
use sqlx::FromRow;

use crate::store::{Account, AccountState, App, Code, Session};

#[derive(FromRow)]
pub(super) struct AccountRow {
    pub(super) id: i64,
    pub(super) username: String,
    pub(super) password_hash: String,
    pub(super) state: String,
}

#[derive(FromRow)]
pub(super) struct AppRow {
    pub(super) client_id: String,
    pub(super) owner_id: i64,
    pub(super) name: String,
    pub(super) secret_hash: Option<Vec<u8>>,
    pub(super) redirect_uris: String,
    pub(super) created_at: i64,
    pub(super) token_generation: i64,
}

#[derive(FromRow)]
pub(super) struct SessionRow {
    pub(super) id: i64,
    pub(super) account_id: i64,
    pub(super) client_id: String,
    pub(super) scope: String,
}

#[derive(FromRow)]
pub(super) struct TokenRow {
    pub(super) session_id: i64,
    pub(super) account_id: i64,
    pub(super) used_at: Option<i64>,
    pub(super) valid: bool,
}

#[derive(FromRow)]
pub(super) struct KeyRow {
    pub(super) kid: String,
    pub(super) public_key: Vec<u8>,
    pub(super) seed: Option<Vec<u8>>,
    pub(super) signs_from: i64,
}

#[derive(FromRow)]
pub(super) struct CodeRow {
    pub(super) hash: Vec<u8>,
    pub(super) client_id: String,
    pub(super) account_id: i64,
    pub(super) redirect_uri: String,
    pub(super) scope: String,
    pub(super) challenge: String,
    pub(super) expires_at: i64,
}

#[derive(FromRow)]
pub(super) struct CodeState {
    pub(super) session_id: Option<i64>,
    pub(super) account_id: i64,
    pub(super) valid: bool,
}

pub(super) fn user_id(column: i64) -> Result<UserId, DatabaseError> {
    UserId::from_i64(column)
        .ok_or_else(|| DatabaseError::Corrupt(format!("the negative user id {column}")))
}

impl TryFrom<AccountRow> for Account {
    type Error = DatabaseError;

    fn try_from(row: AccountRow) -> Result<Self, DatabaseError> {
        let state = match row.state.as_str() {
            "pending" => AccountState::Pending,
            "active" => AccountState::Active,
            "deactivated" => AccountState::Deactivated,
            other => {
                return Err(DatabaseError::Corrupt(format!("an account in the state {other}")));
            }
        };
        let AccountRow { id, username, password_hash, .. } = row;
        Ok(Self { id: user_id(id)?, username, password_hash, state })
    }
}

impl TryFrom<AppRow> for App {
    type Error = DatabaseError;

    fn try_from(row: AppRow) -> Result<Self, DatabaseError> {
        let redirect_uris = serde_json::from_str(&row.redirect_uris).map_err(|error| {
            DatabaseError::Corrupt(format!("redirect_uris that are no JSON array: {error}"))
        })?;
        Ok(Self {
            client_id: row.client_id,
            owner_id: user_id(row.owner_id)?,
            name: row.name,
            secret_hash: row.secret_hash,
            redirect_uris,
            created_at: Timestamp::from_micros(row.created_at),
            token_generation: row.token_generation,
        })
    }
}

impl TryFrom<SessionRow> for Session {
    type Error = DatabaseError;

    fn try_from(row: SessionRow) -> Result<Self, DatabaseError> {
        Ok(Self {
            id: row.id.cast_unsigned(),
            account_id: user_id(row.account_id)?,
            client_id: row.client_id,
            scopes: Scopes::parse(&row.scope),
        })
    }
}

/// A row as what it stands for, if there is one.
pub(super) fn found<R, T>(row: Option<R>) -> Result<Option<T>, DatabaseError>
where
    T: TryFrom<R, Error = DatabaseError>,
{
    row.map(T::try_from).transpose()
}

impl TryFrom<CodeRow> for Code {
    type Error = DatabaseError;

    fn try_from(row: CodeRow) -> Result<Self, DatabaseError> {
        Ok(Self {
            hash: row.hash,
            client_id: row.client_id,
            account_id: user_id(row.account_id)?,
            redirect_uri: row.redirect_uri,
            scopes: Scopes::parse(&row.scope),
            challenge: row.challenge,
            expires_at: Timestamp::from_micros(row.expires_at),
        })
    }
}
