//! Signs access tokens and publishes the keys that verify them.
//!
//! A token is a JWT (RFC 9068): header `alg` `EdDSA`, `typ` `at+jwt`, `kid`; claims `iss`, `aud`,
//! `sub`, `client_id`, `scope`, `iat`, `nbf`, `exp`, `jti`, and `rev`: the ids by which it can be
//! revoked with others. Keys are Ed25519, made on first start and kept in the service's database,
//! encrypted, so that tokens outlive a restart. Every process of the service reads them again now
//! and then, for another one may have made a new one.
//!
//! A key signs for [`SignerConfig::rotation`]. Then its private half is erased, and its public half
//! is published until the last token that it can have signed has expired.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pillion_chassis::random::RandomError;
use pillion_chassis::{Clock, DatabaseError, Random, Scopes, Timestamp};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use crate::error::RotateError;
use crate::store::{Store, StoredKey};
use crate::vault::{Vault, VaultError};

/// How long a new key is published before it signs: as long as the published set may be cached.
pub(crate) const KEY_ANNOUNCED: Duration = Duration::from_mins(5);

/// How long a key is published after the last token that it signed has expired at its issuer:
/// the leeway that verifiers may have.
const KEY_MARGIN: Duration = Duration::from_mins(10);

/// How many keys are published at most. With the default lifetimes there are 14.
pub const PUBLISHED_KEYS_MAX: usize = 64;

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
    fn of(public: &[u8]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public);
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

/// What the operator decides about keys.
#[derive(Debug, Clone)]
pub(crate) struct SignerConfig {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    /// How long a key signs.
    pub(crate) rotation: Duration,
    /// How long the longest token works.
    pub(crate) kept: Duration,
}

/// What a token says beside what all of them say.
#[derive(Debug, Clone)]
pub(crate) struct Claims<'a> {
    pub(crate) subject: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) scopes: &'a Scopes,
    /// In whole seconds.
    pub(crate) ttl: Duration,
    /// By what it is revoked beside its own id.
    pub(crate) revoked_by: Vec<String>,
    /// When it was issued and its id, where these are not now and the next one.
    pub(crate) fixed: Option<(Timestamp, String)>,
}

impl<'a> Claims<'a> {
    pub(crate) fn new(
        subject: &'a str,
        client_id: &'a str,
        scopes: &'a Scopes,
        ttl: Duration,
    ) -> Self {
        Self { subject, client_id, scopes, ttl, revoked_by: Vec::new(), fixed: None }
    }
}

/// What a token of ours says that was presented.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Presented {
    pub(crate) sub: String,
    pub(crate) client_id: String,
    pub(crate) scope: String,
    pub(crate) jti: String,
    /// In seconds since 1970.
    pub(crate) exp: u64,
    #[serde(default)]
    pub(crate) rev: Vec<String>,
}

#[derive(Debug)]
struct Key {
    /// None when it only verifies.
    pair: Option<Ed25519KeyPair>,
    public: Jwk,
    signs_from: Timestamp,
}

/// The published keys; there is always one.
#[derive(Debug, Clone)]
struct Ring {
    /// Oldest first.
    keys: Vec<Arc<Key>>,
}

impl Ring {
    fn of(keys: impl IntoIterator<Item = Key>) -> Option<Self> {
        let keys: Vec<_> = keys.into_iter().map(Arc::new).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// The key that signs at a moment: the newest whose time has begun, else the oldest that can.
    fn signing(&self, now: Timestamp) -> Option<(&Key, &Ed25519KeyPair)> {
        let mut able = self.keys.iter().filter_map(|key| Some((&**key, key.pair.as_ref()?)));
        let begun = able.clone().rev().find(|(key, _)| key.signs_from <= now);
        begun.or_else(|| able.next())
    }

    /// Each key with the moment at which its successor takes over.
    fn with_successors(&self) -> impl Iterator<Item = (&Key, Timestamp)> {
        self.keys.iter().zip(self.keys.iter().skip(1)).map(|(key, next)| (&**key, next.signs_from))
    }

    fn newest(&self) -> Option<&Key> {
        self.keys.last().map(|key| &**key)
    }

    fn public(&self) -> JwkSet {
        JwkSet { keys: self.keys.iter().map(|key| key.public.clone()).collect() }
    }
}

/// Signs access tokens.
#[derive(Debug)]
pub(crate) struct Signer {
    config: SignerConfig,
    clock: Arc<dyn Clock>,
    vault: Arc<Vault>,
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
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(
        "{PUBLISHED_KEYS_MAX} keys are published, which is the most: earlier ones are needed until \
         the tokens that they signed have expired"
    )]
    TooMany,
}

