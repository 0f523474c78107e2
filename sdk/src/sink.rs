//! Lines to an output that the operator granted by name: `sink:NAME`.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::sink as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::sink as host;

pub use crate::bindings::pillion::plugin::sink::SinkError;

/// Appends one line to the output `name`; the host adds the line feed. Never waits, and returns
/// before the line is on disk.
///
/// # Errors
/// `NotGranted`; `TooLarge` over 16 KiB; `Invalid` with a control character other than a tab in
/// it; `Full` when the output cannot keep up, and the line is then dropped and counted.
#[inline]
pub fn write(name: &str, line: &[u8]) -> Result<(), SinkError> {
    host::write(name, line)
}
