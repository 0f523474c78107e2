//! Lazy reads of the request that is being handled. Needs no grant.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::current as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::current as host;

/// The bytes of any field by its contract name, for a plugin that did not declare it: a call to
/// the host each, where a declared field costs almost nothing.
///
/// `None` when the field is absent, unknown or not of this phase; request headers can be read
/// so in the request phase only. Outside a hook always `None`.
#[inline]
pub fn field(name: &str) -> Option<Vec<u8>> {
    host::field(name)
}
