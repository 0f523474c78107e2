//! Profiles in `SQLite`.

use async_trait::async_trait;
use pillion_chassis::event_log::{self, AppendError};
use pillion_chassis::{Database, DatabaseError, Timestamp, UserId};
use pillion_events::{UserDeleted, UserEvent, UserRegistered};
use sqlx::SqliteConnection;
use sqlx::migrate::Migrator;

use super::{Registration, Store};
use crate::error::Error;
use crate::profile::{About, Profile, Username};

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The store on the service's `SQLite` file.
#[derive(Debug)]
pub(crate) struct SqliteStore(Database);

impl SqliteStore {
    /// The store on a migrated database.
    pub(crate) fn new(database: Database) -> Self {
        Self(database)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    user_id: i64,
    username: String,
    name: String,
    description: Option<String>,
    location: Option<String>,
    url: Option<String>,
    created_at: i64,
    deleted_at: Option<i64>,
    version: i64,
}

impl TryFrom<Row> for Profile {
    type Error = DatabaseError;

    fn try_from(row: Row) -> Result<Self, DatabaseError> {
        let bad = |column: &str| DatabaseError::Corrupt(format!("a profile with a bad {column}"));
        let Row { name, description, location, url, .. } = row;
        Ok(Self {
            user_id: UserId::from_i64(row.user_id).ok_or_else(|| bad("user_id"))?,
            username: row.username.parse().map_err(|_| bad("username"))?,
            about: About { name, description, location, url },
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

/// A list as one bound value, which `json_each` takes apart: a statement for any number of ids.
fn json_list<T: Into<serde_json::Value>>(values: impl Iterator<Item = T>) -> String {
    values.collect::<serde_json::Value>().to_string()
}

fn stream(user_id: UserId) -> String {
    format!("user/{user_id}")
}

#[async_trait]
impl Store for SqliteStore {
    async fn register(&self, profile: &Profile) -> Result<Registration, Error> {
        let mut transaction = self.0.write().await.map_err(AppendError::from)?;
        if let Some(row) = find(&mut transaction, profile.user_id).await? {
            if row.deleted_at.is_some() {
                return Err(Error::Deleted(profile.user_id));
            }
            let there = Profile::try_from(row).map_err(AppendError::from)?;
            if (&there.username, &there.about) != (&profile.username, &profile.about) {
                return Err(Error::AnotherProfile(profile.user_id));
            }
            return Ok(Registration::Same(there));
        }
        if is_taken(&mut transaction, &profile.username).await? {
            return Err(Error::UsernameTaken(profile.username.clone()));
        }
        let About { name, description, location, url } = profile.about.clone();
        let event = UserRegistered {
            user_id: profile.user_id,
            username: profile.username.to_string(),
            name,
            description,
            location,
            url,
            created_at: profile.created_at,
        };
        apply_registered(&mut transaction, &event).await?;
        let stream = stream(profile.user_id);
        let event = UserEvent::Registered(event);
        event_log::append(&mut transaction, &stream, 0, &event, profile.created_at).await?;
        transaction.commit().await.map_err(AppendError::from)?;
        Ok(Registration::Made(profile.clone()))
    }

    async fn delete(&self, user_id: UserId, at: Timestamp) -> Result<bool, AppendError> {
        let mut transaction = self.0.write().await?;
        let Some(Row { deleted_at: None, version, .. }) = find(&mut transaction, user_id).await?
        else {
            return Ok(false);
        };
        let event = UserDeleted { user_id, deleted_at: at };
        apply_deleted(&mut transaction, &event).await?;
        let event = UserEvent::Deleted(event);
        event_log::append(&mut transaction, &stream(user_id), version, &event, at).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<Profile>, DatabaseError> {
        let ids = json_list(ids.iter().map(|id| id.as_i64()));
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT user_id, username, name, description, location, url, created_at, deleted_at,
                    version
             FROM profile
             WHERE user_id IN (SELECT value FROM json_each(?)) AND deleted_at IS NULL",
        )
        .bind(ids)
        .fetch_all(self.0.read())
        .await?;
        rows.into_iter().map(Profile::try_from).collect()
    }

    async fn by_usernames(&self, usernames: &[Username]) -> Result<Vec<Profile>, DatabaseError> {
        let keys = json_list(usernames.iter().map(Username::key));
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT user_id, username, name, description, location, url, created_at, deleted_at,
                    version
             FROM profile
             WHERE username_key IN (SELECT value FROM json_each(?)) AND deleted_at IS NULL",
        )
        .bind(keys)
        .fetch_all(self.0.read())
        .await?;
        rows.into_iter().map(Profile::try_from).collect()
    }
}

/// An account, deleted or not.
async fn find(
    connection: &mut SqliteConnection,
    user_id: UserId,
) -> Result<Option<Row>, AppendError> {
    Ok(sqlx::query_as(
        "SELECT user_id, username, name, description, location, url, created_at, deleted_at,
                version
         FROM profile WHERE user_id = ?",
    )
    .bind(user_id.as_i64())
    .fetch_optional(connection)
    .await?)
}

/// Whether an account has this handle, or had it before it was deleted.
async fn is_taken(
    connection: &mut SqliteConnection,
    username: &Username,
) -> Result<bool, AppendError> {
    let (taken,) = sqlx::query_as("SELECT EXISTS (SELECT 1 FROM profile WHERE username_key = ?)")
        .bind(username.key())
        .fetch_one(connection)
        .await?;
    Ok(taken)
}

/// Makes the state what it is after `user.registered`.
async fn apply_registered(
    connection: &mut SqliteConnection,
    event: &UserRegistered,
) -> Result<(), AppendError> {
    sqlx::query(
        "INSERT INTO profile
             (user_id, username, username_key, name, description, location, url, created_at,
              version)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
    )
    .bind(event.user_id.as_i64())
    .bind(&event.username)
    .bind(event.username.to_ascii_lowercase())
    .bind(&event.name)
    .bind(&event.description)
    .bind(&event.location)
    .bind(&event.url)
    .bind(event.created_at.as_micros())
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes the state what it is after `user.deleted`.
async fn apply_deleted(
    connection: &mut SqliteConnection,
    event: &UserDeleted,
) -> Result<(), AppendError> {
    sqlx::query(
        "UPDATE profile
         SET name = '', description = NULL, location = NULL, url = NULL, deleted_at = ?,
             version = version + 1
         WHERE user_id = ?",
    )
    .bind(event.deleted_at.as_micros())
    .bind(event.user_id.as_i64())
    .execute(connection)
    .await?;
    Ok(())
}
