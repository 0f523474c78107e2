//! Fills the host's key sets: from files once, from identity for as long as the process runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use pillion_chassis::{Onward, Peers, Shutdown, Worker, peers};
use pillion_host::{Key, Keyring};
use pillion_identity::{Handle, JwkSet};

use crate::config::{KeySource, Keyset, Loaded};

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

/// Reads the keys that are there now, and gives the worker that follows identity's.
pub(crate) fn follow(loaded: &Loaded, keyring: &Keyring, source: Source) -> Result<Worker> {
    let mut sets = Sets { keyring: keyring.clone(), sets: Vec::new() };
    for (name, keyset) in &loaded.config.keysets {
        let own = of_files(loaded, keyset)?;
        let of_identity = keyset.source == Some(KeySource::Identity);
        sets.sets.push(Set { name: name.clone(), own, of_identity });
    }
    sets.publish(&JwkSet::default());
    Ok(match source {
        Source::Handle(handle) => {
            let mut changes = handle.jwks_changes();
            sets.publish(&changes.borrow_and_update());
            Worker::new("keys", async move |mut shutdown: Shutdown| {
                loop {
                    tokio::select! {
                        () = shutdown.requested() => return,
                        news = changes.changed() => match news {
                            Ok(()) => sets.publish(&changes.borrow_and_update()),
                            // Identity has ended, and with it what could change.
                            Err(_) => return,
                        },
                    }
                }
            })
        }
        Source::Peers(peers) => Worker::new("keys", async move |mut shutdown: Shutdown| {
            loop {
                let wait = match fetch(&*peers).await {
                    Ok(keys) => {
                        sets.publish(&keys);
                        REFRESH
                    }
                    // The keys that there are stay in force.
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "cannot read identity's keys");
                        RETRY
                    }
                };
                tokio::select! {
                    () = shutdown.requested() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }),
    })
}

/// Every configured set with what does not change in it.
struct Sets {
    keyring: Keyring,
    sets: Vec<Set>,
}

struct Set {
    name: String,
    own: BTreeMap<String, Key>,
    of_identity: bool,
}

impl Sets {
    fn publish(&self, identity: &JwkSet) {
        for set in &self.sets {
            let mut keys = set.own.clone();
            if set.of_identity {
                keys.extend(identity.keys.iter().filter_map(|jwk| {
                    let public = URL_SAFE_NO_PAD.decode(&jwk.x).ok()?;
                    Some((jwk.kid.clone(), Key::ed25519_public(&public)))
                }));
            }
            self.keyring.set(&set.name, keys);
        }
    }
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
