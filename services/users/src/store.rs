//! What the service needs of its database.

mod sqlite;

use async_trait::async_trait;
use pillion_chassis::event_log::AppendError;
use pillion_chassis::{DatabaseError, Timestamp, UserId};

pub(crate) use sqlite::{MIGRATIONS as SQLITE_MIGRATIONS, SqliteStore};

use crate::error::Error;
use crate::profile::{Profile, Username};

/// Profiles, kept together with their events.
#[async_trait]
pub(crate) trait Store: Send + Sync + std::fmt::Debug {
    /// Makes an account, unless it exists with the same profile already.
    async fn register(&self, profile: &Profile) -> Result<Registration, Error>;

    /// Deletes an account for good; whether there was one.
    async fn delete(&self, user_id: UserId, at: Timestamp) -> Result<bool, AppendError>;

    /// Those of these accounts that exist, in any order.
    async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<Profile>, DatabaseError>;

    /// The accounts that have these handles, in any order.
    async fn by_usernames(&self, usernames: &[Username]) -> Result<Vec<Profile>, DatabaseError>;
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Registration {
    /// The account is new.
    Made(Profile),
    /// It was there with the same profile: the request came twice.
    Same(Profile),
}
