//! Profiles, kept together with their events.

use std::collections::BTreeSet;
use std::sync::Arc;

use pillion_chassis::database::Migrations;
use pillion_chassis::event_log::AppendError;
use pillion_chassis::journal::Journal;
use pillion_chassis::page::Window;
use pillion_chassis::sql::{list, query};
use pillion_chassis::{Database, DatabaseError, Timestamp, Transaction, UserId};
use pillion_events::{UserEvent, UserProfileChanged};

use crate::NAME;
use crate::change_profile::Change;
use crate::error::Error;
use crate::profile::{About, Profile, Username};
use crate::projection::{self, UserProjection};

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// Above every character, so that `prefix..prefix + LAST` holds all words with the prefix.
const LAST: char = char::MAX;

/// The service's storage.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
    journal: Journal,
}

/// An account, whatever became of it.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Row {
    user_id: i64,
    pub(crate) username: String,
    name: String,
    description: Option<String>,
    location: Option<String>,
    url: Option<String>,
    protected: bool,
    created_at: i64,
    pub(crate) deactivated_at: Option<i64>,
    pub(crate) deleted_at: Option<i64>,
}

impl Row {
    /// Whether anybody can see the account.
    pub(crate) fn is_live(&self) -> bool {
        self.deactivated_at.is_none() && self.deleted_at.is_none()
    }
}

impl TryFrom<Row> for Profile {
    type Error = DatabaseError;

    fn try_from(row: Row) -> Result<Self, DatabaseError> {
        let bad = |column: &str| DatabaseError::Corrupt(format!("a profile with a bad {column}"));
        let Row { name, description, location, url, protected, .. } = row;
        Ok(Self {
            user_id: UserId::from_i64(row.user_id).ok_or_else(|| bad("user_id"))?,
            username: row.username.parse().map_err(|_| bad("username"))?,
            about: About { name, description, location, url },
            protected,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

impl Store {
    /// The store on a migrated database.
    pub(crate) async fn open(database: Database) -> Result<Self, DatabaseError> {
        let journal = Journal::new(NAME, database.clone(), Arc::new(UserProjection));
        let store = Self { database, journal };
        store.index_all().await?;
        Ok(store)
    }

    /// The service's events and tables.
    pub(crate) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Begins a transaction.
    pub(crate) async fn write(&self) -> Result<Transaction, DatabaseError> {
        self.database.write().await
    }

    /// Changes a profile, unless it says the same already; the profile as it is then. Refused
    /// with [`Error::Gone`] when there is no such account.
    pub(crate) async fn change(
        &self,
        user_id: UserId,
        change: Change,
        at: Timestamp,
    ) -> Result<Profile, Error> {
        let mut transaction = self.database.write().await?;
        let row = by_id(&mut transaction, user_id).await?.filter(Row::is_live);
        let before = Profile::try_from(row.ok_or(Error::Gone(user_id))?)?;
        let after = change.apply_to(before.clone());
        if after == before {
            return Ok(before);
        }
        let About { name, description, location, url } = after.about.clone();
        let event = UserEvent::ProfileChanged(UserProfileChanged {
            user_id,
            name,
            description,
            location,
            url,
            protected: after.protected,
            changed_at: at,
        });
        record(&self.journal, &mut transaction, user_id, &event, at).await?;
        transaction.commit().await?;
        Ok(after)
    }

    /// Those of these accounts that exist, in any order.
    pub(crate) async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<Profile>, DatabaseError> {
        let rows = query(
            "SELECT user_id, username, name, description, location, url, protected, created_at,
                    deactivated_at, deleted_at
             FROM profile
             WHERE user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))
               AND deactivated_at IS NULL AND deleted_at IS NULL",
        )
        .bind(list(ids));
        profiles(rows.fetch_all(&self.database).await?)
    }

    /// The accounts that have these handles, in any order.
    pub(crate) async fn by_usernames(
        &self,
        usernames: &[Username],
    ) -> Result<Vec<Profile>, DatabaseError> {
        let rows = query(
            "SELECT user_id, username, name, description, location, url, protected, created_at,
                    deactivated_at, deleted_at
             FROM profile
             WHERE username_key IN (SELECT value FROM json_each($1))
               AND deactivated_at IS NULL AND deleted_at IS NULL",
        )
        .bind(list(usernames.iter().map(Username::key)));
        profiles(rows.fetch_all(&self.database).await?)
    }

    /// The accounts that have all of these prefixes of words, of which there is at least one, in
    /// lower case. In the order of their ids.
    pub(crate) async fn search(
        &self,
        prefixes: &BTreeSet<String>,
        window: &Window,
    ) -> Result<Vec<Profile>, DatabaseError> {
        let words: Vec<String> = (0..prefixes.len())
            .map(|index| (2 * index + 1, 2 * index + 2))
            .map(|(from, to)| {
                format!("SELECT user_id FROM profile_word WHERE word >= ${from} AND word < ${to}")
            })
            .collect();
        let bound = 2 * words.len();
        let sql = format!(
            "SELECT user_id, username, name, description, location, url, protected, created_at,
                    deactivated_at, deleted_at
             FROM profile
             WHERE user_id IN ({}) AND user_id > ${} AND user_id < ${}
             ORDER BY user_id {} LIMIT ${}",
            words.join(" INTERSECT "),
            bound + 1,
            bound + 2,
            if window.newest_first { "DESC" } else { "ASC" },
            bound + 3,
        );
        let query = prefixes
            .iter()
            .fold(query(sql), |query, prefix| query.bind(prefix).bind(format!("{prefix}{LAST}")));
        let rows = query.bind(window.above).bind(window.below).bind(window.count_max);
        profiles(rows.fetch_all(&self.database).await?)
    }

    /// Makes accounts findable that were made before there was a search, as the projection makes
    /// new ones.
    async fn index_all(&self) -> Result<(), DatabaseError> {
        let unindexed = || {
            query(
                "SELECT user_id, username, name FROM profile
                 WHERE deactivated_at IS NULL AND deleted_at IS NULL AND NOT EXISTS
                     (SELECT 1 FROM profile_word WHERE profile_word.user_id = profile.user_id)",
            )
        };
        if unindexed().fetch_optional::<(i64, String, String)>(&self.database).await?.is_none() {
            return Ok(());
        }
        let mut transaction = self.database.write().await?;
        let rows: Vec<(i64, String, String)> = unindexed().fetch_all(&mut transaction).await?;
        for (user_id, username, name) in rows {
            projection::index(&mut transaction, user_id, &username, &name).await?;
        }
        transaction.commit().await
    }
}

/// An account, whatever became of it.
pub(crate) async fn by_id(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<Option<Row>, DatabaseError> {
    query(
        "SELECT user_id, username, name, description, location, url, protected, created_at,
                deactivated_at, deleted_at
         FROM profile WHERE user_id = $1",
    )
    .bind(user_id)
    .fetch_optional(transaction)
    .await
}

/// Records what happened to an account.
pub(crate) async fn record(
    journal: &Journal,
    transaction: &mut Transaction,
    user_id: UserId,
    event: &UserEvent,
    at: Timestamp,
) -> Result<(), AppendError> {
    let stream = format!("user/{user_id}");
    let version = journal.version(transaction, &stream).await?;
    journal.record(transaction, &stream, version, event, at).await?;
    Ok(())
}

fn profiles(rows: Vec<Row>) -> Result<Vec<Profile>, DatabaseError> {
    rows.into_iter().map(Profile::try_from).collect()
}
