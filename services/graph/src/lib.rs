//! The graph service: owns follows, requests to follow, blocks and mutes. Event-sourced.
//!
//! Every change is an event in the log; the tables are what a fold of the log, and of the users
//! service's events, makes of it (see `projection.rs`).

mod accounts;
mod answer_request;
mod block;
mod connections;
mod error;
mod follow;
mod follow_counts;
mod follow_protected;
mod list_follows;
mod list_own;
mod mute;
mod own;
mod projection;
mod relation;
mod routes;
mod settle;
mod steps;
mod store;
#[cfg(test)]
mod tests;
mod unfollow;
mod visibility;

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::page::PageTokens;
use pillion_chassis::saga::{self, SagaDeps, Sagas};
use pillion_chassis::{Clock, Deps, Journal, Peers, Service, StartError};
use tokio::sync::Notify;

use follow_protected::FOLLOW_PROTECTED;
use projection::Tables;
use steps::Steps;
use store::Store;

/// The service's name.
pub const NAME: &str = "graph";

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// A request to follow that nobody answers is taken back after so long.
    pub follow_request_time: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { follow_request_time: Duration::from_hours(24 * 90) }
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct Graph {
    store: Store,
    sagas: Sagas,
    clock: Arc<dyn Clock>,
    peers: Arc<dyn Peers>,
    pages: Arc<PageTokens>,
    config: Config,
}

/// Brings the database up to date and builds the service as it is by default.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    configured(deps, Config::default()).await
}

/// Brings the database up to date and builds the service.
pub async fn configured(deps: Deps, config: Config) -> Result<Service, StartError> {
    let Deps { clock, ids, random, database, peers, service_tokens: tokens, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = Arc::new(PageTokens::load(&database, &*random).await?.by(clock.clone()));
    let unsettled = Arc::new(Notify::new());
    let journal = Journal::new(NAME, database.clone(), Arc::new(Tables::new(unsettled.clone())));
    let store = Store::new(journal.clone());
    let participant = Arc::new(Steps::new(store.clone()));
    let sagas = SagaDeps {
        service: NAME,
        database: database.clone(),
        peers: peers.clone(),
        clock: clock.clone(),
        ids,
        tokens,
    };
    let sagas = Sagas::new(sagas, &[&FOLLOW_PROTECTED]);
    let service = saga::participate(routes::routes(), database, clock.clone(), participant);
    let graph = Graph { store, sagas: sagas.clone(), clock, peers, pages, config };
    let workers = vec![sagas.worker(), settle::worker(graph.clone(), unsettled)];
    let (router, route_ids) = service.finish(graph);
    Ok(Service {
        name: NAME,
        router,
        routes: route_ids,
        workers,
        journal: Some(journal),
        sagas: Some(sagas),
    })
}
