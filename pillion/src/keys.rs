//! Fills the host's key sets: from files once, from identity for as long as the process runs. What
//! counts as identity's also holds the key that services have for themselves.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use pillion_chassis::service_token::KEY_ID_PREFIX;
use pillion_chassis::{Onward, Peers, Problem, ServiceKeys, Shutdown, SystemRandom, Worker, peers};
use pillion_host::{Key, Keyring};
use pillion_identity::{Handle, JwkSet, KeyEncryptionKey};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cli;
use crate::config::{KeySource, Keyset, Loaded};
use crate::data::DataDir;
use crate::output::print;
use crate::running::{ask, show};

/// The key that encrypts private keys at rest, in base64.
const KEY_ENCRYPTION_KEY: &str = "PILLION_KEY_ENCRYPTION_KEY";

/// A new key is published five minutes before it signs, so this is soon enough by far.
const REFRESH: Duration = Duration::from_mins(1);

/// How soon identity is asked again when it did not answer: every token is refused until then.
const RETRY: Duration = Duration::from_secs(1);

/// Where identity's keys come from.
pub(crate) enum Source {
    /// It runs in this process.
    Handle(Handle),
    /// It runs in another.
    Peers(Arc<dyn Peers>),
}

/// The key that services have for themselves: the file that is configured, which must be there, or
/// the one of the data folder, which the first process makes.
pub(crate) fn of_services(loaded: &Loaded, data: &DataDir) -> Result<ServiceKeys> {
    match loaded.service_key() {
        Some(path) => {
            ServiceKeys::open(&path).with_context(|| format!("{}: tokens.service_key", loaded.name))
        }
        None => Ok(ServiceKeys::open_or_make(&data.join("service.key"), &SystemRandom)?),
    }
}

/// The key in the data folder, where neither the environment nor the configuration names one.
pub(crate) const KEY_ENCRYPTION_KEY_FILE: &str = "key-encryption.key";

/// The key that encrypts private keys at rest: of the environment, else of the file that is
/// configured, which must be there, else of the data folder, which the first process makes.
pub(crate) fn encryption_key(loaded: &Loaded, data: &DataDir) -> Result<KeyEncryptionKey> {
    if let Ok(text) = std::env::var(KEY_ENCRYPTION_KEY) {
        return Ok(KeyEncryptionKey::parse(&text, KEY_ENCRYPTION_KEY)?);
    }
    if let Some(path) = loaded.key_encryption_key() {
        KeyEncryptionKey::open(&path)
            .with_context(|| format!("{}: tokens.key_encryption_key", loaded.name))
    } else {
        let path = data.join(KEY_ENCRYPTION_KEY_FILE);
        Ok(KeyEncryptionKey::open_or_make(&path, &SystemRandom, create_secret)?)
    }
}

/// Makes a file that must not be there yet, its owner's alone.
fn create_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// `pillion keys …`.
pub(crate) fn keys(command: &cli::Keys) -> Result<()> {
    match command {
        cli::Keys::Rotate(running) => {
            let answer = ask(running, Method::POST, "/admin/v1/keys/rotate", None)?;
            show(running, &answer, &["kid"], Value::clone)
        }
        cli::Keys::EncryptionKey { file } => {
            create_secret(file, &KeyEncryptionKey::generate(&SystemRandom)?)
                .with_context(|| format!("cannot make {}", file.display()))?;
            print(&format!(
                "{}: give every process of identity a copy, and name it as \
                 tokens.key_encryption_key",
                file.display()
            ))
        }
    }
}

/// `POST /admin/v1/keys/rotate`, where identity runs in this process.
pub(crate) async fn rotate(identity: Option<&Handle>) -> Result<Value, Problem> {
    let Some(identity) = identity else {
        let detail = "Identity does not run in this process; ask one in which it does: add \
                      --service identity, or its data folder, to the command.";
        return Err(Problem::plain(StatusCode::CONFLICT, detail));
    };
    let kid = identity.rotate_keys().await.map_err(|error| {
        let error: &dyn std::error::Error = &error;
        let reason = error.source().map(ToString::to_string).unwrap_or_default();
        Problem::plain(StatusCode::CONFLICT, format!("{error}: {reason}"))
    })?;
    Ok(json!({ "data": { "kid": kid } }))
}

