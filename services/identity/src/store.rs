//! What the service keeps, as the use cases need it. Every method is one transaction.

mod accounts;
mod apps;
mod keys;
mod rows;
mod sessions;

use pillion_chassis::database::{Migrations, OpenError};
use pillion_chassis::sql::query;
use pillion_chassis::{Database, DatabaseError, Scopes, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::secret::Hash;

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) id: UserId,
    pub(crate) profile: Profile,
    /// A PHC string.
    pub(crate) password_hash: String,
    pub(crate) state: AccountState,
}

/// What the users service is told about an account, on every attempt the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// The handle, as its owner writes it.
    pub(crate) username: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

/// How far an account's registration or deletion has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountState {
    /// The profile may not exist yet.
    Pending,
    Active,
    /// The profile may exist still; nobody can log in any more.
    Deleting,
}

/// Software that asks for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct App {
    pub(crate) client_id: String,
    pub(crate) owner_id: UserId,
    pub(crate) name: String,
    /// None for one that cannot keep a secret.
    pub(crate) secret_hash: Option<Hash>,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) created_at: Timestamp,
}

/// What a user allowed a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) account_id: UserId,
    pub(crate) client_id: String,
    pub(crate) scopes: Scopes,
}

/// A refresh token, of which only the hash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    pub(crate) hash: Hash,
    pub(crate) expires_at: Timestamp,
}

/// What became of the attempt to exchange a code or a refresh token, each good once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// It is used up, and what it was exchanged for is stored.
    Done,
    /// It was used before: its session is revoked now.
    Reused,
    /// It is unknown or expired, or its session or account is over.
    Invalid,
}

/// What a user has just allowed an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) hash: Hash,
    pub(crate) client_id: String,
    pub(crate) account_id: UserId,
    pub(crate) redirect_uri: String,
    pub(crate) scopes: Scopes,
    /// SHA-256 of the verifier that the app must show, in `base64url`.
    pub(crate) challenge: String,
    pub(crate) expires_at: Timestamp,
}

/// A key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) kid: String,
    /// The private key.
    pub(crate) seed: Vec<u8>,
    pub(crate) signs_from: Timestamp,
}

/// What makes the tables.
static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// The service's storage.
#[derive(Debug, Clone)]
pub(crate) struct Store(Database);

impl Store {
    /// Brings the schema up to date.
    pub(crate) async fn open(database: Database) -> Result<Self, OpenError> {
        database.migrate(&MIGRATIONS).await?;
        Ok(Self(database))
    }

    /// The largest of our own ids that is stored.
    pub(crate) async fn last_id(&self) -> Result<Option<u64>, DatabaseError> {
        let (last,): (Option<i64>,) = query(
            "SELECT max(id) FROM
             (SELECT max(id) AS id FROM account UNION ALL SELECT max(id) FROM session) AS ids",
        )
        .fetch_one(&self.0)
        .await?;
        Ok(last.map(i64::cast_unsigned))
    }
}
