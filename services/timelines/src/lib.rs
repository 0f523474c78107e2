//! The timelines service: home timelines by fan-out on write, and mentions. Answers ids only;
//! the gateway fetches the tweets and leaves out what the caller may not see.
//!
//! A new tweet goes into the home of everyone who follows its author. The tweets of an author
//! with very many followers stay in the author's own list and are merged in when a follower
//! reads. Which of the two holds for a tweet is decided once, when it comes in; a follow that
//! begins above the bound is served at read for good. So an author who crosses the bound neither
//! loses a tweet nor shows one twice, and no tweet is ever in more homes than the bound.

mod home;
mod mentions;
mod projection;
mod routes;
mod settle;
mod steps;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use pillion_chassis::page::PageTokens;
use pillion_chassis::saga::participate;
use pillion_chassis::{Deps, Journal, Service, StartError};
use tokio::sync::Notify;

use projection::TimelinesProjection;
use store::Store;

/// The service's name.
pub const NAME: &str = "timelines";

/// Ids that a home keeps for its user, the newest: X's number, and eight full pages. It is cut back
/// to them now and then, and may hold some dozen more until then. A home that was cut and has lost
/// tweets since is filled up to this number from the authors' lists when it is read.
pub const HOME_TWEETS_MAX: u32 = 800;
/// Tweets that are kept of an author to be put into a new follower's home or merged at read: a
/// home has no room for more.
pub const AUTHOR_TWEETS_MAX: u32 = 800;
/// Ids that a mentions timeline keeps for its user, the newest: X's number.
pub const MENTIONS_MAX: u32 = 800;

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The tweets of an author with more followers than this are merged at read. A tweet costs
    /// some three written rows a follower, so 10,000 of them keep the writer busy for less than
    /// a second, and a reader rarely follows more than a few accounts above it.
    pub fanout_followers_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { fanout_followers_max: 10_000 }
    }
}

/// How much is kept. Constants, but tests reach them sooner with smaller ones.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// [`HOME_TWEETS_MAX`].
    home_tweets_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { home_tweets_max: HOME_TWEETS_MAX }
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct Timelines {
    store: Store,
    pages: Arc<PageTokens>,
}

/// Brings the database up to date and builds the service as it is by default.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    configured(deps, Config::default()).await
}

/// Brings the database up to date and builds the service.
pub async fn configured(deps: Deps, config: Config) -> Result<Service, StartError> {
    limited(deps, config, Limits::default()).await
}

async fn limited(deps: Deps, config: Config, limits: Limits) -> Result<Service, StartError> {
    let Deps { clock, random, database, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = PageTokens::load(&database, &*random).await?;
    let pages = Arc::new(pages.by(clock.clone()));
    let unsettled = Arc::new(Notify::new());
    let projection = Arc::new(TimelinesProjection::new(config, limits, unsettled.clone()));
    let journal = Journal::new(NAME, database.clone(), projection);
    let steps = Arc::new(steps::Steps(journal.clone()));
    let all = participate(routes::routes(), database.clone(), clock.clone(), steps);
    let workers = vec![settle::worker(journal.clone(), clock, unsettled)];
    let shared = Timelines { store: Store::new(database, limits), pages };
    let (router, route_ids) = all.finish(shared);
    Ok(Service {
        name: NAME,
        router,
        routes: route_ids,
        workers,
        journal: Some(journal),
        sagas: None,
    })
}
