//! The time of day and a steady clock. Grant: `clock`. The field `time` is cheaper.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::clock as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::clock as host;

/// Microseconds since 1970.
pub fn now() -> u64 {
    host::now()
}

/// Nanoseconds since some moment in the past; never goes back.
pub fn monotonic() -> u64 {
    host::monotonic()
}
