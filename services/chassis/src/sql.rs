//! Statements that both kinds of database understand: one text, one way to bind and to read.
//!
//! Placeholders are `$1`, `$2`, …; columns are BIGINT, TEXT, BOOLEAN and bytes. Lists are bound
//! as one JSON text that `json_each` takes apart, so that a statement is the same for any number
//! of items; `PostgreSQL` gets a function of that name by migration.

use std::borrow::Cow;

use pillion_events::{Timestamp, TweetId, UserId};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Error, FromRow};

use crate::database::{Database, DatabaseError, Inner, Pools, Transaction, in_time, within};

/// A value for a placeholder.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A BIGINT.
    Integer(Option<i64>),
    /// A TEXT.
    Text(Option<String>),
    /// A BOOLEAN.
    Bool(Option<bool>),
    /// A BLOB or BYTEA.
    Bytes(Option<Vec<u8>>),
    /// A double-precision number.
    Real(Option<f64>),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident, $map:expr;)+) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(Some($map(value)))
            }
        }

        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map($map))
            }
        }
    )+};
}

value_from! {
    i64 => Integer, std::convert::identity;
    u32 => Integer, i64::from;
    bool => Bool, std::convert::identity;
    f64 => Real, std::convert::identity;
    UserId => Integer, |id: UserId| id.as_i64();
    TweetId => Integer, |id: TweetId| id.as_i64();
    Timestamp => Integer, |at: Timestamp| at.as_micros();
    String => Text, std::convert::identity;
    &str => Text, str::to_owned;
    &String => Text, |text: &String| text.clone();
    Vec<u8> => Bytes, std::convert::identity;
    &[u8] => Bytes, <[u8]>::to_vec;
}

/// What a row is read into: a tuple or a struct with `#[derive(sqlx::FromRow)]`.
pub trait Record:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Record for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

/// Where a statement runs: beside others on a connection for reading, or in a transaction.
#[derive(Debug)]
pub enum On<'c> {
    /// Reads only; a statement that writes fails.
    Database(&'c Database),
    /// Reads and writes.
    Transaction(&'c mut Transaction),
}

impl<'c> From<&'c Database> for On<'c> {
    fn from(database: &'c Database) -> Self {
        Self::Database(database)
    }
}

impl<'c> From<&'c mut Transaction> for On<'c> {
    fn from(transaction: &'c mut Transaction) -> Self {
        Self::Transaction(transaction)
    }
}

/// A statement and its values.
#[derive(Debug)]
#[must_use = "a statement does nothing until it is executed or fetched"]
pub struct Query {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

/// A statement. Its text comes from code only: what callers send is bound, never written into it.
pub fn query(sql: impl Into<Cow<'static, str>>) -> Query {
    Query { sql: sql.into(), values: Vec::new() }
}

/// Items as one value for `json_each`: ids, numbers or texts.
pub fn list<T: Into<Item>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.into().0).collect::<serde_json::Value>().to_string()
}

/// An item of a [`list`].
#[derive(Debug)]
pub struct Item(serde_json::Value);

macro_rules! item_from {
    ($($from:ty => $map:expr;)+) => {$(
        impl From<$from> for Item {
            fn from(value: $from) -> Self {
                Self($map(value))
            }
        }
    )+};
}

item_from! {
    i64 => serde_json::Value::from;
    &str => serde_json::Value::from;
    String => serde_json::Value::from;
    &String => |text: &String| serde_json::Value::from(text.as_str());
    UserId => |id: UserId| id.as_i64().into();
    TweetId => |id: TweetId| id.as_i64().into();
    &UserId => |id: &UserId| id.as_i64().into();
    &TweetId => |id: &TweetId| id.as_i64().into();
}

/// Runs the statement wherever it is to run: `$run` with a query and an executor of one kind.
macro_rules! dispatch {
    ($query:expr, $on:expr, $make:ident, $run:ident) => {{
        let Query { sql, values } = $query;
        tracing::trace!(sql = &*sql, "statement");
        let sql = AssertSqlSafe(sql);
        match $on.into() {
            On::Database(Database { pools: Pools::Sqlite(pools), queue, .. }) => {
                let query = sqlx::$make(sql, sqlite_arguments(values)?);
                let mut connection = queue.read(pools.readers.acquire()).await?;
                query.$run(&mut *connection).await?
            }
            On::Database(Database { pools: Pools::Postgres(pools), queue, .. }) => {
                let query = sqlx::$make(sql, postgres_arguments(values)?);
                let answer = async {
                    let mut connection = queue.read(pools.readers.acquire()).await?;
                    query.$run(&mut *connection).await
                };
                in_time(answer).await?
            }
            On::Transaction(Transaction { inner: Inner::Sqlite(transaction), .. }) => {
                sqlx::$make(sql, sqlite_arguments(values)?).$run(&mut **transaction).await?
            }
            On::Transaction(Transaction {
                inner: Inner::Postgres(transaction),
                answer_time,
                ..
            }) => {
                let query = sqlx::$make(sql, postgres_arguments(values)?);
                within(*answer_time, query.$run(&mut **transaction)).await?
            }
        }
    }};
}

