//! What the service keeps, as the use cases need it. Every method of [`Store`] is one transaction.

pub(crate) mod accounts;
mod apps;
mod authorizations;
mod keys;
pub(crate) mod revocations;
mod rows;
pub(crate) mod sessions;

use pillion_chassis::database::{Migrations, OpenError};
use pillion_chassis::sql::query;
use pillion_chassis::{Database, DatabaseError, Scopes, Timestamp, Transaction, UserId};

use crate::secret::Hash;

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) id: UserId,
    /// The handle, as its owner writes it.
    pub(crate) username: String,
    /// A PHC string.
    pub(crate) password_hash: String,
    pub(crate) state: AccountState,
}

/// Whether an account can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountState {
    /// Its registration has not ended.
    Pending,
    Active,
    /// Its owner wants it gone; until it is, logging in brings it back.
    Deactivated,
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
    /// Its own tokens carry this number.
    pub(crate) token_generation: i64,
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
    /// It is used up, and what it was exchanged for is stored; at this moment, or before within
    /// the grace.
    Done(Timestamp),
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
    pub(crate) public: Vec<u8>,
    /// The private half, encrypted; none when it only verifies.
    pub(crate) seed: Option<Vec<u8>>,
    pub(crate) signs_from: Timestamp,
}

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrations = Migrations {
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

    /// Begins a transaction.
    pub(crate) async fn write(&self) -> Result<Transaction, DatabaseError> {
        self.0.write().await
    }

    /// The largest of our own ids that is stored.
    pub(crate) async fn last_id(&self) -> Result<Option<u64>, DatabaseError> {
        let (last,): (Option<i64>,) = query(
            "SELECT max(id) FROM
             (SELECT max(id) AS id FROM account UNION ALL SELECT max(id) FROM session
              UNION ALL SELECT max(id) FROM saga) AS ids",
        )
        .fetch_one(&self.0)
        .await?;
        Ok(last.map(i64::cast_unsigned))
    }
}
