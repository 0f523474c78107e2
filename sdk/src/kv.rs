//! Keys and values that outlive requests, instances and swaps. Grant: `kv`.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::kv as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::kv as host;

pub use crate::bindings::pillion::plugin::kv::KvError;

/// The value of `key`.
///
/// # Errors
/// `TooLarge` for an empty key; `Unavailable`.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, KvError> {
    host::get(key)
}

/// Sets a value, for `ttl_ms` milliseconds or for good.
///
/// # Errors
/// `TooLarge` for a key as above or a value over 64 KiB; `Full` when the plugin's bound of bytes
/// is reached; `Unavailable`.
pub fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), KvError> {
    host::set(key, value, ttl_ms)
}

/// Removes an entry. Whether there was one.
///
/// # Errors
/// As [`get`].
pub fn delete(key: &str) -> Result<bool, KvError> {
    host::delete(key)
}

/// Sets the value only if the present one is `expected` (`None`: only if there is none).
/// Whether it did.
///
/// # Errors
/// As [`set`].
pub fn compare_and_swap(
    key: &str,
    expected: Option<&[u8]>,
    value: &[u8],
    ttl_ms: Option<u64>,
) -> Result<bool, KvError> {
    host::compare_and_swap(key, expected, value, ttl_ms)
}