/// Reads the keys that are there now, and gives the worker that follows identity's, and whether
/// those are known: until then every token is refused.
pub(crate) fn follow(
    loaded: &Loaded,
    keyring: &Keyring,
    services: ServiceKeys,
    source: Source,
) -> Result<(Worker, KeySets, watch::Receiver<bool>)> {
    let all = read(loaded)?;
    let (tell, known) = watch::channel(!all.iter().any(|set| set.of_identity));
    let own = Sets { keyring: keyring.clone(), services, identity: JwkSet::default(), all };
    let sets = KeySets(Arc::new(Mutex::new(own)));
    sets.publish(JwkSet::default());
    let own = sets.clone();
    let worker = match source {
        Source::Handle(handle) => {
            let mut changes = handle.jwks_changes();
            sets.publish(changes.borrow_and_update().clone());
            tell.send_replace(true);
            Worker::new("keys", move |mut shutdown: Shutdown| {
                let (sets, mut changes) = (sets.clone(), changes.clone());
                // A restart publishes what the run before may have missed.
                changes.mark_changed();
                async move {
                    loop {
                        tokio::select! {
                            () = shutdown.requested() => return,
                            news = changes.changed() => match news {
                                Ok(()) => sets.publish(changes.borrow_and_update().clone()),
                                // Identity has ended, and with it what could change.
                                Err(_) => return shutdown.requested().await,
                            },
                        }
                    }
                }
            })
        }
        Source::Peers(peers) => {
            let shared = Arc::new((sets, tell));
            Worker::new("keys", move |mut shutdown: Shutdown| {
                let (peers, shared) = (Arc::clone(&peers), Arc::clone(&shared));
                async move {
                    let (sets, tell) = &*shared;
                    loop {
                        let wait = match fetch(&*peers).await {
                            Ok(keys) => {
                                sets.publish(keys);
                                tell.send_replace(true);
                                REFRESH
                            }
                            // The keys that there are stay in force.
                            Err(error) => {
                                let error = format!("{error:#}");
                                tracing::warn!(error, "cannot read identity's keys");
                                RETRY
                            }
                        };
                        tokio::select! {
                            () = shutdown.requested() => return,
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                }
            })
        }
    };
    // Without it a new signing key is not known here, and every token of it is refused.
    Ok((worker.required(), own, known))
}

/// The configured sets, as far as they come from files.
fn read(loaded: &Loaded) -> Result<Vec<Set>> {
    let keysets = loaded.config.keysets.iter();
    let read = keysets.map(|(name, keyset)| {
        let own = of_files(loaded, keyset)?;
        let of_identity = keyset.source == Some(KeySource::Identity);
        Ok(Set { name: name.clone(), own, of_identity })
    });
    read.collect()
}

/// Every configured set of keys, in force in the host's keyring. Clones are the same sets.
#[derive(Clone)]
pub(crate) struct KeySets(Arc<Mutex<Sets>>);

struct Sets {
    keyring: Keyring,
    services: ServiceKeys,
    /// What identity published last.
    identity: JwkSet,
    all: Vec<Set>,
}

struct Set {
    name: String,
    own: BTreeMap<String, Key>,
    of_identity: bool,
}

/// Sets that were read and are not in force yet, or no longer.
pub(crate) struct ReadSets(Vec<Set>);

impl KeySets {
    /// Reads the sets of another configuration.
    pub(crate) fn read(loaded: &Loaded) -> Result<ReadSets> {
        read(loaded).map(ReadSets)
    }

    /// Puts these sets in force; those that were until now. What a set that is gone held stays
    /// until the process ends, for plugins of earlier generations.
    pub(crate) fn replace(&self, sets: ReadSets) -> ReadSets {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut own.all, sets.0);
        own.publish();
        ReadSets(before)
    }

    fn publish(&self, identity: JwkSet) {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        own.identity = identity;
        own.publish();
    }
}

impl std::fmt::Debug for KeySets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySets")
    }
}

impl Sets {
    fn publish(&self) {
        for set in &self.all {
            let mut keys = set.own.clone();
            if set.of_identity {
                // A key that calls itself a service's is one only if it is in our own file.
                let of_users = self.identity.keys.iter().filter(|jwk| !is_services(&jwk.kid));
                keys.extend(of_users.filter_map(|jwk| {
                    let public = URL_SAFE_NO_PAD.decode(&jwk.x).ok()?;
                    Some((jwk.kid.clone(), Key::ed25519_public(&public)))
                }));
                keys.extend(
                    self.services
                        .iter()
                        .map(|key| (key.id().to_owned(), Key::ed25519_public(key.public()))),
                );
            }
            self.keyring.set(&set.name, keys);
        }
    }
}

/// Whether a key of this name signs for services only.
pub(crate) fn is_services(kid: &str) -> bool {
    kid.starts_with(KEY_ID_PREFIX)
}

/// The keys that a key set has from files, by their `kid`.
pub(crate) fn of_files(loaded: &Loaded, keyset: &Keyset) -> Result<BTreeMap<String, Key>> {
    let keys = keyset.hs256.iter();
    keys.map(|(kid, path)| {
        let key = Key::hmac_sha256(&secret(&loaded.base.join(path))?);
        Ok((kid.clone(), key))
    })
    .collect()
}

/// A file's bytes exactly as they are: a random key may well end in a line feed.
fn secret(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

async fn fetch(peers: &dyn Peers) -> Result<JwkSet> {
    const IDENTITY: &str = "identity";
    let request =
        Onward::default().request(Method::GET, "/.well-known/jwks.json").body(Body::empty())?;
    let response = peers.call(IDENTITY, request).await?;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "identity answered {status}");
    let body = peers::body_of(IDENTITY, response.into_body()).await?;
    serde_json::from_slice(&body).context("identity's key set has an unknown form")
}
