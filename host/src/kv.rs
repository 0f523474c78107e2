//! Keys and values in the host's memory, one store a plugin.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    entries: HashMap<Arc<str>, Entry>,
    /// Entries that expire, the first one first: who needs room looks at those only that are due.
    expiring: BTreeSet<(Instant, Arc<str>)>,
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
        if let Some((key, old)) = self.entries.remove_entry(key) {
            self.bytes -= cost(&key, &old.value);
            if let Some(at) = old.expires {
                self.expiring.remove(&(at, key));
            }
        }
    }

    /// Removes entries that have expired until an entry of `wanted` bytes fits. A set that is refused
    /// costs the same however many entries there are.
    fn make_room(
        &mut self,
        key: &str,
        wanted: usize,
        now: Instant,
        bytes_max: usize,
    ) -> Result<(), KvError> {
        // What the key holds now is replaced, unless it is among those that go first.
        while self.bytes - self.entries.get(key).map_or(0, |old| cost(key, &old.value)) + wanted
            > bytes_max
        {
            match self.expiring.first() {
                Some((at, key)) if *at <= now => {
                    let key = Arc::clone(key);
                    self.remove(&key);
                }
                _ => return Err(KvError::Full),
            }
        }
        Ok(())
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
        let wanted = cost(key, &value);
        self.make_room(key, wanted, now, bytes_max)?;
        self.remove(key);
        let key: Arc<str> = key.into();
        self.bytes += wanted;
        if let Some(at) = expires {
            self.expiring.insert((at, Arc::clone(&key)));
        }
        self.entries.insert(key, Entry { value, expires });
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

    /// The bound is far above what a constant per refusal takes, and far below 30,000 walks over
    /// 30,000 entries.
    #[test]
    fn h23_a_full_store_refuses_without_looking_at_every_entry() {
        let kv = Kv::default();
        let now = Instant::now();
        let later = now + Duration::from_mins(1);
        let count: usize = 30_000;
        let bytes_max = count * cost("000000", &[]);
        for number in 0..count {
            let expires = (number % 2 == 0).then_some(later);
            kv.set(&format!("{number:06}"), Vec::new(), expires, now, bytes_max).unwrap();
        }
        let began = Instant::now();
        for number in 0..count {
            let refused = kv.set(&format!("x{number:05}"), Vec::new(), None, now, bytes_max);
            assert_eq!(refused, Err(KvError::Full));
        }
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        // An expired entry makes room for one, and no more than that goes.
        kv.set("x00000", Vec::new(), None, later, bytes_max).unwrap();
        assert_eq!(kv.bytes(), bytes_max);
        assert_eq!(kv.lock().expiring.len(), count / 2 - 1);
        // Replacing and deleting keep both indexes together.
        kv.set("000002", vec![0; 1], None, later, bytes_max).unwrap();
        assert!(kv.delete("000002", later));
        let inner = kv.lock();
        assert!(inner.expiring.iter().all(|(_, key)| inner.entries.contains_key(key)));
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
