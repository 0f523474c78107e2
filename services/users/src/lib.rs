//! The users service: owns profiles and handles. Event-sourced.
//!
//! Every change is an event in the log; the tables are what a fold of the log makes of it.

mod change_profile;
mod delete_user;
mod error;
mod find_users;
mod me;
mod profile;
mod projection;
mod register_user;
mod routes;
mod search_users;
mod store;
#[cfg(test)]
mod tests;
mod user_body;

use std::sync::Arc;

use pillion_chassis::page::PageTokens;
use pillion_chassis::{Clock, Deps, Service, StartError};

use store::Store;

/// The service's name.
pub const NAME: &str = "users";

/// What the handlers share.
#[derive(Debug, Clone)]
struct Users {
    store: Store,
    clock: Arc<dyn Clock>,
    pages: Arc<PageTokens>,
}

/// Brings the database up to date and builds the service.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    let Deps { clock, random, database, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = Arc::new(PageTokens::load(&database, &*random).await?);
    let store = Store::open(database).await?;
    let journal = Some(store.journal());
    let (router, route_ids) = routes::routes().finish(Users { store, clock, pages });
    Ok(Service { name: NAME, router, routes: route_ids, workers: Vec::new(), journal })
}
