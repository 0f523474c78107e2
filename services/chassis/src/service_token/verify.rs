//! Checks that a call comes from a service: where services have no certificates, this is who they
//! are to each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;

use super::{SCOPE, SERVICE_AUTHORIZATION, ServiceKeys};
use crate::clock::Clock;

/// How far the clocks of two services may be apart, in seconds.
const LEEWAY_S: u64 = 60;
/// Accepted tokens that are remembered. Each process shows a new one every 30 s.
const REMEMBERED_MAX: usize = 256;

/// Checks the tokens in [`SERVICE_AUTHORIZATION`].
pub struct ServiceVerifier {
    keys: ServiceKeys,
    issuer: String,
    audience: String,
    clock: Arc<dyn Clock>,
    /// Accepted tokens, with their expiry in seconds since 1970: a signature is checked once for
    /// each, and not for each call.
    accepted: Mutex<HashMap<Box<str>, u64>>,
}

impl ServiceVerifier {
    /// For tokens signed with one of these keys.
    pub fn new(keys: ServiceKeys, issuer: &str, audience: &str, clock: Arc<dyn Clock>) -> Self {
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        Self { keys, issuer, audience, clock, accepted: Mutex::default() }
    }

    /// Whether a request with these headers comes from a service.
    pub fn is_service(&self, headers: &HeaderMap) -> bool {
        let header = headers.get(SERVICE_AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|header| header.strip_prefix("Bearer ")) else {
            return false;
        };
        let now = self.clock.now().as_secs();
        // No code that holds the lock can panic.
        let lock = || self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expires) = lock().get(token) {
            return now < expires.saturating_add(LEEWAY_S);
        }
        let Some(expires) = self.verify(token) else {
            return false;
        };
        let good = now < expires.saturating_add(LEEWAY_S);
        if good {
            let mut accepted = lock();
            if accepted.len() >= REMEMBERED_MAX {
                accepted.retain(|_, expires| now < *expires);
            }
            if accepted.len() < REMEMBERED_MAX {
                accepted.insert(token.into(), expires);
            }
        }
        good
    }

    /// When a genuine token expires, in seconds since 1970.
    fn verify(&self, token: &str) -> Option<u64> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: String,
        }
        #[derive(Deserialize)]
        struct Claims {
            iss: String,
            aud: String,
            sub: String,
            scope: String,
            exp: u64,
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let key = self.keys.iter().find(|key| key.id() == header.kid && header.alg == "EdDSA")?;
        UnparsedPublicKey::new(&ED25519, key.public())
            .verify(signed.as_bytes(), &decode(signature)?)
            .ok()?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let genuine = claims.iss == self.issuer
            && claims.aud == self.audience
            && claims.sub.starts_with("service:")
            && claims.scope == SCOPE;
        genuine.then_some(claims.exp)
    }
}

/// Without the keys and tokens.
impl std::fmt::Debug for ServiceVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceVerifier")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::FakeClock;
    use crate::random::SystemRandom;
    use crate::service_token::ServiceTokens;

    #[test]
    fn i14_only_a_service_of_this_deployment_is_one_and_only_for_a_while() {
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:00Z".parse().unwrap()));
        let keys = ServiceKeys::passing(&SystemRandom).unwrap();
        let verifier = ServiceVerifier::new(keys.clone(), "i", "a", clock.clone());
        let of = |keys: &ServiceKeys, issuer: &str| {
            let tokens = ServiceTokens::new(
                "users",
                keys.clone(),
                issuer,
                "a",
                clock.clone(),
                &SystemRandom,
            );
            let mut headers = HeaderMap::new();
            headers.insert(SERVICE_AUTHORIZATION, tokens.unwrap().bearer());
            headers
        };
        let good = of(&keys, "i");
        for _ in 0..2 {
            assert!(verifier.is_service(&good));
        }
        assert_eq!(verifier.accepted.lock().unwrap().len(), 1);
        let other = ServiceKeys::passing(&SystemRandom).unwrap();
        for bad in [HeaderMap::new(), of(&other, "i"), of(&keys, "another")] {
            assert!(!verifier.is_service(&bad));
        }
        clock.advance(Duration::from_secs(121));
        assert!(!verifier.is_service(&good));
    }
}
