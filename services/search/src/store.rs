//! What the service keeps in its database: the index, which [`crate::projection`] writes, the rules
//! of apps' streams, and who is connected to them.
//!
//! Only the statements that ask the full-text index differ between the back ends.

mod connections;
mod rules;

use std::collections::BTreeMap;

use pillion_chassis::ids::TIME_SHIFT;
use pillion_chassis::sql::{Query as Statement, list, query};
use pillion_chassis::{Backend, Database, DatabaseError, Migrations, Transaction, TweetId, UserId};

pub(crate) use connections::StreamConnection;
pub(crate) use rules::{AddedRule, RULES_PER_APP_MAX, Rule};

use crate::document::Document;
use crate::query::{Accounts, Handle, Pattern, Query};
use crate::window::{Window, id_epoch_ms};

pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// That neither the author nor, of a retweet, that of the tweet is protected or deactivated.
macro_rules! for_everyone {
    () => {
        "NOT EXISTS (SELECT 1 FROM account
                     WHERE user_id = document.author_id AND (protected OR hidden))
         AND NOT EXISTS (SELECT 1 FROM account
                         WHERE user_id = document.retweeted_author_id
                           AND (protected OR hidden))"
    };
}

/// The documents of a window that match, without those that are not for everyone: `$1` is the
/// pattern in the index's language, `$2` and `$3` are the ids around the window.
macro_rules! matching {
    (sqlite) => {
        concat!(
            "FROM document_terms
             JOIN document ON document.id = document_terms.rowid
             WHERE document_terms MATCH $1
               AND document_terms.rowid > $2 AND document_terms.rowid < $3 AND ",
            for_everyone!()
        )
    };
    (postgres) => {
        concat!(
            "FROM document
             WHERE document.vector @@ CAST($1 AS TSQUERY)
               AND document.id > $2 AND document.id < $3 AND ",
            for_everyone!()
        )
    };
}

/// A page, the latest first. It goes through the lists of the terms from their ends and stops
/// when the page is full.
pub(crate) const FIND_SQLITE: &str = concat!(
    "SELECT document_terms.rowid ",
    matching!(sqlite),
    " ORDER BY document_terms.rowid DESC LIMIT $4"
);

/// The latest documents, which are looked at one by one on `PostgreSQL` before its index is asked:
/// that one only gives all that match, in no order. A page of ten is full after these when one
/// document in two hundred matches; what is rarer, the index gives quickly.
const LATEST_DOCUMENTS: u32 = 2_000;
const LATEST_POSTGRES: &str = "SELECT id FROM document WHERE id > $1 AND id < $2
                               ORDER BY id DESC LIMIT 1 OFFSET $3";
/// A page out of a window of [`LATEST_DOCUMENTS`].
const FIND_LATEST_POSTGRES: &str =
    concat!("SELECT document.id ", matching!(postgres), " ORDER BY document.id DESC LIMIT $4");
/// A page out of any window. Without `MATERIALIZED` the planner may go through all documents in
/// the order of their ids, hoping to come by the page soon: for a word that nobody has ever
/// written that is a long way.
pub(crate) const FIND_POSTGRES: &str = concat!(
    "WITH document AS MATERIALIZED (
         SELECT id, author_id, retweeted_author_id FROM document
         WHERE vector @@ CAST($1 AS TSQUERY) AND id > $2 AND id < $3
     )
     SELECT id FROM document WHERE ",
    for_everyone!(),
    " ORDER BY id DESC LIMIT $4"
);

const COUNT_SQLITE: &str = concat!(
    "SELECT ((document_terms.rowid >> $4) + $5) / $6, COUNT(*) ",
    matching!(sqlite),
    " GROUP BY 1 ORDER BY 1"
);
const COUNT_POSTGRES: &str = concat!(
    "SELECT ((document.id / $4) + $5) / $6, COUNT(*) ",
    matching!(postgres),
    " GROUP BY 1 ORDER BY 1"
);

/// The service's database. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
}

impl Store {
    /// The database must be migrated.
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// What to look for, now that handles lead to the accounts that have them.
    pub(crate) async fn pattern(&self, query: &Query) -> Result<Pattern, DatabaseError> {
        let accounts = self.accounts(query.handles()).await?;
        Ok(query.pattern(&accounts))
    }

