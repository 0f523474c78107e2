//! What the service keeps, as the use cases need it. Every method is one transaction.

pub(crate) mod sqlite;

use async_trait::async_trait;
use pillion_chassis::{DatabaseError, Scopes, Timestamp, UserId};
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

/// The service's storage.
#[async_trait]
pub(crate) trait Store: Send + Sync + std::fmt::Debug {
    /// Stores an account in the state pending; if its handle is taken, the account that has it.
    async fn insert_account(
        &self,
        account: &Account,
        now: Timestamp,
    ) -> Result<Option<Account>, DatabaseError>;
    /// Marks a pending account as active; others stay as they are.
    async fn activate(&self, id: UserId, now: Timestamp) -> Result<(), DatabaseError>;
    /// Forgets an account that never became active.
    async fn drop_pending(&self, id: UserId) -> Result<(), DatabaseError>;
    /// Marks an account as being deleted and revokes its sessions; whether it was active.
    async fn begin_deletion(&self, id: UserId, now: Timestamp) -> Result<bool, DatabaseError>;
    /// Forgets an account that is being deleted, with its apps and sessions.
    async fn finish_deletion(&self, id: UserId) -> Result<(), DatabaseError>;
    /// An account by its id.
    async fn account(&self, id: UserId) -> Result<Option<Account>, DatabaseError>;
    /// An account by its handle, without regard to case.
    async fn account_by_username(&self, username: &str) -> Result<Option<Account>, DatabaseError>;
    /// Accounts that have been pending or deleting since before a moment, longest first.
    async fn unfinished(
        &self,
        before: Timestamp,
        count_max: u32,
    ) -> Result<Vec<Account>, DatabaseError>;

    /// The largest of our own ids that is stored.
    async fn last_id(&self) -> Result<Option<u64>, DatabaseError>;

    /// Stores an app, unless its owner has `count_max` already; whether it was stored.
    async fn insert_app(&self, app: &App, count_max: u32) -> Result<bool, DatabaseError>;
    /// An app by its client id.
    async fn app(&self, client_id: &str) -> Result<Option<App>, DatabaseError>;

    /// Stores an authorization code.
    async fn insert_code(&self, code: &Code) -> Result<(), DatabaseError>;
    /// An authorization code, in whatever condition it is.
    async fn code(&self, hash: &Hash) -> Result<Option<Code>, DatabaseError>;
    /// Exchanges an authorization code for a session, with a refresh token if there is to be one.
    async fn exchange_code(
        &self,
        code: &Hash,
        session: &Session,
        token: Option<&RefreshToken>,
        now: Timestamp,
    ) -> Result<Exchange, DatabaseError>;

    /// Stores a session with its first refresh token.
    async fn begin_session(
        &self,
        session: &Session,
        token: &RefreshToken,
        now: Timestamp,
    ) -> Result<(), DatabaseError>;
    /// The session that a refresh token belongs to, in whatever condition both are.
    async fn session_of(&self, token: &Hash) -> Result<Option<Session>, DatabaseError>;
    /// Exchanges a refresh token for the next one.
    async fn rotate(
        &self,
        presented: &Hash,
        next: &RefreshToken,
        now: Timestamp,
    ) -> Result<Exchange, DatabaseError>;
    /// Ends a session: its refresh tokens are good for nothing.
    async fn revoke_session(&self, id: u64, now: Timestamp) -> Result<(), DatabaseError>;
    /// Forgets codes and refresh tokens that have expired, and sessions that have none left.
    async fn forget_expired(&self, now: Timestamp) -> Result<(), DatabaseError>;

    /// All signing keys, oldest first.
    async fn signing_keys(&self) -> Result<Vec<StoredKey>, DatabaseError>;
    /// Stores a signing key.
    async fn insert_signing_key(&self, key: &StoredKey) -> Result<(), DatabaseError>;
    /// Forgets a signing key.
    async fn forget_signing_key(&self, kid: &str) -> Result<(), DatabaseError>;
}