impl Query {
    /// Adds the value of the next placeholder.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it and gives the number of rows that it wrote.
    pub async fn execute<'c>(self, on: impl Into<On<'c>>) -> Result<u64, DatabaseError> {
        let Query { sql, values } = self;
        tracing::trace!(sql = &*sql, "statement");
        let sql = AssertSqlSafe(sql);
        Ok(match on.into() {
            On::Database(Database { pools: Pools::Sqlite(pools), queue, .. }) => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                let mut connection = queue.read(pools.readers.acquire()).await?;
                query.execute(&mut *connection).await?.rows_affected()
            }
            On::Database(Database { pools: Pools::Postgres(pools), queue, .. }) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                let answer = async {
                    let mut connection = queue.read(pools.readers.acquire()).await?;
                    query.execute(&mut *connection).await
                };
                in_time(answer).await?.rows_affected()
            }
            On::Transaction(Transaction { inner: Inner::Sqlite(transaction), .. }) => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                query.execute(&mut **transaction).await?.rows_affected()
            }
            On::Transaction(Transaction {
                inner: Inner::Postgres(transaction),
                answer_time,
                ..
            }) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                within(*answer_time, query.execute(&mut **transaction)).await?.rows_affected()
            }
        })
    }

    /// All rows. The statement bounds their number.
    pub async fn fetch_all<'c, T: Record>(
        self,
        on: impl Into<On<'c>>,
    ) -> Result<Vec<T>, DatabaseError> {
        Ok(dispatch!(self, on, query_as_with, fetch_all))
    }

    /// The first row, if there is one.
    pub async fn fetch_optional<'c, T: Record>(
        self,
        on: impl Into<On<'c>>,
    ) -> Result<Option<T>, DatabaseError> {
        Ok(dispatch!(self, on, query_as_with, fetch_optional))
    }

    /// The first row of a statement that always has one.
    pub async fn fetch_one<'c, T: Record>(self, on: impl Into<On<'c>>) -> Result<T, DatabaseError> {
        Ok(dispatch!(self, on, query_as_with, fetch_one))
    }
}

/// What one database cannot keep the other does not take either: an event with it would pass on
/// one and be refused on the other.
fn storable(value: &Value) -> Result<(), DatabaseError> {
    match value {
        Value::Text(Some(text)) if text.contains('\0') => Err(DatabaseError::Nul),
        _ => Ok(()),
    }
}

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, DatabaseError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        storable(&value)?;
        match value {
            Value::Integer(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bool(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
            Value::Real(value) => arguments.add(value),
        }
        .map_err(Error::Encode)?;
    }
    Ok(arguments)
}

fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments, DatabaseError> {
    let mut arguments = PgArguments::default();
    for value in values {
        storable(&value)?;
        match value {
            Value::Integer(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bool(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
            Value::Real(value) => arguments.add(value),
        }
        .map_err(Error::Encode)?;
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::migrations;
    use crate::problem::Problem;
    use crate::testing::{BACKENDS, migrated};

    #[tokio::test]
    async fn a_text_with_nul_is_the_callers_mistake_on_both() {
        for backend in BACKENDS {
            let test = migrated(backend, &migrations(&[])).await;
            let error = query("SELECT name FROM secret WHERE name = $1")
                .bind("a\0b")
                .fetch_optional::<(String,)>(&test.database)
                .await
                .unwrap_err();
            assert!(matches!(error, DatabaseError::Nul), "{error:?}");
            assert_eq!(Problem::from(error).status(), 400);
        }
    }

    #[tokio::test]
    async fn values_and_lists_mean_the_same_on_both() {
        for backend in BACKENDS {
            let test = migrated(backend, &migrations(&[])).await;
            let numbers = query(
                "SELECT CAST(value AS BIGINT) FROM json_each($1) WHERE CAST(value AS BIGINT) > $2
                 ORDER BY 1",
            )
            .bind(list([3_i64, 1, 2]))
            .bind(1_i64)
            .fetch_all::<(i64,)>(&test.database)
            .await
            .unwrap();
            assert_eq!(numbers, [(2,), (3,)], "{backend:?}");
            let texts = query("SELECT value FROM json_each($1) ORDER BY value")
                .bind(list(["ß \" '", "a"]))
                .fetch_all::<(String,)>(&test.database)
                .await
                .unwrap();
            assert_eq!(texts, [("a".to_owned(),), ("ß \" '".to_owned(),)]);
            let row = query("SELECT $1, $2, $3, $4")
                .bind(true)
                .bind(Some("x"))
                .bind(None::<i64>)
                .bind(b"\0\xff".as_slice())
                .fetch_one::<(bool, Option<String>, Option<i64>, Vec<u8>)>(&test.database)
                .await
                .unwrap();
            assert_eq!(row, (true, Some("x".to_owned()), None, vec![0, 255]));
        }
    }
}
