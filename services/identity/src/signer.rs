//! Signs access tokens and publishes the keys that verify them.
//!
//! A token is a JWT (RFC 9068): header `alg` `EdDSA`, `typ` `at+jwt`, `kid`; claims `iss`, `aud`,
//! `sub`, `client_id`, `scope`, `iat`, `nbf`, `exp`, `jti`. Keys are Ed25519, made on first start
//! and kept in the service's database, so that tokens outlive a restart. Every process of the
//! service reads them again now and then, for another one may have made a new one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pillion_chassis::random::RandomError;
use pillion_chassis::{Clock, DatabaseError, Random, Scopes, Timestamp};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use crate::error::RotateError;
use crate::store::{Store, StoredKey};

/// How long an access token works: short, for nothing can take it back.
pub const ACCESS_TOKEN_TTL: Duration = Duration::from_mins(15);

/// How long a new key is published before it signs: as long as the published set may be cached.
pub(crate) const KEY_ANNOUNCED: Duration = Duration::from_mins(5);

/// How long a key is published after its successor took over: a token's life, and the hour that
/// operators may give to tokens of their own.
const KEY_KEPT: Duration = Duration::from_mins(75);

/// How often the keys are read again: a new one is announced for ten times as long before it signs.
pub(crate) const KEYS_INTERVAL: Duration = Duration::from_secs(30);

/// The length of an Ed25519 seed.
const SEED_BYTES: usize = 32;

/// Public keys as RFC 7517 writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// The keys, oldest first.
    pub keys: Vec<Jwk>,
}

/// A public Ed25519 key (RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// Its name in the header of tokens: its thumbprint (RFC 7638).
    pub kid: String,
    /// The key's 32 bytes in `base64url` without padding.
    pub x: String,
}

impl Jwk {
    fn of(pair: &Ed25519KeyPair) -> Self {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        // The members that RFC 7638 names, in its order, without spaces.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            alg: "EdDSA".to_owned(),
            usage: "sig".to_owned(),
            kid: URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes())),
            x,
        }
    }
}

#[derive(Debug)]
struct Key {
    pair: Ed25519KeyPair,
    public: Jwk,
    signs_from: Timestamp,
}

/// The published keys; there is always one.
#[derive(Debug, Clone)]
struct Ring {
    oldest: Arc<Key>,
    newer: Vec<Arc<Key>>,
}

impl Ring {
    fn of(keys: impl IntoIterator<Item = Key>) -> Option<Self> {
        let mut keys = keys.into_iter().map(Arc::new);
        Some(Self { oldest: keys.next()?, newer: keys.collect() })
    }

    /// The key that signs at a moment.
    fn signing(&self, now: Timestamp) -> &Key {
        self.newer.iter().rev().find(|key| key.signs_from <= now).unwrap_or(&self.oldest)
    }

    /// Takes out the oldest key if its successor has signed for long enough.
    fn retire(&mut self, now: Timestamp) -> Option<Arc<Key>> {
        let successor = self.newer.first()?;
        if after(successor.signs_from, KEY_KEPT) > now {
            return None;
        }
        Some(std::mem::replace(&mut self.oldest, self.newer.remove(0)))
    }

    fn public(&self) -> JwkSet {
        let keys = std::iter::once(&self.oldest).chain(&self.newer);
        JwkSet { keys: keys.map(|key| key.public.clone()).collect() }
    }
}

/// Signs access tokens.
#[derive(Debug)]
pub(crate) struct Signer {
    issuer: String,
    audience: String,
    clock: Arc<dyn Clock>,
    /// Tells the tokens of processes and restarts apart.
    process: u64,
    signed: AtomicU64,
    keys: RwLock<Ring>,
    published: watch::Sender<JwkSet>,
    followed: watch::Receiver<JwkSet>,
}

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

fn key(seed: &[u8], signs_from: Timestamp) -> Result<Key, DatabaseError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|_| DatabaseError::Corrupt("a signing key that is not an Ed25519 seed".into()))?;
    let public = Jwk::of(&pair);
    Ok(Key { pair, public, signs_from })
}

impl Signer {
    /// Reads the keys, or makes the first one.
    pub(crate) async fn load(
        issuer: String,
        audience: String,
        clock: Arc<dyn Clock>,
        store: &Store,
        random: &dyn Random,
    ) -> Result<Self, KeyError> {
        let keys = if let Some(keys) = read(store).await? {
            keys
        } else {
            // Another process may do the same at this moment; one of the two keys is kept.
            let first = make(random, clock.now())?;
            store.insert_first_signing_key(&first).await?;
            let missing = || DatabaseError::Corrupt("no signing key".to_owned());
            read(store).await?.ok_or_else(missing)?
        };
        let mut process = [0; 8];
        random.fill(&mut process)?;
        let (published, followed) = watch::channel(keys.public());
        Ok(Self {
            issuer,
            audience,
            clock,
            process: u64::from_le_bytes(process),
            signed: AtomicU64::new(0),
            keys: RwLock::new(keys),
            published,
            followed,
        })
    }

    /// The published keys.
    pub(crate) fn jwks(&self) -> &watch::Receiver<JwkSet> {
        &self.followed
    }

    /// Makes the next key and forgets those that are no longer needed.
    pub(crate) async fn rotate(
        &self,
        store: &Store,
        random: &dyn Random,
    ) -> Result<(), RotateError> {
        let now = self.clock.now();
        store.insert_signing_key(&make(random, after(now, KEY_ANNOUNCED))?).await?;
        if let Some(mut keys) = read(store).await? {
            while let Some(outdated) = keys.retire(now) {
                store.forget_signing_key(&outdated.public.kid).await?;
            }
            self.publish(keys);
        }
        Ok(())
    }

    /// Takes over what other processes did with the keys.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), DatabaseError> {
        if let Some(keys) = read(store).await? {
            self.publish(keys);
        }
        Ok(())
    }

    fn publish(&self, keys: Ring) {
        let public = keys.public();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.published.send_if_modified(|published| {
            let changed = *published != public;
            *published = public;
            changed
        });
    }

    /// A token that is valid from now on for `ttl`, in whole seconds.
    pub(crate) fn sign(
        &self,
        subject: &str,
        client_id: &str,
        scopes: &Scopes,
        ttl: Duration,
    ) -> String {
        let now = self.clock.now();
        let issued_at = now.as_secs();
        let signed = self.signed.fetch_add(1, Ordering::Relaxed);
        let claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "client_id": client_id,
            "scope": scopes.to_string(),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at.saturating_add(ttl.as_secs()),
            "jti": format!("{:016x}-{signed:x}", self.process),
        });
        let keys = self.snapshot();
        let key = keys.signing(now);
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": key.public.kid });
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let signature = key.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    fn snapshot(&self) -> Ring {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn after(moment: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(moment.as_micros().saturating_add(by))
}

/// The keys that are stored, if there are any.
async fn read(store: &Store) -> Result<Option<Ring>, DatabaseError> {
    let stored = store.signing_keys().await?;
    let keys: Result<Vec<_>, _> =
        stored.into_iter().map(|stored| key(&stored.seed, stored.signs_from)).collect();
    Ok(Ring::of(keys?))
}

/// A new key.
fn make(random: &dyn Random, signs_from: Timestamp) -> Result<StoredKey, KeyError> {
    let mut seed = [0; SEED_BYTES];
    random.fill(&mut seed)?;
    let kid = key(&seed, signs_from)?.public.kid;
    Ok(StoredKey { kid, seed: seed.to_vec(), signs_from })
}
