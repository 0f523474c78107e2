//! Makes the services and puts each behind its plugins. The only place that sees both.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::middleware::from_fn;
use pillion_chassis::{
    Database, Deps, HttpPeers, Ids, InProcessPeers, Journal, Peers, Service, SystemClock, Worker,
};
use pillion_host::{Host, RouteTable};
use pillion_identity::Handle;

use crate::config::{Loaded, SERVICES};
use crate::data::DataDir;
use crate::serve::{Bounds, RequestMetrics, protect, take_over_request_id};
use crate::storage::{self, Schema};

/// Services that are open and not yet behind their plugins.
pub(crate) struct Opened {
    pub(crate) services: Vec<Service>,
    pub(crate) databases: Vec<Database>,
    /// When identity is among them.
    pub(crate) identity: Option<Handle>,
}

/// Services behind their plugins.
pub(crate) struct Protected {
    /// The one that faces clients.
    pub(crate) front: Router,
    pub(crate) workers: Vec<Worker>,
    pub(crate) journals: Vec<Journal>,
    pub(crate) metrics: Vec<Arc<RequestMetrics>>,
}

/// Opens these services on their databases.
pub(crate) async fn open(
    names: &[&'static str],
    loaded: &Loaded,
    data: &DataDir,
    peers: &Arc<dyn Peers>,
    schema: Schema,
) -> Result<Opened> {
    let clock = Arc::new(SystemClock);
    let ids = Arc::new(Ids::new(clock.clone(), node(names))?);
    let mut opened = Opened { services: Vec::new(), databases: Vec::new(), identity: None };
    for name in names {
        let database = storage::database(loaded, data, name, schema).await?;
        opened.databases.push(database.clone());
        let deps = Deps {
            clock: clock.clone(),
            ids: ids.clone(),
            random: Arc::new(pillion_chassis::SystemRandom),
            database,
            peers: peers.clone(),
        };
        let service = match *name {
            "gateway" => pillion_gateway::service(deps).await,
            "users" => pillion_users::service(deps).await,
            "tweets" => pillion_tweets::service(deps).await,
            "graph" => pillion_graph::service(deps).await,
            "engagements" => pillion_engagements::service(deps).await,
            "timelines" => pillion_timelines::service(deps).await,
            "search" => pillion_search::service(deps).await,
            "notifications" => pillion_notifications::service(deps).await,
            "identity" => {
                let tokens = &loaded.config.tokens;
                let config = pillion_identity::Config {
                    issuer: tokens.issuer.clone(),
                    audience: tokens.audience.clone(),
                    first_party_client_id: tokens.client_id.clone(),
                };
                pillion_identity::service(deps, config).await.map(|(service, handle)| {
                    opened.identity = Some(handle);
                    service
                })
            }
            other => bail!("there is no service `{other}`"),
        };
        opened.services.push(service.with_context(|| format!("the service {name} cannot start"))?);
    }
    Ok(opened)
}

/// Ids of two processes that run at the same time differ in this: `up` is the only one, and
/// under `serve` each service is one process.
fn node(names: &[&str]) -> u16 {
    match names {
        [only] => SERVICES
            .iter()
            .position(|service| service == only)
            .map_or(0, |index| u16::try_from(index + 1).unwrap_or_default()),
        _ => 0,
    }
}

/// Puts every service behind its own chain and makes it known to its peers. The first one is
/// the front.
pub(crate) fn protect_all(
    services: Vec<Service>,
    host: &Host,
    bounds: Bounds,
    peers: Option<&InProcessPeers>,
) -> Result<Protected> {
    let mut front = None;
    let mut workers = Vec::new();
    let mut journals = Vec::new();
    let mut metrics = Vec::new();
    for service in services {
        let table =
            (service.routes.iter()).map(|route| (route.method.clone(), route.template.clone()));
        let table = RouteTable::new(table);
        let counted = Arc::new(RequestMetrics::new(service.name, service.routes));
        let router = protect(service.name, service.router, table, host, bounds, &counted);
        if let Some(peers) = peers {
            // Between processes the id travels as a header; here it must look the same.
            peers.register(service.name, router.clone().layer(from_fn(take_over_request_id)));
        }
        front.get_or_insert(router);
        workers.extend(service.workers);
        journals.extend(service.journal);
        metrics.push(counted);
    }
    let front = front.context("there is no service to serve")?;
    Ok(Protected { front, workers, journals, metrics })
}

/// The other services over HTTP, at the addresses that the configuration gives them.
pub(crate) fn http_peers(own: &str, loaded: &Loaded) -> Result<HttpPeers> {
    let mut addresses = Vec::new();
    for (name, service) in loaded.config.services.iter().filter(|(name, _)| *name != own) {
        match (service.urls(), service.listen) {
            ([_, ..], _) => {
                addresses.extend(service.urls().iter().map(|url| (name.clone(), url.clone())));
            }
            ([], Some(listen)) if listen.port() != 0 && !listen.ip().is_unspecified() => {
                addresses.push((name.clone(), format!("http://{listen}")));
            }
            ([], _) => bail!(
                "{}: services.{name}.url: is missing; `pillion serve {own}` needs to know where \
                 {name} is: write url = \"http://HOST:PORT\"",
                loaded.name
            ),
        }
    }
    Ok(HttpPeers::new(addresses)?)
}
