//! The tweets service: owns tweets, replies, quotes and threads. Event-sourced.
//!
//! Every change is an event in the log; the tables are what a fold of the log, of the accounts
//! that there are and of what they retweet makes of it.

mod author;
mod delete_tweet;
mod error;
mod hide_reply;
mod hydrate;
mod list_tweets;
mod post_tweet;
mod projection;
mod quote_tweets;
mod relations;
mod routes;
mod settle;
mod steps;
mod store;
#[cfg(test)]
mod tests;
mod tweet;
mod tweet_body;
mod usage;

use std::sync::Arc;

use pillion_chassis::page::PageTokens;
use pillion_chassis::saga::participate;
use pillion_chassis::{Clock, Deps, Ids, Peers, Service, StartError};

use store::Store;

/// The service's name.
pub const NAME: &str = "tweets";

/// What the handlers share.
#[derive(Debug, Clone)]
struct Tweets {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    peers: Arc<dyn Peers>,
    pages: Arc<PageTokens>,
    usage: Arc<usage::Usage>,
}

/// Brings the database up to date and builds the service.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    let Deps { clock, ids, random, database, peers, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = PageTokens::load(&database, &*random).await?;
    let pages = Arc::new(pages.by(clock.clone()));
    let store = Store::new(database.clone());
    // The clock may have gone back while the service was down, and later tweets need larger ids.
    if let Some(last) = store.last_id().await? {
        ids.start_after(last.get());
    }
    let journal = Some(store.journal());
    let steps = Arc::new(steps::Steps(store.clone()));
    let usage = Arc::new(usage::Usage::new(database.clone(), clock.clone()));
    let all = participate(routes::routes(), database, clock.clone(), steps);
    let workers = vec![settle::worker(store.clone(), clock.clone()), usage::worker(usage.clone())];
    let (router, route_ids) = all.finish(Tweets { store, clock, ids, peers, pages, usage });
    Ok(Service { name: NAME, router, routes: route_ids, workers, journal, sagas: None })
}