impl Signer {
    /// Reads the keys, or makes the first one.
    pub(crate) async fn load(
        config: SignerConfig,
        clock: Arc<dyn Clock>,
        vault: Arc<Vault>,
        store: &Store,
        random: &dyn Random,
    ) -> Result<Self, KeyError> {
        let keys = if let Some(keys) = read(store, &vault).await? {
            keys
        } else {
            // Another process may do the same at this moment; one of the two keys is kept.
            let first = make(&vault, random, clock.now())?;
            store.insert_signing_key(&first, None).await?;
            let missing = || DatabaseError::Corrupt("no signing key".to_owned());
            read(store, &vault).await?.ok_or_else(missing)?
        };
        let mut process = [0; 8];
        random.fill(&mut process)?;
        let (published, followed) = watch::channel(keys.public());
        Ok(Self {
            config,
            clock,
            vault,
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

    /// Makes the next key, whose id it returns, and forgets what is no longer needed.
    pub(crate) async fn rotate(
        &self,
        store: &Store,
        random: &dyn Random,
    ) -> Result<String, RotateError> {
        let kid = self.make_next(store, random).await?;
        self.tidy(store).await?;
        Ok(kid)
    }

    async fn make_next(&self, store: &Store, random: &dyn Random) -> Result<String, KeyError> {
        let newest = self.snapshot();
        if newest.keys.len() >= PUBLISHED_KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let key = make(&self.vault, random, after(self.clock.now(), KEY_ANNOUNCED))?;
        // Of several processes that do this at the same time one succeeds.
        let previous = newest.newest().map(|key| key.public.kid.as_str());
        store.insert_signing_key(&key, previous).await?;
        let kid = read(store, &self.vault).await?.and_then(|keys| {
            let kid = keys.newest().map(|key| key.public.kid.clone());
            self.publish(keys);
            kid
        });
        Ok(kid.unwrap_or(key.kid))
    }

    /// Does what is due: takes over what other processes did with the keys, makes the next key,
    /// erases the private halves of those that sign no more, and forgets those whose tokens have
    /// expired.
    pub(crate) async fn tend(&self, store: &Store, random: &dyn Random) -> Result<(), KeyError> {
        self.refresh(store).await?;
        let due = self.snapshot().newest().is_some_and(|newest| {
            after(newest.signs_from, self.config.rotation) <= self.clock.now()
        });
        if due {
            let kid = self.make_next(store, random).await?;
            tracing::info!(kid, "made the next signing key");
        }
        self.tidy(store).await?;
        Ok(())
    }

    async fn tidy(&self, store: &Store) -> Result<(), KeyError> {
        let (now, mut changed) = (self.clock.now(), false);
        let keys = self.snapshot();
        for (key, successor_signs_from) in keys.with_successors() {
            let kid = &key.public.kid;
            let kept = after(after(successor_signs_from, self.config.kept), KEY_MARGIN);
            if kept <= now {
                store.forget_signing_key(kid).await?;
                changed = true;
            } else if key.pair.is_some() && after(successor_signs_from, KEY_ANNOUNCED) <= now {
                store.erase_seed(kid).await?;
                changed = true;
            }
        }
        if changed {
            self.refresh(store).await?;
        }
        Ok(())
    }

    /// Takes over what other processes did with the keys.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), KeyError> {
        if let Some(keys) = read(store, &self.vault).await? {
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

    /// A token that is valid from now on for the claims' lifetime.
    pub(crate) fn sign(&self, claims: &Claims<'_>) -> String {
        let now = self.clock.now();
        let (issued_at, id) = claims.fixed.clone().unwrap_or_else(|| {
            let signed = self.signed.fetch_add(1, Ordering::Relaxed);
            (now, format!("{:016x}-{signed:x}", self.process))
        });
        let issued_at = issued_at.as_secs();
        let mut body = json!({
            "iss": self.config.issuer,
            "aud": self.config.audience,
            "sub": claims.subject,
            "client_id": claims.client_id,
            "scope": claims.scopes.to_string(),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at.saturating_add(claims.ttl.as_secs()),
            "jti": id,
        });
        if let Some(body) = body.as_object_mut().filter(|_| !claims.revoked_by.is_empty()) {
            body.insert("rev".to_owned(), claims.revoked_by.as_slice().into());
        }
        let keys = self.snapshot();
        // The newest key always can sign; without one nothing would be accepted anyway.
        let Some((key, pair)) = keys.signing(now) else {
            tracing::error!("no signing key has its private half");
            return String::new();
        };
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": key.public.kid });
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(body.to_string(), &mut token);
        let signature = pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// What a token says, if it is one of ours, expired or not.
    pub(crate) fn presented(&self, token: &str) -> Option<Presented> {
        #[derive(Deserialize)]
        struct Header {
            kid: String,
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, body) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let keys = self.snapshot();
        let key = keys.keys.iter().find(|key| key.public.kid == header.kid)?;
        UnparsedPublicKey::new(&ED25519, decode(&key.public.x)?)
            .verify(signed.as_bytes(), &decode(signature)?)
            .ok()?;
        serde_json::from_slice(&decode(body)?).ok()
    }

    fn snapshot(&self) -> Ring {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn after(moment: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(moment.as_micros().saturating_add(by))
}

/// The keys that are stored, if there are any.
async fn read(store: &Store, vault: &Vault) -> Result<Option<Ring>, KeyError> {
    let corrupt = |what: &str| DatabaseError::Corrupt(format!("a signing key {what}"));
    let mut keys = Vec::new();
    for StoredKey { kid, public, seed, signs_from } in store.signing_keys().await? {
        let pair = match seed {
            None => None,
            Some(sealed) => {
                let seed = vault.open(&kid, &sealed)?;
                let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public)
                    .map_err(|_| corrupt("whose halves do not belong together"))?;
                Some(pair)
            }
        };
        let public = Jwk::of(&public);
        if public.kid != kid {
            return Err(corrupt("under the name of another").into());
        }
        keys.push(Key { pair, public, signs_from });
    }
    Ok(Ring::of(keys))
}

/// A new key.
fn make(vault: &Vault, random: &dyn Random, signs_from: Timestamp) -> Result<StoredKey, KeyError> {
    let mut seed = [0; SEED_BYTES];
    random.fill(&mut seed)?;
    // 32 bytes are always a seed.
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| RandomError)?;
    let public = pair.public_key().as_ref().to_vec();
    let kid = Jwk::of(&public).kid;
    let seed = Some(vault.seal(&kid, &seed, random)?);
    Ok(StoredKey { kid, public, seed, signs_from })
}