    /// The accounts that the handles lead to. Digits may be a handle; else they are an id.
    pub(crate) async fn accounts(
        &self,
        handles: impl IntoIterator<Item = &Handle>,
    ) -> Result<Accounts, DatabaseError> {
        let handles: Vec<&Handle> = handles.into_iter().collect();
        if handles.is_empty() {
            return Ok(Accounts::new());
        }
        let found: Vec<(String, i64)> = query(
            "SELECT username, user_id FROM account
             WHERE username IN (SELECT value FROM json_each($1))",
        )
        .bind(list(handles.iter().map(|handle| handle.0.as_str())))
        .fetch_all(&self.database)
        .await?;
        let mut accounts: Accounts = found
            .into_iter()
            .filter_map(|(username, id)| Some((Handle(username), UserId::from_i64(id)?)))
            .collect();
        for handle in handles {
            if let Ok(id) = handle.0.parse() {
                accounts.entry(handle.clone()).or_insert(id);
            }
        }
        Ok(accounts)
    }

    /// At most so many of the documents that match, the latest first.
    pub(crate) async fn find(
        &self,
        pattern: &Pattern,
        window: Window,
        count_max: u32,
    ) -> Result<Vec<TweetId>, DatabaseError> {
        match self.database.backend() {
            Backend::Sqlite => self.page(FIND_SQLITE, pattern.fts5(), window, count_max).await,
            Backend::Postgres => self.find_in_parts(&pattern.tsquery(), window, count_max).await,
        }
    }

    /// First among the latest documents, then, unless they fill the page, among the others.
    async fn find_in_parts(
        &self,
        pattern: &str,
        window: Window,
        count_max: u32,
    ) -> Result<Vec<TweetId>, DatabaseError> {
        let border: Option<(i64,)> = within(query(LATEST_POSTGRES), window)
            .bind(LATEST_DOCUMENTS)
            .fetch_optional(&self.database)
            .await?;
        let latest = Window { above_id: border.map_or(window.above_id, |(id,)| id), ..window };
        let mut found =
            self.page(FIND_LATEST_POSTGRES, pattern.to_owned(), latest, count_max).await?;
        let missing = count_max.saturating_sub(u32::try_from(found.len()).unwrap_or(count_max));
        if let Some((id,)) = border
            && missing > 0
        {
            let others = Window { below_id: id.saturating_add(1), ..window };
            found.extend(self.page(FIND_POSTGRES, pattern.to_owned(), others, missing).await?);
        }
        Ok(found)
    }

    async fn page(
        &self,
        statement: &'static str,
        pattern: String,
        window: Window,
        count_max: u32,
    ) -> Result<Vec<TweetId>, DatabaseError> {
        let found: Vec<(i64,)> = within(query(statement).bind(pattern), window)
            .bind(count_max)
            .fetch_all(&self.database)
            .await?;
        Ok(found.into_iter().filter_map(|(id,)| TweetId::from_i64(id)).collect())
    }

    /// How many documents match, by lengths of time of so many milliseconds, numbered from 1970
    /// on. Those without any are left out.
    pub(crate) async fn count(
        &self,
        pattern: &Pattern,
        window: Window,
        bucket_ms: u64,
    ) -> Result<BTreeMap<u64, i64>, DatabaseError> {
        let statement = match self.database.backend() {
            Backend::Sqlite => {
                within(query(COUNT_SQLITE).bind(pattern.fts5()), window).bind(TIME_SHIFT)
            }
            // A shift wants an integer of another size there.
            Backend::Postgres => within(query(COUNT_POSTGRES).bind(pattern.tsquery()), window)
                .bind(1_i64 << TIME_SHIFT),
        };
        let counted: Vec<(i64, i64)> = statement
            .bind(id_epoch_ms().cast_signed())
            .bind(bucket_ms.cast_signed())
            .fetch_all(&self.database)
            .await?;
        Ok(counted.into_iter().map(|(bucket, count)| (bucket.cast_unsigned(), count)).collect())
    }

    /// Those of these documents that are for everyone.
    pub(crate) async fn documents(&self, ids: &[TweetId]) -> Result<Vec<Document>, DatabaseError> {
        let found: Vec<(i64, String)> = query(concat!(
            "SELECT id, terms FROM document
             WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each($1)) AND terms <> '' AND ",
            for_everyone!()
        ))
        .bind(list(ids))
        .fetch_all(&self.database)
        .await?;
        Ok(found
            .into_iter()
            .filter_map(|(id, terms)| Some(Document::new(TweetId::from_i64(id)?, &terms)))
            .collect())
    }
}

/// What the service has heard of an account.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Account {
    /// The handle, in lower case.
    pub(crate) username: Option<String>,
    /// Whether it is gone for good.
    pub(crate) deleted: bool,
}

/// An account, if the service has heard of it.
pub(crate) async fn account(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<Option<Account>, DatabaseError> {
    query("SELECT username, deleted FROM account WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional(transaction)
        .await
}

fn within(statement: Statement, window: Window) -> Statement {
    statement.bind(window.above_id).bind(window.below_id)
}
