//! Keys of the host in memory.

use ring::{
    hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};

use crate::crypto::{Algorithm, VerifyError};

pub(crate) enum Key {
    Ed25519(Box<Ed25519KeyPair>),
    Hmac(hmac::Key),
}

impl Key {
    #[expect(clippy::panic, reason = "a mistake of the test that calls it")]
    pub(super) fn new(algorithm: Algorithm, secret: &[u8]) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Ed25519KeyPair::from_seed_unchecked(secret).map_or_else(
                |_| panic!("an Ed25519 seed has 32 bytes, not {}", secret.len()),
                |pair| Self::Ed25519(Box::new(pair)),
            ),
            Algorithm::HmacSha256 => Self::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret)),
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
        }
    }

    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        let fits = match (self, algorithm) {
            (Self::Ed25519(pair), Algorithm::Ed25519) => {
                UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref())
                    .verify(message, signature)
            }
            (Self::Hmac(key), Algorithm::HmacSha256) => hmac::verify(key, message, signature),
            _ => return Err(VerifyError::WrongAlgorithm),
        };
        fits.map_err(|_| VerifyError::BadSignature)
    }
}

#[expect(clippy::panic, reason = "a mistake of the test that calls it")]
pub(super) fn absent(keyset: &str, kid: &str) -> ! {
    panic!("no key `{kid}` in the key set `{keyset}`: call `testing::add_key` first")
}
