//! Keys that plugins verify signatures with and never see.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::{hmac, signature};

/// A key for verifying.
#[derive(Clone)]
pub struct Key(Kind);

#[derive(Clone)]
enum Kind {
    Ed25519(signature::UnparsedPublicKey<Vec<u8>>),
    HmacSha256(hmac::Key),
}

impl Key {
    /// The 32 bytes of an Ed25519 public key (RFC 8032).
    pub fn ed25519_public(bytes: &[u8]) -> Self {
        Self(Kind::Ed25519(signature::UnparsedPublicKey::new(&signature::ED25519, bytes.to_vec())))
    }

    /// A secret for HMAC with SHA-256 (RFC 2104); 32 bytes or more (RFC 7518, 3.2).
    pub fn hmac_sha256(secret: &[u8]) -> Self {
        Self(Kind::HmacSha256(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Ed25519(_) => "Key(ed25519)",
            Kind::HmacSha256(_) => "Key(hmac-sha256)",
        })
    }
}

/// A signature's algorithm, as the plugin asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Ed25519,
    HmacSha256,
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerifyError {
    UnknownKey,
    WrongAlgorithm,
    BadSignature,
}

type KeySets = HashMap<String, HashMap<String, Key>>;

/// Named sets of keys. Clones share them; a set is replaced as a whole, while it is in use.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Arc<ArcSwap<KeySets>>);

impl Keyring {
    /// Replaces the set called `name` by these keys and their ids.
    pub fn set(&self, name: &str, keys: impl IntoIterator<Item = (String, Key)>) {
        let keys: HashMap<String, Key> = keys.into_iter().collect();
        self.0.rcu(|sets| {
            let mut sets = KeySets::clone(sets);
            sets.insert(name.to_owned(), keys.clone());
            sets
        });
    }

    /// A key's own algorithm is the only one it is used for: a public key can never be taken
    /// for an HMAC secret (RFC 8725, 3.1).
    pub(crate) fn verify(
        &self,
        set: &str,
        kid: &str,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        let sets = self.0.load();
        let key = sets.get(set).and_then(|keys| keys.get(kid)).ok_or(VerifyError::UnknownKey)?;
        match (&key.0, algorithm) {
            (Kind::Ed25519(key), Algorithm::Ed25519) => {
                key.verify(message, signature).map_err(|_| VerifyError::BadSignature)
            }
            (Kind::HmacSha256(key), Algorithm::HmacSha256) => {
                hmac::verify(key, message, signature).map_err(|_| VerifyError::BadSignature)
            }
            _ => Err(VerifyError::WrongAlgorithm),
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::KeyPair as _;

    use super::*;

    #[test]
    fn a_key_verifies_with_its_own_algorithm_only() {
        let pair = signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = pair.public_key().as_ref();
        let ring = Keyring::default();
        ring.set(
            "set",
            [
                ("ed".to_owned(), Key::ed25519_public(public)),
                ("hs".to_owned(), Key::hmac_sha256(&[9; 32])),
            ],
        );
        let signed = pair.sign(b"message");
        let check = |kid, algorithm, signature: &[u8]| {
            ring.verify("set", kid, algorithm, b"message", signature)
        };
        assert_eq!(check("ed", Algorithm::Ed25519, signed.as_ref()), Ok(()));
        assert_eq!(check("ed", Algorithm::Ed25519, &[0; 64]), Err(VerifyError::BadSignature));
        assert_eq!(
            check("none", Algorithm::Ed25519, signed.as_ref()),
            Err(VerifyError::UnknownKey)
        );

        // The classic confusion: an HMAC keyed with the public key.
        let forged = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), b"message");
        assert_eq!(
            check("ed", Algorithm::HmacSha256, forged.as_ref()),
            Err(VerifyError::WrongAlgorithm)
        );

        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[9; 32]), b"message");
        assert_eq!(check("hs", Algorithm::HmacSha256, tag.as_ref()), Ok(()));
    }

    #[test]
    fn a_set_is_replaced_as_a_whole() {
        let ring = Keyring::default();
        ring.set("set", [("old".to_owned(), Key::hmac_sha256(&[1; 32]))]);
        ring.set("set", [("new".to_owned(), Key::hmac_sha256(&[1; 32]))]);
        assert_eq!(
            ring.verify("set", "old", Algorithm::HmacSha256, b"", b""),
            Err(VerifyError::UnknownKey)
        );
    }
}
