//! Random secrets that clients hold and we keep only as hashes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pillion_chassis::Random;
use pillion_chassis::random::RandomError;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// 256 bits: beyond guessing, so that a plain hash protects it.
const SECRET_BYTES: usize = 32;

/// The hash of a secret, as the database holds it.
pub(crate) type Hash = Vec<u8>;

/// A secret text, in `base64url` when it is ours. It never shows in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// A new one.
    pub(crate) fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let mut bytes = [0; SECRET_BYTES];
        random.fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// One of bytes that nobody can guess.
    pub(crate) fn of_bytes(bytes: &[u8; SECRET_BYTES]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// One that somebody sent.
    pub(crate) fn presented(text: String) -> Self {
        Self(text)
    }

    /// Its SHA-256. Secrets of ours have no structure to guess, so neither a salt nor a slow hash
    /// adds anything, and comparing hashes tells nothing about the secret.
    pub(crate) fn hash(&self) -> Hash {
        digest(&SHA256, self.0.as_bytes()).as_ref().to_vec()
    }

    /// What an app that will show this as its verifier announces before (RFC 7636, S256).
    pub(crate) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.hash())
    }

    /// The text itself, for the one who gets to hold it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}
