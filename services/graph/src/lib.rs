//! The graph service: owns follows, requests to follow, blocks and mutes. Event-sourced.
//!
//! Every change is an event in the log; the tables are what a fold of the log, and of the users
//! service's events, makes of it (see `projection.rs`).

mod accounts;
mod answer_request;
mod block;
mod error;
mod follow;
mod follow_counts;
mod list_follows;
mod list_own;
mod mute;
mod own;
mod projection;
mod relation;
mod routes;
mod store;
#[cfg(test)]
mod tests;
mod unfollow;
mod visibility;

use std::sync::Arc;

use pillion_chassis::page::PageTokens;
use pillion_chassis::{Clock, Deps, Journal, Peers, Service, StartError};

use projection::Tables;
use store::Store;

/// The service's name.
pub const NAME: &str = "graph";

/// What the handlers share.
#[derive(Debug, Clone)]
struct Graph {
    store: Store,
    clock: Arc<dyn Clock>,
    peers: Arc<dyn Peers>,
    pages: Arc<PageTokens>,
}

/// Brings the database up to date and builds the service.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    let Deps { clock, random, database, peers, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = Arc::new(PageTokens::load(&database, &*random).await?);
    let journal = Journal::new(NAME, database, Arc::new(Tables));
    let store = Store::new(journal.clone());
    let (router, route_ids) = routes::routes().finish(Graph { store, clock, peers, pages });
    Ok(Service {
        name: NAME,
        router,
        routes: route_ids,
        workers: Vec::new(),
        journal: Some(journal),
    })
}
