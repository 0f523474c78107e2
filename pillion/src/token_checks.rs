//! What access tokens are checked with in this process: identity's keys and revocations, and whether
//! a caller is a service.

use std::sync::Arc;

use anyhow::Result;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pillion_chassis::service_token::ServiceVerifier;
use pillion_chassis::{Peers, Problem, ServiceKeys, ServiceTokens, SystemClock, Worker};
use pillion_host::{Keyring, Revocations};
use tokio::sync::watch;

use crate::config::Loaded;
use crate::keys::{self, KeySets};
use crate::revocations::{self, RevocationStatus};

/// What tokens are checked with, which follows identity.
pub(crate) struct TokenChecks {
    pub(crate) keyring: Keyring,
    pub(crate) keysets: KeySets,
    pub(crate) revocations: Revocations,
    pub(crate) status: RevocationStatus,
    pub(crate) workers: [Worker; 2],
    pub(crate) keys_known: watch::Receiver<bool>,
    pub(crate) revocations_known: watch::Receiver<bool>,
}

/// Where identity is: in this process, or among the peers.
pub(crate) struct Identity<'a> {
    pub(crate) handle: Option<&'a pillion_identity::Handle>,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) tokens: Arc<ServiceTokens>,
}

impl TokenChecks {
    pub(crate) fn follow(
        loaded: &Loaded,
        service_keys: ServiceKeys,
        identity: Identity<'_>,
    ) -> Result<Self> {
        let (keyring, revocations) = (Keyring::default(), Revocations::default());
        let Identity { handle, peers, tokens } = identity;
        let (keys, revoked) = if let Some(handle) = handle {
            let revoked = revocations::Source::Handle(handle.clone());
            (keys::Source::Handle(handle.clone()), revoked)
        } else {
            let revoked = revocations::Source::Peers(peers.clone(), tokens);
            (keys::Source::Peers(peers), revoked)
        };
        let (key_worker, keysets, keys_known) = keys::follow(loaded, &keyring, service_keys, keys)?;
        // Without a key set of identity's no token of identity's is accepted, and the keys are
        // known from the start: then there is nothing that could be revoked either.
        let is_needed = handle.is_some() || !*keys_known.borrow();
        let (worker, revocations_known, status) =
            revocations::follow(&revocations, revoked, is_needed);
        let workers = [key_worker, worker];
        Ok(Self { keyring, keysets, revocations, status, workers, keys_known, revocations_known })
    }
}

/// Checks that callers are services.
pub(crate) fn verifier(loaded: &Loaded, keys: &ServiceKeys) -> Arc<ServiceVerifier> {
    let (tokens, clock) = (&loaded.config.tokens, Arc::new(SystemClock));
    Arc::new(ServiceVerifier::new(keys.clone(), &tokens.issuer, &tokens.audience, clock))
}

/// Refuses callers that do not show that they are a service. What services answer each other is not
/// what a user may see: lists of ids, tweets of protected accounts, before the gateway has put the
/// page together.
pub(crate) async fn only_services(
    State(verifier): State<Arc<ServiceVerifier>>,
    request: Request,
    next: Next,
) -> Response {
    if verifier.is_service(request.headers()) {
        return next.run(request).await;
    }
    Problem::unauthorized(
        "Only services call this address: it needs a service's token, or certificates ([tls]). \
         Clients call the gateway.",
    )
    .into_response()
}
