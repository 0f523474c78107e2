//! The gateway: every public route at one address, in X's dialect.
//!
//! It owns no data. A request goes to the service that owns its route. Who owns a list answers
//! ids; what they stand for is put together here from the services that own it, and what the
//! caller may not see is left out. Tokens travel on, and each service checks them itself.

mod compose;
mod credentials;
mod dialect;
mod document;
mod fetch;
mod fields;
mod forward;
mod lines;
mod query;
mod routes;
mod stream_guard;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use pillion_chassis::{Deps, Peers, Service, ServiceTokens, StartError};

use document::Document;

/// The name of the service among its peers.
pub const NAME: &str = "gateway";

/// What the handlers share.
#[derive(Debug, Clone)]
struct Gateway {
    peers: Arc<dyn Peers>,
    /// What the gateway shows when it asks on its own behalf.
    service_tokens: Arc<ServiceTokens>,
    document: Arc<Document>,
}

/// Makes the service. It keeps nothing, so its database stays empty.
#[expect(clippy::unused_async, reason = "services are made alike, and others wait for theirs")]
pub async fn service(deps: Deps) -> Result<Service, StartError> {
    let document = Document::load().map_err(|error| {
        StartError::Configuration(format!("gateway: its OpenAPI document is damaged: {error}"))
    })?;
    let gateway = Gateway {
        peers: deps.peers,
        service_tokens: deps.service_tokens,
        document: Arc::new(document),
    };
    let (router, table) = routes::routes().finish(gateway);
    Ok(Service {
        name: NAME,
        router,
        routes: table,
        workers: Vec::new(),
        journal: None,
        sagas: None,
    })
}
