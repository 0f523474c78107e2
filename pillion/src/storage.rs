//! Opens what a process keeps things in: a database for each service, and the broker.

use std::sync::Arc;

use anyhow::{Context, Result};
use pillion_chassis::broker::{EmbeddedBroker, NatsBroker, NatsOptions};
use pillion_chassis::start::START_TIME_MAX;
use pillion_chassis::{Broker, Database};

use crate::config::Loaded;
use crate::data::DataDir;

/// Whether schemas that are behind are brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Files are; a server's database is only checked, for older processes may still be at it.
    Start,
    /// All are: somebody said so.
    Migrate,
}

/// The file of a service's database.
pub(crate) fn database_name(service: &str) -> String {
    format!("{service}.sqlite")
}

/// Opens the database of a service.
pub(crate) async fn database(
    loaded: &Loaded,
    data: &DataDir,
    service: &str,
    schema: Schema,
) -> Result<Database> {
    match loaded.database_url(service) {
        None => {
            let path = data.join(database_name(service));
            Database::open(&path).await.with_context(|| format!("cannot open {}", path.display()))
        }
        Some(url) => {
            let tls = loaded.server_tls(Some(service));
            let database = Database::connect_with(&url, &tls, START_TIME_MAX)
                .await
                .with_context(|| format!("cannot use the database of the service {service}"))?;
            Ok(match schema {
                Schema::Start => database.with_fixed_schema(),
                Schema::Migrate => database,
            })
        }
    }
}

/// Opens or reaches the broker, for a service or for a process of all. A server is not waited for:
/// services do without it, for their logs are the queue.
pub(crate) async fn broker(
    loaded: &Loaded,
    data: &DataDir,
    service: Option<&str>,
) -> Result<Arc<dyn Broker>> {
    let section = &loaded.config.broker;
    match &section.url {
        None => {
            let path = data.join("broker.sqlite");
            let broker = EmbeddedBroker::open(&path)
                .await
                .with_context(|| format!("cannot open the broker's file {}", path.display()))?;
            Ok(Arc::new(broker))
        }
        Some(url) => {
            let replicas = usize::try_from(section.replicas)?;
            let tls = loaded.server_tls(service);
            let options = NatsOptions { replicas, tls, ..NatsOptions::default() };
            let broker = NatsBroker::connect_with(url, options)
                .await
                // Not the URL, which may hold a password.
                .with_context(|| format!("{}: broker.url", loaded.name))?;
            Ok(Arc::new(broker))
        }
    }
}
