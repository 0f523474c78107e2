//! Where a rebuild makes the new tables.
//!
//! On `SQLite` in the place of the old ones: all is one transaction. `PostgreSQL` keeps every
//! version of a row until the transaction ends, and reads through all of them: a counter that each
//! event changes would take a time that grows with the square of the events. So there temporary
//! tables stand in front of the real ones, some events at a time are committed to them, and the
//! last transaction puts their rows in the place of the old ones.

use crate::database::{Backend, DatabaseError, Transaction};
use crate::sql::query;

/// The old tables, and the new ones.
pub(super) struct Shadow {
    tables: &'static [&'static str],
    /// Where the real tables are, on a server.
    schema: Option<String>,
}

impl Shadow {
    /// Of these tables, in a transaction that was begun with
    /// [`Database::write_alone`](crate::Database::write_alone).
    pub(super) async fn of(
        tables: &'static [&'static str],
        transaction: &mut Transaction,
    ) -> Result<Self, DatabaseError> {
        let schema = match transaction.backend() {
            Backend::Sqlite => None,
            Backend::Postgres => {
                let schema = query("SELECT quote_ident(CAST(current_schema() AS TEXT))");
                Some(schema.fetch_one::<(String,)>(transaction).await?.0)
            }
        };
        Ok(Self { tables, schema })
    }

    /// The name of an old table.
    pub(super) fn old(&self, table: &str) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{table}"),
            None => table.to_owned(),
        }
    }

    /// The name of a new table.
    pub(super) fn replacement(&self, table: &str) -> String {
        match &self.schema {
            Some(_) => format!("pg_temp.{table}"),
            None => table.to_owned(),
        }
    }

    /// Makes the new tables, empty. Whoever names a table without a schema means them from now on.
    pub(super) async fn make(&self, transaction: &mut Transaction) -> Result<(), DatabaseError> {
        for table in self.tables {
            let sql = if self.schema.is_some() {
                let old = self.old(table);
                format!("CREATE TEMPORARY TABLE {table} (LIKE {old} INCLUDING ALL)")
            } else {
                format!("DELETE FROM {table}")
            };
            query(sql).execute(&mut *transaction).await?;
        }
        Ok(())
    }

    /// Makes the server forget the versions that rows have had.
    pub(super) async fn forget(&self, transaction: &mut Transaction) -> Result<(), DatabaseError> {
        if self.schema.is_some() {
            for sql in ["COMMIT", "BEGIN"] {
                query(sql).execute(&mut *transaction).await?;
            }
        }
        Ok(())
    }

    /// Puts the new rows in the place of the old ones.
    pub(super) async fn finish(&self, transaction: &mut Transaction) -> Result<(), DatabaseError> {
        if self.schema.is_some() {
            for table in self.tables {
                query(format!("DELETE FROM {}", self.old(table)))
                    .execute(&mut *transaction)
                    .await?;
            }
            // Those that others point at first.
            for table in self.tables.iter().rev() {
                let (columns,) = query(
                    "SELECT string_agg(quote_ident(CAST(column_name AS TEXT)), ', ')
                     FROM information_schema.columns
                     WHERE table_schema = current_schema() AND table_name = $1
                       AND is_generated = 'NEVER'",
                )
                .bind(*table)
                .fetch_one::<(String,)>(&mut *transaction)
                .await?;
                let (old, new) = (self.old(table), self.replacement(table));
                query(format!("INSERT INTO {old} ({columns}) SELECT {columns} FROM {new}"))
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.end_alone().await
    }
}
