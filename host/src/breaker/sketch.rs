//! About how many distinct clients: linear counting in 4,096 bits. Exact enough up to some ten
//! thousand, and 512 bytes whatever comes.

use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 64;
const BITS: f64 = 4_096.0;

fn place(hash: u64) -> (usize, u64) {
    let word = usize::try_from(hash >> 6).unwrap_or_default() % WORDS;
    (word, 1 << (hash & 63))
}

/// A set of hashes.
#[derive(Clone, Debug)]
pub(super) struct Sketch([u64; WORDS]);

impl Default for Sketch {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl Sketch {
    pub(super) fn insert(&mut self, hash: u64) {
        let (word, bit) = place(hash);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
        union
    }

    /// The number of distinct hashes, rounded.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and some ten thousand"
    )]
    pub(super) fn estimate(&self) -> u64 {
        let set: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        let free = (BITS - f64::from(set)).max(1.0);
        (BITS * (BITS / free).ln()).round() as u64
    }
}

/// A set of hashes that many threads add to.
#[derive(Debug)]
pub(super) struct AtomicSketch([AtomicU64; WORDS]);

impl Default for AtomicSketch {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }
}

impl AtomicSketch {
    /// One load when it is there already.
    #[inline]
    pub(super) fn insert(&self, hash: u64) {
        let (word, bit) = place(hash);
        if let Some(word) = self.0.get(word)
            && word.load(Ordering::Relaxed) & bit == 0
        {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub(super) fn load(&self) -> Sketch {
        let mut sketch = Sketch::default();
        for (to, from) in sketch.0.iter_mut().zip(&self.0) {
            *to = from.load(Ordering::Relaxed);
        }
        sketch
    }

    pub(super) fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn distinct_clients_are_estimated() {
        let hasher = RandomState::new();
        let mut sketch = Sketch::default();
        assert_eq!(sketch.estimate(), 0);
        for (until, least, most) in [(1, 1, 1), (5, 4, 5), (100, 90, 110), (10_000, 9_000, 11_000)]
        {
            for client in 0..until {
                sketch.insert(hasher.hash_one(client));
                sketch.insert(hasher.hash_one(client));
            }
            let estimate = sketch.estimate();
            assert!((least..=most).contains(&estimate), "{until}: {estimate}");
        }
    }
}
