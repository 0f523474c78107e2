//! Access tokens that were revoked before they expired. Grant: `revocations`.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::revocations as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::revocations as host;

/// A number that grows whenever the set of revoked ids changes: a token that was checked at one
/// revision needs no other check until the revision is another. Load it before the check.
#[inline]
pub fn revision() -> u64 {
    host::revision()
}

/// Whether any of these ids is revoked. At most 16 ids; more end the call.
#[inline]
pub fn is_revoked(ids: &[&str]) -> bool {
    host::is_revoked(ids)
}
