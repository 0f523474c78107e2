//! What the services hold.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pillion_chassis::Database;
use pillion_chassis::sql::query;
use pillion_tests::ledger::Ledger;

/// Where the databases are.
#[derive(Debug)]
pub(super) enum Databases {
    /// In this folder.
    Files(PathBuf),
    /// At these addresses, by service.
    Servers(BTreeMap<String, String>),
}

impl Databases {
    /// All of them, of a system in which nothing is under way.
    pub(super) async fn open(&self) -> Ledger {
        match self {
            Self::Files(folder) => Ledger::of_files(folder).await,
            Self::Servers(urls) => Ledger::of_servers(|service| urls[service].clone()).await,
        }
    }

    /// Lets the moment come that this saga waits for.
    pub(super) async fn let_time_pass(&self, service: &str, id: &str) {
        let database = match self {
            Self::Files(folder) => Database::open(folder.join(format!("{service}.sqlite"))).await,
            Self::Servers(urls) => Database::connect(&urls[service]).await,
        };
        let database = database.expect("a database of a system");
        let mut transaction = database.write().await.expect("a database of a system");
        query("UPDATE saga SET due_at = changed_at WHERE id = $1 AND state = 'waiting'")
            .bind(id.parse::<i64>().expect("a number"))
            .execute(&mut transaction)
            .await
            .expect("a table that is there");
        transaction.commit().await.expect("a database of a system");
        database.close().await;
    }
}
