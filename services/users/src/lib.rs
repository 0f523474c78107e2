//! The users service: owns profiles and handles. Event-sourced.
//!
//! Every change is an event in the log; the tables are what a fold of the log makes of it. Whether
//! there is an account at all is decided with other services: the service takes its steps in the
//! sagas that register and deactivate accounts, and runs the one that changes a handle.

mod change_handle;
mod change_profile;
mod deactivation;
mod error;
mod find_users;
mod me;
mod profile;
mod projection;
mod registration;
mod routes;
mod sagas;
mod search_users;
mod steps;
mod store;
#[cfg(test)]
mod tests;
mod user_body;

use std::sync::Arc;

use pillion_chassis::page::PageTokens;
use pillion_chassis::saga::{SagaDeps, Sagas, participate};
use pillion_chassis::{Clock, Deps, Problem, Scopes, Service, StartError};

use sagas::CHANGE_HANDLE;
use steps::Steps;
use store::Store;

/// The service's name.
pub const NAME: &str = "users";

/// What the handlers share.
#[derive(Debug, Clone)]
struct Users {
    store: Store,
    sagas: Sagas,
    clock: Arc<dyn Clock>,
    pages: Arc<PageTokens>,
}

/// Brings the database up to date and builds the service.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    let Deps { clock, ids, random, database, peers, service_tokens, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = Arc::new(PageTokens::load(&database, &*random).await?.by(clock.clone()));
    let store = Store::open(database.clone()).await?;
    let journal = store.journal();
    let participant = Arc::new(Steps { journal: journal.clone() });
    let sagas = Sagas::new(
        SagaDeps {
            service: NAME,
            database: database.clone(),
            peers,
            clock: clock.clone(),
            ids,
            tokens: service_tokens,
        },
        &[&CHANGE_HANDLE],
    );
    let all = participate(routes::routes(), database, clock.clone(), participant);
    let users = Users { store, sagas: sagas.clone(), clock, pages };
    let (router, route_ids) = all.finish(users);
    Ok(Service {
        name: NAME,
        router,
        routes: route_ids,
        workers: vec![sagas.worker()],
        journal: Some(journal),
        sagas: Some(sagas),
    })
}

/// 403 unless the token was got with the password: apps may not touch the account itself.
fn need_account_scope(scopes: &Scopes) -> Result<(), Problem> {
    if scopes.has("account.write") {
        return Ok(());
    }
    Err(Problem::forbidden(
        "This needs a token with the scope account.write, which only POST /pillion/v1/login gives.",
    ))
}
