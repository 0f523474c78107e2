//! Peers in other processes, called over HTTP.
//!
//! A service can have several addresses. A call goes to the one with the fewest calls in flight
//! among those that are well: an address is passed over while its health checks fail, while it
//! has asked to be left alone (`Retry-After`), and while its circuit is open because calls to it
//! failed. When none is well, calls go to those whose checks fail all the same, for a check may
//! be wrong; only open circuits refuse at once.
//!
//! A call is repeated, after a short random pause, where that can do no harm: when nothing was
//! sent, or when the method is idempotent (RFC 9110, 9.2.2) and the connection broke, the answer
//! did not come, or it was 503. A DELETE that is repeated may be told that there is nothing any
//! more, as it would be if the client repeated it. Repeats stay under a fifth of the calls (and
//! a few), so that a service in trouble does not get more to do.

mod address;
mod connector;
mod health;
mod retry;
mod settings;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Duration, Instant, sleep_until, timeout_at};

pub use settings::PeerSettings;

use self::address::{Addresses, Place};
use self::connector::{Connector, Secure};
use self::retry::{Failure, Pauses};
use super::{PeerError, Peers};
use crate::random::{Random, SystemRandom};
use crate::service_token::{SERVICE_AUTHORIZATION, ServiceTokens};
use crate::tls::Tls;

/// A request's body up to this size is kept to be sent again; all that services send each other
/// is smaller. A larger one is sent once.
const REPEATED_BODY_BYTES_MAX: u64 = 64 * 1024;
/// A connection without traffic, such as a quiet stream's, is probed after this.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long an address that answered 503 with `Retry-After` is left alone at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Peers in other processes, with a pool of connections to each.
#[derive(Debug)]
pub struct HttpPeers {
    client: Client<Connector, Body>,
    scheme: Scheme,
    services: HashMap<String, Arc<Addresses>>,
    settings: PeerSettings,
    random: Arc<dyn Random>,
    /// Shown with each call, beside the caller's own token.
    tokens: Option<Arc<ServiceTokens>>,
}

/// An address of a peer is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address of the service {service} is {address}; it must be like {scheme}://HOST:PORT")]
pub struct PeerAddressError {
    /// Which service.
    pub service: String,
    /// What its address was said to be.
    pub address: String,
    /// What it must begin with: `https` where services show certificates.
    pub scheme: &'static str,
}

impl HttpPeers {
    /// Peers at these addresses: a service's name and `http://HOST:PORT`; a service that runs in
    /// several places is there as often. Default settings; see [`HttpPeers::with_settings`].
    pub fn new(
        addresses: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, PeerAddressError> {
        Self::with_settings(addresses, PeerSettings::default(), Arc::new(SystemRandom))
    }

    /// The same over TLS, at `https://HOST:PORT`: each end shows who it is.
    pub fn secured(
        addresses: impl IntoIterator<Item = (String, String)>,
        tls: &Tls,
    ) -> Result<Self, PeerAddressError> {
        let random = Arc::new(SystemRandom);
        Self::build(addresses, PeerSettings::default(), random, Some(tls))
    }

    /// The same with bounds of the caller's own. [`HttpPeers::health_checks`] is to be run beside
    /// it; without, every address counts as healthy.
    pub fn with_settings(
        addresses: impl IntoIterator<Item = (String, String)>,
        settings: PeerSettings,
        random: Arc<dyn Random>,
    ) -> Result<Self, PeerAddressError> {
        Self::build(addresses, settings, random, None)
    }

    fn build(
        addresses: impl IntoIterator<Item = (String, String)>,
        settings: PeerSettings,
        random: Arc<dyn Random>,
        tls: Option<&Tls>,
    ) -> Result<Self, PeerAddressError> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut services = HashMap::new();
        let mut authorities: HashMap<String, Vec<Authority>> = HashMap::new();
        for (service, address) in addresses {
            let Some(authority) = authority(&address, scheme) else {
                return Err(PeerAddressError { service, address, scheme });
            };
            services.insert(authority.clone(), service.clone());
            authorities.entry(service).or_default().push(authority);
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(settings.connect_timeout));
        connector.set_keepalive(Some(KEEP_ALIVE));
        let secure = tls.map(|tls| Secure {
            tls: tls.clone(),
            services: Arc::new(services),
            handshake_timeout: settings.connect_timeout,
        });
        let connector = Connector::new(connector, secure);
        let scheme = connector.scheme();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(settings.idle_connections_max)
            .pool_idle_timeout(settings.idle_timeout)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let services = authorities
            .into_iter()
            .map(|(service, authorities)| {
                let addresses = Addresses::new(&service, authorities, &settings);
                (service, Arc::new(addresses))
            })
            .collect();
        Ok(Self { client, scheme, services, settings, random, tokens: None })
    }

