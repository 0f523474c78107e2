//! Keys and values in the host's memory, one store a plugin.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Longest key.
const KEY_BYTES_MAX: usize = 256;

/// Longest value.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// What an entry costs beside its bytes, so that many empty ones are bounded too.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// Why it could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvError {
    TooLarge,
    Full,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    expires: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    bytes: usize,
}

/// A plugin's entries.
#[derive(Debug, Default)]
pub(crate) struct Kv(Mutex<Inner>);

impl Kv {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that count against the bound.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Vec<u8>> {
        self.lock().live(key, now).map(|entry| entry.value.clone())
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: Vec<u8>,
        expires: Option<Instant>,
        now: Instant,
        bytes_max: usize,
    ) -> Result<(), KvError> {
        self.lock().set(key, value, expires, now, bytes_max)
    }

    pub(crate) fn delete(&self, key: &str, now: Instant) -> bool {
        let mut inner = self.lock();
        let was = inner.live(key, now).is_some();
        inner.remove(key);
        was
    }

    pub(crate) fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Vec<u8>,
        expires: Option<Instant>,
        now: Instant,
        bytes_max: usize,
    ) -> Result<bool, KvError> {
        let mut inner = self.lock();
        if inner.live(key, now).map(|entry| entry.value.as_slice()) != expected {
            return Ok(false);
        }
        inner.set(key, value, expires, now, bytes_max).map(|()| true)
    }
}

impl Inner {
    fn live(&self, key: &str, now: Instant) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.expires.is_none_or(|at| at > now))
    }

    fn remove(&mut self, key: &str) {
        if let Some(old) = self.entries.remove(key) {
            self.bytes -= cost(key, &old.value);
        }
    }

    fn set(
        &mut self,
        key: &str,
        value: Vec<u8>,
        expires: Option<Instant>,
        now: Instant,
        bytes_max: usize,
    ) -> Result<(), KvError> {
        check(key, &value)?;
        let present = self.entries.get(key).map_or(0, |old| cost(key, &old.value));
        let wanted = cost(key, &value);
        if self.bytes - present + wanted > bytes_max {
            // The key itself must stay for the arithmetic below, expired or not.
            let (entries, bytes) = (&mut self.entries, &mut self.bytes);
            entries.retain(|name, entry| {
                let keep = name == key || entry.expires.is_none_or(|at| at > now);
                if !keep {
                    *bytes -= cost(name, &entry.value);
                }
                keep
            });
            if self.bytes - present + wanted > bytes_max {
                return Err(KvError::Full);
            }
        }
        self.bytes = self.bytes - present + wanted;
        self.entries.insert(key.to_owned(), Entry { value, expires });
        Ok(())
    }
}

/// Whether an entry is within its bounds, wherever it is kept.
pub(crate) fn check(key: &str, value: &[u8]) -> Result<(), KvError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
        return Err(KvError::TooLarge);
    }
    Ok(())
}

/// What an entry counts against the bound of bytes.
pub(crate) fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bytes_are_bounded_and_expired_entries_make_room() {
        let kv = Kv::default();
        let now = Instant::now();
        let soon = now + Duration::from_secs(1);
        kv.set("a", vec![0; 100], Some(soon), now, 300).unwrap();
        assert_eq!(kv.set("b", vec![0; 100], None, now, 300), Err(KvError::Full));
        assert_eq!(kv.get("b", now), None, "a refused set leaves nothing");
        kv.set("b", vec![0; 100], None, soon, 300).unwrap();
        assert_eq!(kv.get("a", soon), None);
        assert_eq!(kv.bytes(), cost("b", &[0; 100]));
        assert!(kv.delete("b", soon));
        assert!(!kv.delete("b", soon));
        assert_eq!(kv.bytes(), 0);
    }

    #[test]
    fn compare_and_swap_swaps_only_what_was_expected() {
        let kv = Kv::default();
        let now = Instant::now();
        let cas = |expected: Option<&[u8]>, value: &[u8]| {
            kv.compare_and_swap("k", expected, value.to_vec(), None, now, 1_000).unwrap()
        };
        assert!(cas(None, b"1"));
        assert!(!cas(None, b"2"));
        assert!(cas(Some(b"1"), b"2"));
        assert_eq!(kv.get("k", now).as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn bad_keys_and_values_are_refused() {
        let kv = Kv::default();
        let now = Instant::now();
        for (key, value) in [("", 0), (&*"k".repeat(257), 0), ("k", VALUE_BYTES_MAX + 1)] {
            assert_eq!(kv.set(key, vec![0; value], None, now, usize::MAX), Err(KvError::TooLarge));
        }
    }
}
