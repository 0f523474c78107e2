//! Signatures checked with keys that never enter the plugin. Grant: `crypto:KEYSET`.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::crypto as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::crypto as host;

pub use crate::bindings::pillion::plugin::crypto::{Algorithm, VerifyError};

/// Checks `signature` over `message` with the key `kid` of the set `keyset`.
///
/// # Errors
/// `NotGranted`, `UnknownKey`, `WrongAlgorithm` (the key is for another one), `BadSignature`.
#[inline]
pub fn verify(
    keyset: &str,
    kid: &str,
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    host::verify(keyset, kid, algorithm, message, signature)
}
