//! Peers that run in this process, called without a socket.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use tower::ServiceExt;

use super::{PEER_ANSWER_TIME_MAX, PeerError, Peers};

/// A registry of the routers in this process, each within its service's plugin chain. Services
/// get it before they exist themselves, so it is filled afterwards.
#[derive(Debug, Default)]
pub struct InProcessPeers(RwLock<HashMap<String, Router>>);

impl InProcessPeers {
    /// Nobody is there yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a service callable; it takes the place of an earlier one of that name.
    pub fn register(&self, service: &str, router: Router) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(service.to_owned(), router);
    }

    /// Forgets all services. The routers hold their services, which hold these peers: without
    /// this, none of them is ever freed.
    pub fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[async_trait]
impl Peers for InProcessPeers {
    async fn call(
        &self,
        service: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, PeerError> {
        let router = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(service)
            .cloned()
            .ok_or_else(|| PeerError::Unknown(service.to_owned()))?;
        match tokio::time::timeout(PEER_ANSWER_TIME_MAX, router.oneshot(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(never)) => match never {},
            Err(_) => Err(PeerError::TimedOut(service.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::peers::{Onward, body_of};

    #[tokio::test]
    async fn a_registered_service_answers_with_the_callers_token() {
        let peers = InProcessPeers::new();
        let router = Router::new().route(
            "/who",
            get(async |headers: HeaderMap| {
                format!("{:?} {:?}", headers.get("authorization"), headers.get("cookie"))
            }),
        );
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer t".parse().unwrap());
        headers.insert("cookie", "c".parse().unwrap());
        let onward = Onward::of(&headers);
        let request = || onward.request(Method::GET, "/who").body(Body::empty()).unwrap();
        let error = peers.call("users", request()).await.unwrap_err();
        assert!(matches!(error, PeerError::Unknown(name) if name == "users"));
        peers.register("users", router);
        let response = peers.call("users", request()).await.unwrap();
        let body = body_of("users", response.into_body()).await.unwrap();
        assert_eq!(body, r#"Some("Bearer t") None"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_hangs_is_given_up() {
        let peers = InProcessPeers::new();
        peers.register("slow", Router::new().fallback(async || std::future::pending::<()>().await));
        let error = peers.call("slow", Request::new(Body::empty())).await.unwrap_err();
        assert!(matches!(error, PeerError::TimedOut(name) if name == "slow"));
    }
}
