//! Random numbers from the operating system. Grant: `random`.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::random as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::random as host;

/// `len` bytes, at most 4,096; more end the call.
pub fn bytes(len: u32) -> Vec<u8> {
    host::bytes(len)
}
