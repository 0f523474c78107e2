//! A bounded cache of tokens that have been checked.
//!
//! Set-associative: a token can only be in one of four neighbouring slots, chosen by its last
//! eight characters, which are the end of its signature. A lookup is then one comparison of
//! eight bytes a slot, and one of the whole token where they agree. Only tokens with a good
//! signature come in, so nobody can crowd a set with made-up ones, and to learn anything from
//! the time that the whole comparison takes, one would first have to guess those characters.

use crate::{routes::Scopes, token::Verified};

const WAYS: usize = 4;

/// What one entry takes besides its strings.
const ENTRY_BYTES: usize = size_of::<Entry>();

#[derive(Debug)]
struct Entry {
    tag: u64,
    token: Box<[u8]>,
    checked: Checked,
    until_us: u64,
    used: u64,
}

/// A token's content, with its scopes as the route table knows them.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) verified: Verified,
    pub(crate) scopes: Scopes,
    /// The revision of the set of revoked ids at which it had none of the token's.
    pub(crate) not_revoked_at: Option<u64>,
}

impl Entry {
    fn bytes(&self) -> usize {
        let caller = &self.checked.verified.caller;
        let user_id = caller.user_id.as_ref().map_or(0, String::len);
        let ids = self.checked.verified.ids.iter().map(|id| size_of::<String>() + id.len());
        ENTRY_BYTES
            + self.token.len()
            + user_id
            + caller.client_id.len()
            + caller.scopes.len()
            + ids.sum::<usize>()
    }
}

/// The cache. At most `entries` tokens of at most `bytes` together.
#[derive(Debug)]
pub(crate) struct Cache {
    slots: Vec<Option<Box<Entry>>>,
    ways: usize,
    bytes: usize,
    bytes_max: usize,
    /// Counts lookups, to tell which entry of a set was used last.
    ticks: u64,
    /// Where the search for entries to drop goes on when the bytes are used up.
    hand: usize,
}

impl Cache {
    /// With `entries` 0 nothing is ever kept.
    pub(crate) fn new(entries: usize, bytes_max: usize) -> Self {
        let ways = entries.min(WAYS);
        // The largest power of two of sets that stays within the bound.
        let sets = entries.checked_div(ways).map_or(0, |sets| 1 << sets.ilog2());
        let mut slots = Vec::new();
        slots.resize_with(sets * ways, || None);
        Self { slots, ways, bytes: 0, bytes_max, ticks: 0, hand: 0 }
    }

    /// What is known about `token`, if it still counts at `now_us`.
    pub(crate) fn get(&mut self, token: &[u8], now_us: u64) -> Option<&mut Checked> {
        let (tag, first) = self.place(token)?;
        self.ticks += 1;
        let ticks = self.ticks;
        let entry =
            self.slots.get_mut(first..first + self.ways)?.iter_mut().flatten().find(|entry| {
                entry.tag == tag && same(&entry.token, token) && now_us < entry.until_us
            })?;
        entry.used = ticks;
        Some(&mut entry.checked)
    }

    /// Remembers a token until `until_us`, in place of the entry of its set that is out of date
    /// or was not used for longest.
    pub(crate) fn insert(&mut self, token: &[u8], checked: Checked, now_us: u64, until_us: u64) {
        let Some((tag, first)) = self.place(token) else {
            return;
        };
        if until_us <= now_us {
            return;
        }
        self.ticks += 1;
        let entry =
            Box::new(Entry { tag, token: token.into(), checked, until_us, used: self.ticks });
        let bytes = entry.bytes();
        if bytes > self.bytes_max {
            return;
        }
        let rank = |slot: &Option<Box<Entry>>| match slot {
            Some(entry) if entry.tag == tag && entry.token.as_ref() == token => (0, 0),
            None => (1, 0),
            Some(entry) if entry.until_us <= now_us => (2, 0),
            Some(entry) => (3, entry.used),
        };
        let set = self.slots.get(first..first + self.ways).unwrap_or_default();
        let Some((way, _)) = set.iter().enumerate().min_by_key(|(_, slot)| rank(slot)) else {
            return;
        };
        self.drop_slot(first + way);
        while self.bytes + bytes > self.bytes_max {
            self.hand = (self.hand + 1) % self.slots.len();
            self.drop_slot(self.hand);
        }
        if let Some(slot) = self.slots.get_mut(first + way) {
            self.bytes += bytes;
            *slot = Some(entry);
        }
    }

    fn drop_slot(&mut self, index: usize) {
        if let Some(entry) = self.slots.get_mut(index).and_then(Option::take) {
            self.bytes -= entry.bytes();
        }
    }

    /// A token's tag and the first slot of its set; none for what cannot be a token.
    fn place(&self, token: &[u8]) -> Option<(u64, usize)> {
        let sets = self.slots.len().checked_div(self.ways)?;
        let tag = u64::from_le_bytes(*token.last_chunk()?);
        // Fibonacci hashing: letters differ in few bits, so that all are mixed into the top.
        let mixed = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let set = usize::try_from(mixed).unwrap_or_default() & (sets - 1);
        Some((tag, set * self.ways))
    }
}

