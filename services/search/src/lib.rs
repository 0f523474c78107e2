//! The search service: finds recent tweets by their text and by what they are, counts them, and
//! streams new ones to apps that ask for some or for a sample.
//!
//! It owns an index, made of the events of other services, and the rules of apps' streams.

mod app_caller;
mod change_rules;
mod count_recent;
mod count_rules;
mod document;
mod error;
mod lease;
mod list_rules;
mod live;
mod projection;
mod query;
mod routes;
mod sample_stream;
mod search_recent;
mod search_stream;
mod steps;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod window;
mod words;

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::page::PageTokens;
use pillion_chassis::saga::participate;
use pillion_chassis::{Backend, Clock, Deps, Ids, Journal, Parameters, Service, StartError};

use live::Live;
use projection::SearchProjection;
use query::{Query, SEARCH_CHARS_MAX};
use store::Store;

/// The service's name.
pub const NAME: &str = "search";

/// What an operator may want otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many of 10,000 tweets are on the sampled stream.
    pub sample_per_10_000: u32,
    /// After how much silence a stream sends an empty line. Clients give a stream up that is
    /// silent for 20 seconds.
    pub heartbeat: Duration,
}

impl Default for Settings {
    /// X's one per cent; a heartbeat with five seconds in hand for the way.
    fn default() -> Self {
        Self { sample_per_10_000: 100, heartbeat: Duration::from_secs(15) }
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct Search {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    pages: Arc<PageTokens>,
    live: Arc<Live>,
    /// Tells this process from the others of the service.
    process: i64,
    settings: Settings,
}

/// Brings the database up to date and builds the service.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    service_with(deps, Settings::default()).await
}

/// [`service`] with settings of the operator's own.
pub async fn service_with(deps: Deps, settings: Settings) -> Result<Service, StartError> {
    let (_, service) = build(deps, settings).await?;
    Ok(service)
}

async fn build(deps: Deps, settings: Settings) -> Result<(Search, Service), StartError> {
    let Deps { clock, ids, random, database, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = PageTokens::load(&database, &*random).await?;
    let pages = Arc::new(pages.by(clock.clone()));
    let store = Store::new(database.clone());
    if database.backend() == Backend::Sqlite {
        // The file is this process's alone: what is there was left by one that was killed.
        store.forget_connections().await?;
    }
    // No id: `pillion migrate` opens the service without a number to make ids with.
    let mut process = [0; 8];
    random.fill(&mut process)?;
    let process = i64::from_ne_bytes(process);
    let (live, arrivals) = Live::new();
    let live = Arc::new(live);
    let journal =
        Journal::new(NAME, database.clone(), Arc::new(SearchProjection::new(live.clone())));
    let worker = live::worker(live.clone(), store.clone(), arrivals);
    let all = participate(routes::routes(), database, clock.clone(), Arc::new(steps::Steps));
    let search = Search { store, clock, ids, pages, live, process, settings };
    let (router, route_ids) = all.finish(search.clone());
    let service = Service {
        name: NAME,
        router,
        routes: route_ids,
        workers: vec![worker],
        journal: Some(journal),
        sagas: None,
    };
    Ok((search, service))
}

/// The parameter `query`, as text and as what it means; `None` when it was refused.
fn read_query(parameters: &mut Parameters) -> Option<(String, Query)> {
    let Some(text) = parameters.text("query") else {
        let message = "The `query` query parameter can not be empty: it says what to look for, \
                       such as `coffee -is:retweet`";
        parameters.refuse("query", Vec::new(), message.to_owned());
        return None;
    };
    match query::parse(&text, SEARCH_CHARS_MAX) {
        Ok(query) => Some((text, query)),
        Err(error) => {
            let message = format!("There were errors processing your request: {error}");
            let sent = if text.len() <= SEARCH_CHARS_MAX * 4 { vec![text] } else { Vec::new() };
            parameters.refuse("query", sent, message);
            None
        }
    }
}
