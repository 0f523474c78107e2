//! Snowflake ids: 41 bits of milliseconds, 10 bits of node, 12 bits of sequence.

mod lease;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use lease::{LeaseError, NodeLease, SLOTS};
pub use pillion_events::{ID_MAX, IdError, TweetId, UserId};

use crate::clock::{Clock, Timestamp};
use crate::database::DatabaseError;

/// 2010-11-04T01:42:54.657Z in milliseconds since 1970: where the ids' time begins, for their
/// times are read out of them by clients that know X's ids.
const EPOCH_MS: u64 = 1_288_834_974_657;
const NODE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
/// Where the milliseconds stand in an id.
pub const TIME_SHIFT: u32 = NODE_BITS + SEQUENCE_BITS;
/// The largest number of a node.
pub const NODE_MAX: u16 = (1 << NODE_BITS) - 1;

/// Makes ids that are unique as long as no two running processes have the same node number,
/// and that only ever grow within a process, even when the clock goes back.
#[derive(Debug)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Milliseconds since the epoch and a sequence stand side by side here as in an id, but without
/// the node.
#[derive(Debug)]
struct State {
    node: u64,
    /// Of the last id. A sequence that is used up (4,096 in a millisecond) runs over into the next
    /// millisecond.
    last: u64,
    /// All ids are before this: 0 while there is no number.
    end: u64,
}

/// The node number does not fit its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node number is {0}; it must be at most {NODE_MAX}")]
pub struct NodeError(pub u16);

impl Ids {
    /// Ids of the node `node`, 0 to [`NODE_MAX`], for ever. For a process that has its database to
    /// itself; those that share one hold their numbers by [`NodeLease`].
    pub fn new(clock: Arc<dyn Clock>, node: u16) -> Result<Self, NodeError> {
        if node > NODE_MAX {
            return Err(NodeError(node));
        }
        let state = State { node: u64::from(node), last: 0, end: u64::MAX };
        Ok(Self { clock, state: Mutex::new(state) })
    }

    /// Without a number yet.
    fn without_node(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(State { node: 0, last: 0, end: 0 }) }
    }

    /// The next id's number. Fails only while the node number that this process held may be
    /// somebody else's, which is when its database could not be written for a while.
    pub fn next(&self) -> Result<u64, DatabaseError> {
        let now = self.clock.now().as_millis().saturating_sub(EPOCH_MS) << SEQUENCE_BITS;
        let mut state = self.state();
        let next = now.max(state.last + 1);
        if next >= state.end {
            return Err(DatabaseError::NoNode);
        }
        state.last = next;
        Ok(assemble(state.node, next))
    }

    /// The next user's id.
    pub fn user(&self) -> Result<UserId, DatabaseError> {
        self.next().map(UserId::generated)
    }

    /// The next tweet's id.
    pub fn tweet(&self) -> Result<TweetId, DatabaseError> {
        self.next().map(TweetId::generated)
    }

    /// Makes every later id larger than `id`. A service says this at start with the largest id
    /// that it has stored, for the clock may have gone back while it was down.
    pub fn start_after(&self, id: u64) {
        let time = id >> TIME_SHIFT;
        let mut state = self.state();
        // The whole millisecond counts as used: the id may come from a node with a larger number.
        state.last = state.last.max((time + 1) << SEQUENCE_BITS);
    }

    /// Ids of this node from now on, that tell times from `from_ms` to before `end_ms`, in
    /// milliseconds since 1970.
    fn hold(&self, node: u16, from_ms: i64, end_ms: i64) {
        let mut state = self.state();
        state.node = u64::from(node);
        // The first id is one more than the last.
        state.last = state.last.max(place_of(from_ms).saturating_sub(1));
        state.end = place_of(end_ms);
    }

    /// No ids until the next [`Ids::hold`].
    fn let_go(&self) {
        self.state().end = 0;
    }

    /// Nothing that holds the lock can leave it half-written.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn assemble(node: u64, time_and_sequence: u64) -> u64 {
    let time = time_and_sequence >> SEQUENCE_BITS;
    let sequence = time_and_sequence & ((1 << SEQUENCE_BITS) - 1);
    let id = time << TIME_SHIFT | node << SEQUENCE_BITS | sequence;
    // 41 bits of milliseconds last until 2080; the mask keeps the sign bit clear for ever.
    id & ID_MAX
}