/// Compares eight bytes at a time: the C library's `memcmp`, which `==` means on wasm, takes one
/// at a time, and tokens are long.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    let equal = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*a) == u64::from_le_bytes(*b);
    a.len() == b.len() && a_words.iter().zip(b_words).all(equal) && a_rest == b_rest
}

#[cfg(test)]
mod tests {
    use pillion_plugin::Caller;

    use super::*;
    use crate::routes::Kind;

    fn checked(client_id: &str) -> Checked {
        let caller =
            Caller { user_id: None, client_id: client_id.to_owned(), scopes: String::new() };
        let kind = Kind::App { scoped: false };
        let verified = Verified { caller, kind, expires_us: 0, ids: vec!["1".to_owned()] };
        Checked { verified, scopes: Scopes::default(), not_revoked_at: None }
    }

    fn token(number: usize) -> Vec<u8> {
        format!("header.claims.signature{:08x}", number.wrapping_mul(2_654_435_761) & 0xffff_ffff)
            .into_bytes()
    }

    fn found(cache: &mut Cache, token: &[u8], now_us: u64) -> Option<String> {
        cache.get(token, now_us).map(|checked| checked.verified.caller.client_id.clone())
    }

    #[test]
    fn finds_exactly_the_token_until_its_time() {
        let mut cache = Cache::new(8, 1 << 20);
        cache.insert(b"a.b.12345678", checked("one"), 0, 100);
        assert_eq!(found(&mut cache, b"a.b.12345678", 99).as_deref(), Some("one"));
        assert_eq!(found(&mut cache, b"a.b.12345678", 100), None);
        assert_eq!(found(&mut cache, b"x.b.12345678", 50), None, "same end, other token");
        assert_eq!(found(&mut cache, b"12345678", 50), None);
        assert_eq!(found(&mut cache, b"short", 50), None);
    }

    #[test]
    fn tokens_are_compared_to_the_last_byte() {
        let token = token(7);
        assert!(same(&token, &token.clone()));
        for index in 0..token.len() {
            let mut other = token.clone();
            other[index] ^= 1;
            assert!(!same(&token, &other), "byte {index}");
            assert!(!same(&token, &token[..index]));
        }
    }

    #[test]
    fn a_token_seen_again_takes_its_old_place() {
        let mut cache = Cache::new(8, 1 << 20);
        cache.insert(&token(1), checked("old"), 0, 10);
        cache.insert(&token(1), checked("new"), 20, 100);
        assert_eq!(found(&mut cache, &token(1), 50).as_deref(), Some("new"));
        assert_eq!(cache.slots.iter().flatten().count(), 1);
    }

    #[test]
    fn the_one_not_used_for_longest_goes() {
        let mut cache = Cache::new(4, 1 << 20);
        for number in 0..4 {
            cache.insert(&token(number), checked("x"), 0, 100);
        }
        for number in [1, 2, 3, 0, 2] {
            assert!(cache.get(&token(number), 1).is_some());
        }
        cache.insert(&token(4), checked("x"), 0, 100);
        assert!(cache.get(&token(1), 1).is_none());
        for number in [0, 2, 3, 4] {
            assert!(cache.get(&token(number), 1).is_some());
        }
    }

    #[test]
    fn what_is_out_of_date_goes_first() {
        let mut cache = Cache::new(4, 1 << 20);
        for number in 0..4 {
            cache.insert(&token(number), checked("x"), 0, if number == 3 { 10 } else { 100 });
        }
        cache.insert(&token(4), checked("x"), 20, 100);
        for number in [0, 1, 2, 4] {
            assert!(cache.get(&token(number), 21).is_some());
        }
    }

    #[test]
    fn entries_and_bytes_stay_within_their_bounds() {
        for (entries, bytes_max) in
            [(0, 1 << 20), (1, 1 << 20), (3, 1 << 20), (100, 1 << 20), (1_000, 4_096)]
        {
            let mut cache = Cache::new(entries, bytes_max);
            for number in 0..5_000 {
                cache.insert(&token(number), checked("client"), 0, 100);
                assert!(cache.bytes <= bytes_max);
                assert_eq!(
                    cache.get(&token(number), 1).is_some(),
                    entries > 0,
                    "{entries} entries"
                );
            }
            let kept: Vec<_> = cache.slots.iter().flatten().collect();
            assert!(kept.len() <= entries);
            assert_eq!(cache.bytes, kept.iter().map(|entry| entry.bytes()).sum::<usize>());
        }
    }

    #[test]
    fn one_that_would_take_all_bytes_is_not_kept() {
        let mut cache = Cache::new(4, 300);
        cache.insert(&[b'a'; 400], checked("x"), 0, 100);
        assert!(cache.get(&[b'a'; 400], 1).is_none());
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn most_of_the_room_is_used() {
        let mut cache = Cache::new(1_024, 1 << 20);
        for number in 0..512 {
            cache.insert(&token(number), checked("x"), 0, 100);
        }
        let kept = (0..512).filter(|number| cache.get(&token(*number), 1).is_some()).count();
        assert!(kept > 480, "{kept} of 512 in 1024 slots");
    }
}