    /// The same, showing with each call which service makes it: for services without certificates.
    #[must_use]
    pub fn with_service_tokens(mut self, tokens: Arc<ServiceTokens>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// One attempt at an address.
    async fn attempt(
        &self,
        mut place: Place,
        request: Request<Body>,
        until: Instant,
    ) -> Result<Response<Body>, Failure> {
        match timeout_at(until, self.client.request(request)).await {
            Ok(Ok(response)) => {
                place.answered();
                let busy = response.status() == StatusCode::SERVICE_UNAVAILABLE;
                if busy && let Some(time) = retry_after(response.headers()) {
                    place.rest(time.min(RETRY_AFTER_MAX));
                }
                // The place is free when the body is out or dropped: streams count, too.
                let response = response.map(|body| {
                    Body::new(body.map_err(move |error| {
                        let _held = &place;
                        error
                    }))
                });
                if busy { Err(Failure::Busy(response)) } else { Ok(response) }
            }
            Ok(Err(error)) => {
                place.failed();
                let (not_sent, error) = (error.is_connect(), error.into());
                Err(if not_sent { Failure::NotSent(error) } else { Failure::Broken(error) })
            }
            Err(_) => {
                place.failed();
                Err(Failure::TimedOut)
            }
        }
    }
}

fn authority(address: &str, scheme: &str) -> Option<Authority> {
    let parts = address.parse::<Uri>().ok()?.into_parts();
    let bare = parts.path_and_query.is_none_or(|path| path == "/");
    (parts.scheme.is_some_and(|found| found == *scheme) && bare)
        .then_some(parts.authority)
        .flatten()
}

/// The header in its form with seconds, the only one that our services use.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A request that can be made for each attempt.
struct Repeated {
    parts: Parts,
    /// `None` once a body that could not be kept has been sent.
    body: Option<Kept>,
}

enum Kept {
    Whole(Bytes),
    Once(Body),
}

impl Repeated {
    async fn of(request: Request<Body>) -> Result<Self, axum::Error> {
        let (parts, body) = request.into_parts();
        let bounded = body.size_hint().exact();
        let body = if bounded.is_some_and(|bytes| bytes <= REPEATED_BODY_BYTES_MAX) {
            Kept::Whole(body.collect().await?.to_bytes())
        } else {
            Kept::Once(body)
        };
        Ok(Self { parts, body: Some(body) })
    }

    /// The request for an address, unless its body is gone.
    fn request(
        &mut self,
        scheme: &Scheme,
        authority: &Authority,
    ) -> Option<Result<Request<Body>, http::Error>> {
        let body = match self.body.take()? {
            Kept::Whole(bytes) => {
                self.body = Some(Kept::Whole(bytes.clone()));
                Body::from(bytes)
            }
            Kept::Once(body) => body,
        };
        let path = self.parts.uri.path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(scheme.clone())
            .authority(authority.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build();
        Some(uri.and_then(|uri| {
            let mut request = Request::builder().method(&self.parts.method).uri(uri).body(body)?;
            request.headers_mut().clone_from(&self.parts.headers);
            Ok(request)
        }))
    }
}

#[async_trait]
impl Peers for HttpPeers {
    async fn call(
        &self,
        service: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, PeerError> {
        let addresses =
            self.services.get(service).ok_or_else(|| PeerError::Unknown(service.to_owned()))?;
        let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| {
            PeerError::Unreachable { service: service.to_owned(), source }
        };
        let end = Instant::now() + self.settings.answer_timeout;
        let idempotent = request.method().is_idempotent();
        let mut repeated =
            Repeated::of(request).await.map_err(|error| unreachable(error.into()))?;
        if let Some(tokens) = &self.tokens {
            repeated.parts.headers.insert(SERVICE_AUTHORIZATION, tokens.bearer());
        }
        let mut pauses = Pauses::new(&self.random);
        let mut tried = Vec::new();
        addresses.called();
        loop {
            let place = addresses.choose(&tried).map_err(|reason| unreachable(reason.into()))?;
            tried.push(place.index());
            let request = match repeated.request(&self.scheme, place.authority()) {
                Some(request) => request.map_err(|error| unreachable(error.into()))?,
                None => return Err(unreachable("its body can be sent once only".into())),
            };
            // What is left after half of the time is for another address, if there is one.
            let until = if idempotent && addresses.has_fresh(&tried) {
                Instant::now() + end.saturating_duration_since(Instant::now()) / 2
            } else {
                end
            };
            let failure = match self.attempt(place, request, until).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let pause_end = Instant::now() + pauses.pause();
            let again = failure.is_harmless(idempotent)
                && repeated.body.is_some()
                && pause_end < end
                && addresses.may_repeat(&tried);
            if !again {
                return failure.conclude(service);
            }
            drop(failure);
            sleep_until(pause_end).await;
        }
    }
}
