//! The engagements service: owns likes, retweets and bookmarks, and counts them. Event-sourced.
//!
//! Every change is an event in the log; the tables are what a fold of the log, and of the tweets
//! and users services' events, makes of it (see `projection.rs`).

mod accounts;
mod bookmark;
mod counts;
mod error;
mod like;
mod like_counts;
mod list_tweets;
mod list_users;
mod mark;
mod own;
mod projection;
mod retweet;
mod routes;
mod settle;
mod steps;
mod store;
#[cfg(test)]
mod tests;
mod tweet;

use std::sync::Arc;

use pillion_chassis::page::PageTokens;
use pillion_chassis::saga::participate;
use pillion_chassis::{Clock, Deps, Ids, Journal, Peers, Service, StartError};
use tokio::sync::Notify;

use projection::Tables;
use store::Store;

/// The service's name.
pub const NAME: &str = "engagements";

/// What the handlers share.
#[derive(Debug, Clone)]
struct Engagements {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    peers: Arc<dyn Peers>,
    pages: Arc<PageTokens>,
}

/// Brings the database up to date and builds the service.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    let Deps { clock, ids, random, database, peers, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = PageTokens::load(&database, &*random).await?;
    let pages = Arc::new(pages.by(clock.clone()));
    let unsettled = Arc::new(Notify::new());
    let journal = Journal::new(NAME, database.clone(), Arc::new(Tables::new(unsettled.clone())));
    let store = Store::new(journal.clone());
    // The clock may have gone back while the service was down, and later retweets need larger ids.
    if let Some(last) = store.last_retweet_id().await? {
        ids.start_after(last.get());
    }
    let all = participate(routes::routes(), database, clock.clone(), Arc::new(steps::Steps));
    let workers = vec![settle::worker(store.clone(), clock.clone(), unsettled)];
    let engagements = Engagements { store, clock, ids, peers, pages };
    let (router, route_ids) = all.finish(engagements);
    Ok(Service {
        name: NAME,
        router,
        routes: route_ids,
        workers,
        journal: Some(journal),
        sagas: None,
    })
}
