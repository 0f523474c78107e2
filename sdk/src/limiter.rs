//! Rate limiting that is exact under concurrency and outlives swaps. Grant: `limiter`.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::limiter as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::limiter as host;

pub use crate::bindings::pillion::plugin::limiter::{LimiterError, Verdict};

/// Takes one from a bucket of `burst` that fills at `burst` per `period_ms` milliseconds, by the
/// generic cell rate algorithm. A refused take costs nothing.
///
/// # Errors
/// `BadKey` for an empty one; `BadQuota` for a zero; `Full` when the
/// plugin's bound of keys is reached; `Unavailable`.
#[inline]
pub fn gcra(key: &str, burst: u32, period_ms: u32) -> Result<Verdict, LimiterError> {
    host::gcra(key, burst, period_ms)
}

/// Takes one of `limit` in a window of `window_ms` milliseconds that begins with the key's first
/// take. A refused take costs nothing.
///
/// # Errors
/// As [`gcra`].
#[inline]
pub fn window(key: &str, limit: u32, window_ms: u32) -> Result<Verdict, LimiterError> {
    host::window(key, limit, window_ms)
}