/// Where a moment's first id stands.
fn place_of(ms_since_1970: i64) -> u64 {
    ms_since_1970.max(0).cast_unsigned().saturating_sub(EPOCH_MS) << SEQUENCE_BITS
}

/// The moment that an id tells. Ids that are not snowflakes tell 2010.
pub fn time_of(id: u64) -> Timestamp {
    let millis = (id >> TIME_SHIFT) + EPOCH_MS;
    Timestamp::from_micros(i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000))
}

/// The smallest id that tells this moment or a later one, to bound a list by time: ids tell whole
/// milliseconds.
pub fn first_id_at(at: Timestamp) -> i64 {
    let millis = at.as_micros().cast_unsigned().div_ceil(1_000);
    let since_epoch = u128::from(millis.saturating_sub(EPOCH_MS));
    // 41 bits of milliseconds reach into 2080; what is later is later than every id.
    i64::try_from(since_epoch << TIME_SHIFT).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::clock::FakeClock;

    fn ids(node: u16) -> (Arc<FakeClock>, Ids) {
        let clock = Arc::new(FakeClock::at("2021-11-15T19:08:05.000Z".parse().unwrap()));
        let ids = Ids::new(clock.clone(), node).unwrap();
        (clock, ids)
    }

    #[test]
    fn an_id_tells_its_time_and_node() {
        let (_, ids) = ids(5);
        let id = ids.next().unwrap();
        assert_eq!(time_of(id).to_string(), "2021-11-15T19:08:05.000Z");
        assert_eq!(id >> 12 & 1023, 5);
        assert_eq!(id & 4095, 0);
    }

    #[test]
    fn ids_grow_when_the_clock_stands_still_or_goes_back() {
        let (clock, ids) = ids(1);
        let mut last = ids.next().unwrap();
        for step in 0..10_000 {
            if step == 5_000 {
                clock.set("2020-01-01T00:00:00Z".parse().unwrap());
            }
            let next = ids.next().unwrap();
            assert!(next > last);
            assert_eq!(next >> 12 & 1023, 1);
            last = next;
        }
        clock.set("2021-11-15T19:08:06.000Z".parse().unwrap());
        clock.advance(Duration::from_secs(1));
        assert_eq!(time_of(ids.next().unwrap()).to_string(), "2021-11-15T19:08:07.000Z");
    }

    #[test]
    fn ids_grow_past_what_was_stored() {
        let (clock, ids) = ids(0);
        let (_, elsewhere) = (&clock, Ids::new(clock.clone(), NODE_MAX).unwrap());
        let stored = elsewhere.next().unwrap();
        clock.set("2020-01-01T00:00:00Z".parse().unwrap());
        ids.start_after(stored);
        assert!(ids.next().unwrap() > stored);
    }

    #[test]
    fn threads_never_get_the_same_id() {
        let (_, ids) = ids(2);
        let all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..5_000).map(|_| ids.next().unwrap()).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 20_000);
    }

    #[test]
    fn a_node_number_that_does_not_fit_is_refused() {
        let clock = Arc::new(FakeClock::at(Timestamp::from_micros(0)));
        assert_eq!(Ids::new(clock, 1024).unwrap_err(), NodeError(1024));
    }

    #[test]
    fn a_moment_begins_with_its_first_id() {
        let at = |text: &str| first_id_at(text.parse().unwrap());
        let first = at("2021-11-15T19:08:05.001Z");
        let time = |id: i64| time_of(id.cast_unsigned()).to_string();
        assert_eq!(time(first), "2021-11-15T19:08:05.001Z");
        assert_eq!(time(first - 1), "2021-11-15T19:08:05.000Z");
        // What is finer than a millisecond belongs to the next one.
        assert_eq!(at("2021-11-15T19:08:05.000001Z"), first);
        assert_eq!(at("1970-01-01T00:00:00Z"), 0);
        assert_eq!(at("9999-01-01T00:00:00Z"), i64::MAX);
    }
}
