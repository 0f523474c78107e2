//! `pillion migrate`: brings the schemas of all services' databases up to date, then ends.

use std::sync::Arc;

use anyhow::Result;
use pillion_chassis::{InProcessPeers, Peers, ServiceKeys, SystemRandom};

use crate::cli;
use crate::compose;
use crate::config::{Loaded, SERVICES};
use crate::data::{DataDir, keep_new_files_private};
use crate::output::print;
use crate::storage::Schema;
use crate::tracing_output;

/// Every service opens its database as at a start; none serves anything.
pub(crate) fn migrate(migrate: &cli::Migrate) -> Result<()> {
    let settings = &migrate.settings;
    let loaded = Loaded::load(settings.config.as_deref(), settings.overrides())?;
    tracing_output::begin(&loaded.config)?;
    keep_new_files_private();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Files are locked by the process that has them; a server's databases are not files.
        let embedded: Vec<&str> = (SERVICES.into_iter())
            .filter(|service| loaded.database_url(service).is_none())
            .collect();
        let data = DataDir::open(&loaded.config.server.data, &embedded)?;
        let peers: Arc<dyn Peers> = Arc::new(InProcessPeers::new());
        // Nobody is called, so nobody has to know it.
        let keys = ServiceKeys::passing(&SystemRandom)?;
        let schema = Schema::Migrate;
        let opened = compose::open(&SERVICES, &loaded, &data, &peers, &keys, schema).await?;
        for database in &opened.databases {
            print(&format!("{}: up to date", database.place()))?;
            database.close().await;
        }
        anyhow::Ok(())
    })
}
