//! The plugin's own metrics, on the host's `/metrics` as `pillion_custom_NAME`. Grant: `metrics`.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::metrics as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::metrics as host;

pub use crate::bindings::pillion::plugin::metrics::Label;

/// A label: `name` is `[a-z_][a-z0-9_]*`, at most 32 bytes; `value` at most 64 bytes, and one of
/// few: each combination is a series, of which a plugin has at most 100 unless configured.
#[inline]
pub const fn label<'a>(name: &'a str, value: &'a str) -> Label<'a> {
    Label { name, value }
}

/// Adds to a counter.
pub fn counter(name: &str, labels: &[Label<'_>], add: u64) {
    host::counter(name, labels, add);
}

/// Sets a gauge.
pub fn gauge(name: &str, labels: &[Label<'_>], value: f64) {
    host::gauge(name, labels, value);
}

/// Records a value in the unit that the name ends in (`_seconds`, `_bytes`).
pub fn histogram(name: &str, labels: &[Label<'_>], value: f64) {
    host::histogram(name, labels, value);
}
