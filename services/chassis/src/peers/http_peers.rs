//! Peers in other processes, called over HTTP.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{PEER_ANSWER_TIME_MAX, PeerError, Peers};

/// Connections kept open to a peer while nothing is asked: about what one service sends at once.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// Shorter than the minute after which a server closes an idle connection, or a request would
/// now and then go into one that is just being closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// Within one data centre a connection stands in a millisecond; longer means that nobody is there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// Peers in other processes, with a pool of connections.
#[derive(Debug)]
pub struct HttpPeers {
    client: Client<HttpConnector, Body>,
    addresses: HashMap<String, Authority>,
}

/// An address of a peer is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address of the service {service} is {address}; it must be like http://HOST:PORT")]
pub struct PeerAddressError {
    /// Which service.
    pub service: String,
    /// What its address was said to be.
    pub address: String,
}

impl HttpPeers {
    /// Peers at these addresses: a service's name and `http://HOST:PORT`.
    pub fn new(
        addresses: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, PeerAddressError> {
        let addresses = addresses
            .into_iter()
            .map(|(service, address)| match authority(&address) {
                Some(authority) => Ok((service, authority)),
                None => Err(PeerAddressError { service, address }),
            })
            .collect::<Result<_, _>>()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIME_MAX));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, addresses })
    }
}

fn authority(address: &str) -> Option<Authority> {
    let parts = address.parse::<Uri>().ok()?.into_parts();
    let bare = parts.path_and_query.is_none_or(|path| path == "/");
    (parts.scheme == Some(Scheme::HTTP) && bare).then_some(parts.authority).flatten()
}

#[async_trait]
impl Peers for HttpPeers {
    async fn call(
        &self,
        service: &str,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, PeerError> {
        let address =
            self.addresses.get(service).ok_or_else(|| PeerError::Unknown(service.to_owned()))?;
        let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| {
            PeerError::Unreachable { service: service.to_owned(), source }
        };
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(address.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .map_err(|error| unreachable(error.into()))?;
        match tokio::time::timeout(PEER_ANSWER_TIME_MAX, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response.map(Body::new)),
            Ok(Err(error)) => Err(unreachable(error.into())),
            Err(_) => Err(PeerError::TimedOut(service.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use http::Method;

    use super::*;
    use crate::peers::{Onward, body_of};

    #[tokio::test]
    async fn a_service_in_another_process_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/a", get(async |uri: Uri| uri.query().unwrap_or_default().to_owned()));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let peers = HttpPeers::new([("users".to_owned(), address)]).unwrap();
        for _ in 0..2 {
            let request =
                Onward::default().request(Method::GET, "/a?b=c").body(Body::empty()).unwrap();
            let response = peers.call("users", request).await.unwrap();
            assert_eq!(body_of("users", response.into_body()).await.unwrap(), "b=c");
        }
        server.abort();
    }

    #[tokio::test]
    async fn a_service_that_is_down_is_said_to_be() {
        // Bound and dropped at once: nobody listens there now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("http://127.0.0.1:{port}");
        let peers = HttpPeers::new([("users".to_owned(), address)]).unwrap();
        let error = peers.call("users", Request::new(Body::empty())).await.unwrap_err();
        assert!(matches!(&error, PeerError::Unreachable { service, .. } if service == "users"));
        let problem = crate::Problem::from(error);
        assert_eq!(problem.status(), 503);
    }

    #[test]
    fn an_address_must_be_one() {
        for address in ["users:80", "https://a", "http://a/b", "", "http://"] {
            let error = HttpPeers::new([("users".to_owned(), address.to_owned())]).unwrap_err();
            assert!(error.to_string().contains("http://HOST:PORT"), "{address}");
        }
    }
}
