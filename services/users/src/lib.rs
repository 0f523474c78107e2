//! The users service: owns profiles and handles.
//!
//! Every change is an event in the log and a change of the table `profile`, in one transaction.

mod delete_user;
mod error;
mod find_users;
mod me;
mod profile;
mod register_user;
mod routes;
mod store;
#[cfg(test)]
mod tests;
mod user_body;

use std::sync::Arc;

use pillion_chassis::{Clock, Deps, Service, StartError};

use store::{SqliteStore, Store};

/// The service's name.
pub const NAME: &str = "users";

/// What the handlers share.
#[derive(Debug, Clone)]
struct Users {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// Brings the database up to date and builds the service.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    deps.database.migrate(&store::SQLITE_MIGRATIONS).await?;
    let store = Arc::new(SqliteStore::new(deps.database));
    let (router, route_ids) = routes::routes().finish(Users { store, clock: deps.clock });
    Ok(Service { name: NAME, router, routes: route_ids, workers: Vec::new() })
}
