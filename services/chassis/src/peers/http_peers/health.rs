//! Asks every address now and then whether it takes requests.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http::uri::{Scheme, Uri};
use hyper_util::client::legacy::Client;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::HttpPeers;
use super::address::{Address, Found};
use super::connector::Connector;
use super::retry::jittered;
use super::settings::PeerSettings;
use crate::random::Random;
use crate::service::{Shutdown, Worker};

/// What every Pillion process answers: 503 while it starts, drains or has no database.
const PATH: &str = "/readyz";

impl HttpPeers {
    /// The worker that checks the health of all addresses until the shutdown.
    pub fn health_checks(&self) -> Worker {
        let addresses = self.services.values().flat_map(|addresses| addresses.iter().cloned());
        let checks: Vec<_> = addresses
            .map(|address| Check {
                address,
                client: self.client.clone(),
                scheme: self.scheme.clone(),
                settings: self.settings.clone(),
                random: Arc::clone(&self.random),
            })
            .collect();
        Worker::new("peer-health", move |mut shutdown: Shutdown| {
            let mut running: JoinSet<()> = checks.iter().cloned().map(Check::run).collect();
            async move {
                tokio::select! {
                    () = shutdown.requested() => {}
                    // None ever ends but by a panic: the supervisor starts all of them again.
                    Some(_) = running.join_next() => {}
                }
                running.abort_all();
            }
        })
    }
}

#[derive(Clone)]
struct Check {
    address: Arc<Address>,
    client: Client<Connector, Body>,
    scheme: Scheme,
    settings: PeerSettings,
    random: Arc<dyn Random>,
}

impl Check {
    async fn run(self) {
        loop {
            self.address.checked(self.look().await);
            // Between one and one and a half intervals: callers that started together must not
            // ask together for ever.
            let interval = self.settings.health_interval;
            sleep(interval / 2 + jittered(interval / 2, &*self.random)).await;
        }
    }

    async fn look(&self) -> Found {
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.address.authority().clone())
            .path_and_query(PATH)
            .build();
        let Ok(request) = uri.and_then(|uri| Request::get(uri).body(Body::empty())) else {
            return Found::Silent;
        };
        match timeout(self.settings.health_timeout, self.client.request(request)).await {
            Ok(Ok(response)) if response.status().is_server_error() => Found::NotReady,
            Ok(Ok(_)) => Found::Ready,
            Ok(Err(_)) | Err(_) => Found::Silent,
        }
    }
}
