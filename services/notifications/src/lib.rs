//! The notifications service: tells users what others did with them and their tweets. Keeps an
//! inbox per user, made from the other services' events, with a mark up to where it was read, and
//! sends what is new live.
//!
//! A notification's id is the moment at which its event was recorded, in microseconds since 1970,
//! or one more than the last id that its recipient had, if that is larger. So ids grow in the
//! order in which notifications come in: a reader who goes on from an id misses none, also if the
//! events of a service come in late; and the same events make the same ids again. What was taken
//! back and is done again shows up under the id that it had: who likes and unlikes a tweet all day
//! makes news once.

mod error;
mod feeds;
mod happened;
mod list;
mod mark_read;
mod notice;
mod projection;
mod routes;
mod steps;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod unread_count;

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::page::PageTokens;
use pillion_chassis::saga;
use pillion_chassis::{Clock, Deps, Journal, Service, Shutdown, StartError, Worker};

use feeds::Feeds;
use projection::NotificationsProjection;
use steps::Steps;
use store::Store;

/// The service's name.
pub const NAME: &str = "notifications";

/// Notifications that are kept of a user, the newest: nobody reads on for longer, and a tweet
/// that half the world likes must not fill the disk.
pub const KEPT_MAX: u32 = 1_000;

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// A live stream says so often that it is still there. Clients and proxies give up on a
    /// connection that is silent for 20 s. A stream whose process does not take up the events
    /// itself looks for new ones as often.
    pub heartbeat_interval: Duration,
    /// How long a live stream lasts: as long as an access token. The client comes again with a
    /// token that is good, and misses nothing.
    pub stream_time_max: Duration,
    /// Live streams in this process. An idle one costs some kilobytes and a look at the database
    /// with each heartbeat.
    pub streams_max: usize,
    /// Live streams of one user: some windows on some devices.
    pub streams_per_user_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(15),
            stream_time_max: Duration::from_mins(15),
            streams_max: 1_000,
            streams_per_user_max: 5,
        }
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct Notifications {
    store: Store,
    journal: Journal,
    clock: Arc<dyn Clock>,
    pages: Arc<PageTokens>,
    feeds: Arc<Feeds>,
    config: Config,
}

/// Brings the database up to date and builds the service as it is by default.
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    configured(deps, Config::default()).await
}

/// Brings the database up to date and builds the service.
pub async fn configured(deps: Deps, config: Config) -> Result<Service, StartError> {
    let Deps { clock, random, database, .. } = deps;
    database.migrate(&store::MIGRATIONS).await?;
    let pages = Arc::new(PageTokens::load(&database, &*random).await?.by(clock.clone()));
    let feeds = Arc::new(Feeds::new(config.streams_max, config.streams_per_user_max));
    let projection = Arc::new(NotificationsProjection::new(feeds.clone()));
    let journal = Journal::new(NAME, database.clone(), projection);
    let closer = {
        let feeds = feeds.clone();
        Worker::new("notification-streams", move |mut shutdown: Shutdown| {
            let feeds = feeds.clone();
            async move {
                shutdown.requested().await;
                feeds.close();
            }
        })
    };
    let steps = Arc::new(Steps::new(journal.clone()));
    let service = saga::participate(routes::routes(), database.clone(), clock.clone(), steps);
    let notifications = Notifications {
        store: Store::new(database),
        journal: journal.clone(),
        clock,
        pages,
        feeds,
        config,
    };
    let (router, route_ids) = service.finish(notifications);
    Ok(Service {
        name: NAME,
        router,
        routes: route_ids,
        workers: vec![closer],
        journal: Some(journal),
        sagas: None,
    })
}
