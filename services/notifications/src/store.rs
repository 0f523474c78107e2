//! The service's tables: read here, written by the modules below, which only the projection
//! calls.

pub(crate) mod inbox;
pub(crate) mod relations;

use pillion_chassis::page::Window;
use pillion_chassis::sql::{On, list, query};
use pillion_chassis::{
    AppendError, Database, DatabaseError, Journal, Migrations, Timestamp, Transaction, TweetId,
    UserId,
};
use pillion_events::{NotificationEvent, NotificationId};

use crate::notice::Item;

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// What is shown of the table `notification`: not what was taken back, nor what accounts did that
/// are deactivated.
macro_rules! is_shown {
    () => {
        "NOT withdrawn
         AND NOT EXISTS (SELECT 1 FROM account AS a
                         WHERE a.user_id = notification.actor_id AND a.deactivated)"
    };
}

macro_rules! inbox_page {
    ($order:literal) => {
        concat!(
            "SELECT id, kind, actor_id, tweet_id, created_at FROM notification
             WHERE user_id = $1 AND id > $2 AND id < $3
               AND ($4 OR kind IN (SELECT value FROM json_each($5)))
               AND ",
            is_shown!(),
            " ORDER BY id ",
            $order,
            " LIMIT $6"
        )
    };
}

pub(crate) const INBOX_LATEST: &str = inbox_page!("DESC");
pub(crate) const INBOX_EARLIEST: &str = inbox_page!("ASC");
pub(crate) const UNREAD_COUNT: &str =
    concat!("SELECT count(*) FROM notification WHERE user_id = $1 AND id > $2 AND ", is_shown!());

/// Reads the inboxes.
#[derive(Debug, Clone)]
pub(crate) struct Store(Database);

/// How far a user has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mailbox {
    /// The largest id that a notification of the user's ever had; 0: none.
    pub(crate) last_id: i64,
    /// All up to here was read.
    pub(crate) read_up_to: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    kind: String,
    actor_id: i64,
    tweet_id: Option<i64>,
    created_at: i64,
}

impl Store {
    /// On a migrated database.
    pub(crate) fn new(database: Database) -> Self {
        Self(database)
    }

    /// Begins a transaction that may write.
    pub(crate) async fn write(&self) -> Result<Transaction, DatabaseError> {
        self.0.write().await
    }

    /// How far a user has come.
    pub(crate) async fn mailbox(&self, user_id: UserId) -> Result<Mailbox, DatabaseError> {
        mailbox(&self.0, user_id).await
    }

    /// A user's notifications in a window, in its order, of these kinds; of all if there is none.
    pub(crate) async fn page(
        &self,
        user_id: UserId,
        mailbox: Mailbox,
        kinds: &[&'static str],
        window: &Window,
    ) -> Result<Vec<Item>, DatabaseError> {
        let sql = if window.newest_first { INBOX_LATEST } else { INBOX_EARLIEST };
        let rows: Vec<Row> = query(sql)
            .bind(user_id)
            .bind(window.above)
            .bind(window.below)
            .bind(kinds.is_empty())
            .bind(list(kinds.iter().copied()))
            .bind(window.count_max)
            .fetch_all(&self.0)
            .await?;
        Ok(rows.into_iter().filter_map(|row| row.item(mailbox.read_up_to)).collect())
    }

    /// How many notifications a user has not read.
    pub(crate) async fn unread_count(
        &self,
        user_id: UserId,
        mailbox: Mailbox,
    ) -> Result<i64, DatabaseError> {
        unread_count(&self.0, user_id, mailbox).await
    }

    /// Whether the account was deleted.
    pub(crate) async fn is_deleted(&self, user_id: UserId) -> Result<bool, DatabaseError> {
        is_deleted(&self.0, user_id).await
    }

    /// Whether the account was deleted or deactivated.
    pub(crate) async fn is_gone(&self, user_id: UserId) -> Result<bool, DatabaseError> {
        let found = query("SELECT deleted, deactivated FROM account WHERE user_id = $1")
            .bind(user_id)
            .fetch_optional::<(bool, bool)>(&self.0)
            .await?;
        Ok(found.is_some_and(|(deleted, deactivated)| deleted || deactivated))
    }
}

/// Records an event of a user's, and with it changes the tables.
pub(crate) async fn record(
    journal: &Journal,
    transaction: &mut Transaction,
    user_id: UserId,
    event: NotificationEvent,
    at: Timestamp,
) -> Result<(), AppendError> {
    let stream = format!("user/{user_id}");
    let version = journal.version(transaction, &stream).await?;
    journal.record(transaction, &stream, version, &event, at).await?;
    Ok(())
}

/// How far a user has come.
pub(crate) async fn mailbox(
    on: impl Into<On<'_>>,
    user_id: UserId,
) -> Result<Mailbox, DatabaseError> {
    let found = query("SELECT last_id, read_up_to FROM mailbox WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional::<(i64, i64)>(on)
        .await?;
    let found = found.map(|(last_id, read_up_to)| Mailbox { last_id, read_up_to });
    Ok(found.unwrap_or_default())
}

/// How many notifications a user has not read.
pub(crate) async fn unread_count(
    on: impl Into<On<'_>>,
    user_id: UserId,
    mailbox: Mailbox,
) -> Result<i64, DatabaseError> {
    let (count,) =
        query(UNREAD_COUNT).bind(user_id).bind(mailbox.read_up_to).fetch_one::<(i64,)>(on).await?;
    Ok(count)
}

/// Whether the account was deleted.
pub(crate) async fn is_deleted(
    on: impl Into<On<'_>>,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let found = query("SELECT deleted FROM account WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional::<(bool,)>(on)
        .await?;
    Ok(found.is_some_and(|(deleted,)| deleted))
}

impl Row {
    /// `None` only for ids that are none, which nobody writes.
    fn item(self, read_up_to: i64) -> Option<Item> {
        Some(Item {
            id: NotificationId::from_i64(self.id)?,
            kind: self.kind,
            created_at: Timestamp::from_micros(self.created_at),
            read: self.id <= read_up_to,
            actor_id: UserId::from_i64(self.actor_id)?,
            tweet_id: self.tweet_id.and_then(TweetId::from_i64),
        })
    }
}
