//! Makes the services and puts each behind its plugins. The only place that sees both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::middleware::from_fn;
use pillion_chassis::ids::{LeaseError, SLOTS};
use pillion_chassis::start::{START_TIME_MAX, patiently};
use pillion_chassis::{
    Backend, Database, Deps, HttpPeers, Ids, InProcessPeers, Journal, NodeLease, Peers, Sagas,
    Service, ServiceKeys, ServiceTokens, SystemClock, SystemRandom, Tls, Worker, personal,
};
use pillion_host::{Host, RouteTable};
use pillion_identity::Handle;

use crate::config::{Loaded, SERVICES};
use crate::data::DataDir;
use crate::keys;
use crate::serve::{Bounds, RequestMetrics, Streams, protect, take_over_request_id};
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
    pub(crate) sagas: Vec<Sagas>,
    pub(crate) metrics: Vec<Arc<RequestMetrics>>,
}

/// Opens these services on their databases.
pub(crate) async fn open(
    names: &[&'static str],
    loaded: &Loaded,
    data: &DataDir,
    peers: &Arc<dyn Peers>,
    service_keys: &ServiceKeys,
    schema: Schema,
) -> Result<Opened> {
    let clock = Arc::new(SystemClock);
    let mut opened = Opened { services: Vec::new(), databases: Vec::new(), identity: None };
    for name in names {
        let database = storage::database(loaded, data, name, schema).await?;
        let place = database.place().to_owned();
        opened.databases.push(database.clone());
        let numbers = Numbers::of(name, clock.clone(), &database)?;
        let tokens = &loaded.config.tokens;
        let service_tokens = service_tokens(name, loaded, service_keys)?;
        let deps = Deps {
            clock: clock.clone(),
            ids: numbers.ids(),
            random: Arc::new(SystemRandom),
            database,
            peers: peers.clone(),
            service_tokens: service_tokens.clone(),
        };
        let service = match *name {
            "gateway" => pillion_gateway::service(deps).await,
            "users" => pillion_users::service(deps).await,
            "tweets" => pillion_tweets::service(deps).await,
            "graph" => {
                let follow_request_time = loaded.config.accounts.follow_request_time();
                pillion_graph::configured(deps, pillion_graph::Config { follow_request_time }).await
            }
            "engagements" => pillion_engagements::service(deps).await,
            "timelines" => pillion_timelines::service(deps).await,
            "search" => pillion_search::service(deps).await,
            "notifications" => pillion_notifications::service(deps).await,
            "identity" => {
                let key = keys::encryption_key(loaded, data)?;
                let days = |days: u64| Duration::from_hours(24 * days);
                let config = pillion_identity::Config {
                    issuer: tokens.issuer.clone(),
                    audience: tokens.audience.clone(),
                    first_party_client_id: tokens.client_id.clone(),
                    service_name: loaded.config.accounts.service_name.clone(),
                    deactivation_grace: loaded.config.accounts.deactivation_grace(),
                    user_token_ttl: Duration::from_secs(tokens.user_token_s),
                    app_token_ttl: days(tokens.app_token_days),
                    refresh_token_ttl: days(tokens.refresh_token_days),
                    refresh_grace: Duration::from_secs(tokens.refresh_grace_s),
                    key_rotation: days(tokens.key_rotation_days),
                    plain_pkce: tokens.plain_pkce,
                    ..pillion_identity::Config::new(key)
                };
                pillion_identity::service(deps, config).await.map(|(service, handle)| {
                    opened.identity = Some(handle);
                    service
                })
            }
            other => bail!("there is no service `{other}`"),
        };
        let mut service = service.with_context(|| format!("the service {name} cannot start"))?;
        if let (Numbers::Leased(lease), Schema::Start) = (numbers, schema) {
            let drain = loaded.config.server.drain();
            take(&lease, &place)
                .await
                .with_context(|| format!("the service {name} cannot start"))?;
            service.workers.push(lease.worker(drain));
        }
        opened.services.push(personal::exchange(service, peers.clone(), service_tokens));
    }
    Ok(opened)
}

/// What a service shows the others.
pub(crate) fn service_tokens(
    name: &str,
    loaded: &Loaded,
    keys: &ServiceKeys,
) -> Result<Arc<ServiceTokens>> {
    let tokens = &loaded.config.tokens;
    let clock = Arc::new(SystemClock);
    Ok(Arc::new(ServiceTokens::new(
        name,
        keys.clone(),
        &tokens.issuer,
        &tokens.audience,
        clock,
        &SystemRandom,
    )?))
}

/// Takes a node number, when its database has the time.
async fn take(lease: &NodeLease, place: &str) -> Result<()> {
    let passes = |error: &anyhow::Error| match error.downcast_ref() {
        Some(LeaseError::Database(error)) => error.is_passing(),
        _ => false,
    };
    let once = async || lease.take().await.with_context(|| format!("the database {place}"));
    patiently(START_TIME_MAX, once, passes).await
}

/// Where the ids of a service come from. Each service has node numbers of its own, so that ids of
/// different services differ, too.
enum Numbers {
    /// A file has one process, and that one a number for ever.
    Fixed(Arc<Ids>),
    /// Several processes may be at a server's database.
    Leased(NodeLease),
}

impl Numbers {
    fn of(name: &str, clock: Arc<SystemClock>, database: &Database) -> Result<Self> {
        let place = SERVICES.iter().position(|service| *service == name).unwrap_or_default();
        let first = u16::try_from(place)? * SLOTS;
        Ok(match database.backend() {
            Backend::Sqlite => Self::Fixed(Arc::new(Ids::new(clock, first)?)),
            // It keeps nothing, so its database has no tables, and it makes no ids.
            Backend::Postgres if name == pillion_gateway::NAME => {
                Self::Fixed(Arc::new(Ids::new(clock, first)?))
            }
            Backend::Postgres => Self::Leased(NodeLease::new(clock, database.clone(), first)?),
        })
    }

    fn ids(&self) -> Arc<Ids> {
        match self {
            Self::Fixed(ids) => ids.clone(),
            Self::Leased(lease) => lease.ids(),
        }
    }
}

/// Puts every service behind its own chain and makes it known to its peers. The first one is
/// the front.
pub(crate) fn protect_all(
    services: Vec<Service>,
    host: &Host,
    bounds: Bounds,
    peers: Option<&InProcessPeers>,
    streams: &Arc<Streams>,
) -> Result<Protected> {
    let mut front = None;
    let mut workers = Vec::new();
    let mut journals = Vec::new();
    let mut sagas = Vec::new();
    let mut metrics = Vec::new();
    for service in services {
        let table =
            (service.routes.iter()).map(|route| (route.method.clone(), route.template.clone()));
        let table = RouteTable::new(table);
        let counted = Arc::new(RequestMetrics::new(service.name, service.routes));
        // A stream of another service in this process reaches clients through the front.
        let streams = front.is_none().then(|| Arc::clone(streams));
        let router = protect(service.name, service.router, table, host, bounds, &counted, streams);
        if let Some(peers) = peers {
            // Between processes the id travels as a header; here it must look the same.
            peers.register(service.name, router.clone().layer(from_fn(take_over_request_id)));
        }
        front.get_or_insert(router);
        workers.extend(service.workers);
        journals.extend(service.journal);
        sagas.extend(service.sagas);
        metrics.push(counted);
    }
    let front = front.context("there is no service to serve")?;
    Ok(Protected { front, workers, journals, sagas, metrics })
}

/// The services over HTTP: the others at the addresses that the configuration gives them, this one
/// where it listens itself, which no network and no load balancer can part it from.
pub(crate) fn http_peers(
    own: &str,
    listens: SocketAddr,
    loaded: &Loaded,
    tls: Option<&Tls>,
    tokens: Arc<ServiceTokens>,
) -> Result<HttpPeers> {
    let scheme = loaded.config.tls.scheme();
    let mut addresses = Vec::new();
    if SERVICES.first() != Some(&own) {
        addresses.push((own.to_owned(), format!("{scheme}://{}", reachable(listens))));
    }
    // Nobody calls the one that faces clients, and it may show no certificate of a service.
    let called = |name: &str| name != own && SERVICES.first() != Some(&name);
    for (name, service) in loaded.config.services.iter().filter(|(name, _)| called(name)) {
        match (service.urls(), service.listen) {
            ([_, ..], _) => {
                addresses.extend(service.urls().iter().map(|url| (name.clone(), url.clone())));
            }
            ([], Some(listen)) if listen.port() != 0 && !listen.ip().is_unspecified() => {
                addresses.push((name.clone(), format!("{scheme}://{listen}")));
            }
            ([], _) => bail!(
                "{}: services.{name}.url: is missing; `pillion serve {own}` needs to know where \
                 {name} is: write url = \"{scheme}://HOST:PORT\"",
                loaded.name
            ),
        }
    }
    Ok(match tls {
        // Without certificates a token says who calls.
        None => HttpPeers::new(addresses)?.with_service_tokens(tokens),
        Some(tls) => HttpPeers::secured(addresses, tls)?,
    })
}

/// An address of this machine by which a listener can be reached.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_calls_itself_where_it_listens() {
        for (listens, calls) in [
            ("0.0.0.0:8083", "127.0.0.1:8083"),
            ("[::]:8083", "[::1]:8083"),
            ("10.0.0.7:8083", "10.0.0.7:8083"),
        ] {
            let listens: SocketAddr = listens.parse().unwrap();
            assert_eq!(reachable(listens).to_string(), calls);
        }
    }
}
