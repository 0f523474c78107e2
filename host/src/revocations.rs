//! Ids of access tokens that were revoked before they expired.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

/// The most ids that are kept. An id and its entry take some 100 bytes.
pub const REVOCATIONS_MAX: usize = 200_000;

/// A set of revoked ids, each kept until the tokens that carry it have expired. Clones share it.
///
/// Reads are lock-free. A write copies the set, so writers batch their changes.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Grows after each change of the set, never before it: a reader that loads the revision
    /// first and the set afterwards sees a set that is at least as new.
    revision: AtomicU64,
    ids: ArcSwap<HashMap<Arc<str>, u64>>,
}

/// More ids than [`REVOCATIONS_MAX`]; those beyond it were not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the set of revoked tokens is full: {REVOCATIONS_MAX} ids; {dropped} were not added")]
pub struct RevocationsFull {
    /// Ids that were not added.
    pub dropped: usize,
}

impl Revocations {
    /// Adds ids, each with the time until which it is kept, in seconds since 1970, and drops those
    /// whose time is over at `now_s`.
    ///
    /// # Errors
    /// When the set is full; what fits has been added.
    pub fn add(
        &self,
        ids: impl IntoIterator<Item = (String, u64)>,
        now_s: u64,
    ) -> Result<(), RevocationsFull> {
        let current = self.0.ids.load();
        let kept = current.iter().filter(|(_, until)| **until > now_s);
        self.publish(kept.map(|(id, until)| (Arc::clone(id), *until)).collect(), ids, now_s)
    }

    /// Replaces the whole set.
    ///
    /// # Errors
    /// When the set is full; what fits is in it.
    pub fn replace(
        &self,
        ids: impl IntoIterator<Item = (String, u64)>,
        now_s: u64,
    ) -> Result<(), RevocationsFull> {
        self.publish(HashMap::new(), ids, now_s)
    }

    fn publish(
        &self,
        mut set: HashMap<Arc<str>, u64>,
        ids: impl IntoIterator<Item = (String, u64)>,
        now_s: u64,
    ) -> Result<(), RevocationsFull> {
        let mut dropped = 0;
        for (id, until) in ids.into_iter().filter(|(_, until)| *until > now_s) {
            if set.len() >= REVOCATIONS_MAX && !set.contains_key(id.as_str()) {
                dropped += 1;
                continue;
            }
            let kept = set.entry(id.into()).or_default();
            *kept = until.max(*kept);
        }
        self.0.ids.store(Arc::new(set));
        self.0.revision.fetch_add(1, Ordering::Release);
        if dropped == 0 { Ok(()) } else { Err(RevocationsFull { dropped }) }
    }

    /// How many ids are in the set.
    pub fn len(&self) -> usize {
        self.0.ids.load().len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an id is revoked.
    pub fn contains(&self, id: &str) -> bool {
        self.0.ids.load().contains_key(id)
    }

    /// The number of changes so far.
    pub fn revision(&self) -> u64 {
        self.0.revision.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[(&str, u64)]) -> Vec<(String, u64)> {
        ids.iter().map(|(id, until)| ((*id).to_owned(), *until)).collect()
    }

    #[test]
    fn i04_an_id_is_revoked_until_its_time_is_over() {
        let revocations = Revocations::default();
        assert_eq!((revocations.revision(), revocations.is_empty()), (0, true));
        revocations.add(ids(&[("a", 100), ("b", 50), ("late", 10)]), 10).unwrap();
        assert_eq!(revocations.revision(), 1);
        assert!(revocations.contains("a") && revocations.contains("b"));
        assert!(!revocations.contains("late") && !revocations.contains("c"));
        // A later entry for the same id only extends it.
        revocations.add(ids(&[("c", 200), ("a", 90)]), 60).unwrap();
        assert_eq!((revocations.revision(), revocations.len()), (2, 2));
        revocations.add(ids(&[]), 95).unwrap();
        assert!(revocations.contains("a"));
        revocations.replace(ids(&[("d", 200)]), 95).unwrap();
        assert_eq!((revocations.len(), revocations.contains("d")), (1, true));
    }

    #[test]
    fn i04_a_full_set_keeps_what_it_has_and_reports_the_rest() {
        let revocations = Revocations::default();
        let all = (0..REVOCATIONS_MAX + 3).map(|id| (id.to_string(), 10));
        assert_eq!(revocations.add(all, 0), Err(RevocationsFull { dropped: 3 }));
        assert_eq!(revocations.len(), REVOCATIONS_MAX);
        assert!(revocations.contains("0"));
        // What has expired makes room.
        revocations.add(ids(&[("new", 20)]), 10).unwrap();
        assert_eq!((revocations.len(), revocations.contains("new")), (1, true));
    }
}
