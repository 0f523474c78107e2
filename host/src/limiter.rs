//! Rate limiting: how a take is judged, wherever the state is kept; and the state in the host's
//! memory, exact under concurrency and outliving swaps.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Locks that keys are spread over, so that two workers seldom meet.
pub(crate) const SHARDS: usize = 16;

/// A shard smaller than this is not swept.
const SWEEP_KEYS_MIN: usize = 1_024;

/// How long a full shard rests after a sweep, for each key that was left: a hundred times what
/// looking at one takes, so that refusing costs a constant, however many keys there are. A shard
/// of 62,500 keys looks for expired ones eight times a second.
const SWEEP_REST_NS_PER_KEY: u64 = 2_000;

/// Longest key.
const KEY_BYTES_MAX: usize = 256;

/// The answer to a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) remaining: u32,
    /// Until the full quota is there again.
    pub(crate) reset: Duration,
    /// Until this take would have been allowed.
    pub(crate) retry_after: Duration,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimiterError {
    BadKey,
    BadQuota,
    Full,
}

/// A bucket that fills at a steady rate: the virtual scheduling form of the generic cell rate
/// algorithm (ITU-T I.371, annex A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Nanoseconds from one conforming take to the next at the steady rate.
    pub(crate) increment: u64,
    /// Nanoseconds by which takes may be ahead of that rate.
    pub(crate) capacity: u64,
}

impl Bucket {
    /// One of `burst` that fills at `burst` per `period`.
    pub(crate) fn new(burst: u32, period: Duration) -> Result<Self, LimiterError> {
        let period = nanos(period);
        // Rounded up: never more than `burst` in a period.
        let Some(increment) = period
            .checked_add(u64::from(burst))
            .and_then(|sum| (sum - 1).checked_div(u64::from(burst)))
        else {
            return Err(LimiterError::BadQuota);
        };
        if increment == 0 || period == 0 {
            return Err(LimiterError::BadQuota);
        }
        Ok(Self { increment, capacity: increment.saturating_mul(u64::from(burst)) })
    }

    /// Takes one at `now`. `arrival` is when the next take was due so far; the second answer is
    /// when it is due from now on, and nothing when this one was refused.
    #[inline]
    pub(crate) fn take(self, arrival: Option<u64>, now: u64) -> (Verdict, Option<u64>) {
        let Self { increment, capacity } = self;
        let arrival = arrival.map_or(now, |arrival| arrival.max(now));
        let next = arrival.saturating_add(increment);
        let allowed = next - now <= capacity;
        let filled = if allowed { next } else { arrival };
        let verdict = Verdict {
            allowed,
            remaining: u32::try_from(capacity.saturating_sub(filled - now) / increment)
                .unwrap_or(u32::MAX),
            reset: Duration::from_nanos(filled - now),
            retry_after: Duration::from_nanos(if allowed { 0 } else { next - now - capacity }),
        };
        (verdict, allowed.then_some(next))
    }
}

/// So many in a stretch of time that begins with the first take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) limit: u32,
    /// In nanoseconds.
    pub(crate) length: u64,
}

impl Window {
    pub(crate) fn new(limit: u32, length: Duration) -> Result<Self, LimiterError> {
        if limit == 0 || length.is_zero() {
            return Err(LimiterError::BadQuota);
        }
        Ok(Self { limit, length: nanos(length) })
    }

    /// Takes one at `now`. `running` is when the last window began and what was taken from it;
    /// the second answer is what both are from now on, and nothing when this one was refused.
    #[inline]
    pub(crate) fn take(
        self,
        running: Option<(u64, u32)>,
        now: u64,
    ) -> (Verdict, Option<(u64, u32)>) {
        // A changed configuration changes the running window's length too.
        let (start, taken) = running
            .filter(|(start, _)| now < start.saturating_add(self.length))
            .unwrap_or((now, 0));
        let allowed = taken < self.limit;
        let taken = taken + u32::from(allowed);
        let left = Duration::from_nanos(start.saturating_add(self.length) - now);
        let verdict = Verdict {
            allowed,
            remaining: self.limit.saturating_sub(taken),
            reset: left,
            retry_after: if allowed { Duration::ZERO } else { left },
        };
        (verdict, allowed.then_some((start, taken)))
    }
}

/// What a take is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quota {
    Bucket(Bucket),
    Window(Window),
}

/// What a key holds: a bucket, a window, or both; as on every backend, one does not affect the
/// other. Times are nanoseconds since the limiter was made.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// The theoretical arrival time of the bucket's next conforming take.
    arrival: Option<u64>,
    window: Option<RunningWindow>,
}

#[derive(Clone, Copy, Debug)]
struct RunningWindow {
    start: u64,
    end: u64,
    taken: u32,
}

impl Cell {
    fn is_empty(self) -> bool {
        self.arrival.is_none() && self.window.is_none()
    }

    fn expires(self) -> u64 {
        self.arrival.unwrap_or(0).max(self.window.map_or(0, |window| window.end))
    }
}

#[derive(Debug, Default)]
struct Shard {
    cells: HashMap<Box<str>, Cell>,
    /// The size at which expired cells are looked for next; twice what was left last time, so
    /// that sweeping costs a constant per insertion.
    sweep_at: usize,
    /// While the shard is full, the time from which on expired cells are looked for again.
    sweep_after: u64,
    /// The latest time that any take has brought. Each thread reads the clock before it waits for
    /// the lock, so that takes may come in another order than their times.
    latest: u64,
}

/// Buckets and windows of one plugin by key.
#[derive(Debug)]
pub(crate) struct Limiter {
    origin: Instant,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

impl Limiter {
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Keys that are held.
    pub(crate) fn keys(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).cells.len())
            .sum()
    }

    /// Takes one from a bucket of `burst` that fills at `burst` per `period`.
    pub(crate) fn gcra(
        &self,
        key: &str,
        burst: u32,
        period: Duration,
        now: Instant,
        keys_max: usize,
    ) -> Result<Verdict, LimiterError> {
        let bucket = Bucket::new(burst, period)?;
        self.take(key, Quota::Bucket(bucket), now, keys_max)
    }

    /// Takes one of `limit` in a window of `length` that begins with the key's first take.
    pub(crate) fn window(
        &self,
        key: &str,
        limit: u32,
        length: Duration,
        now: Instant,
        keys_max: usize,
    ) -> Result<Verdict, LimiterError> {
        let window = Window::new(limit, length)?;
        self.take(key, Quota::Window(window), now, keys_max)
    }

    /// Takes one of a quota.
    #[inline]
    pub(crate) fn take(
        &self,
        key: &str,
        quota: Quota,
        now: Instant,
        keys_max: usize,
    ) -> Result<Verdict, LimiterError> {
        let now = nanos(now.saturating_duration_since(self.origin));
        match quota {
            Quota::Bucket(bucket) => self.with_cell(key, now, keys_max, |cell, now| {
                let (verdict, taken) = bucket.take(cell.arrival, now);
                cell.arrival = taken.or(cell.arrival);
                verdict
            }),
            Quota::Window(window) => self.with_cell(key, now, keys_max, |cell, now| {
                let running = cell.window.map(|running| (running.start, running.taken));
                let (verdict, changed) = window.take(running, now);
                if let Some((start, taken)) = changed {
                    let end = start.saturating_add(window.length);
                    cell.window = Some(RunningWindow { start, end, taken });
                }
                verdict
            }),
        }
    }

    fn with_cell<T>(
        &self,
        key: &str,
        now: u64,
        keys_max: usize,
        take: impl FnOnce(&mut Cell, u64) -> T,
    ) -> Result<T, LimiterError> {
        check_key(key)?;
        let place = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let shard = self.shards.get(place).ok_or(LimiterError::BadKey)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.max(shard.latest);
        shard.latest = now;
        if let Some(cell) = shard.cells.get_mut(key) {
            return Ok(take(cell, now));
        }
        shard.make_room(now, keys_max / SHARDS)?;
        let mut cell = Cell::default();
        let answer = take(&mut cell, now);
        if !cell.is_empty() {
            shard.cells.insert(key.into(), cell);
        }
        Ok(answer)
    }
}

pub(crate) fn check_key(key: &str) -> Result<(), LimiterError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX { Err(LimiterError::BadKey) } else { Ok(()) }
}

impl Shard {
    fn make_room(&mut self, now: u64, keys_max: usize) -> Result<(), LimiterError> {
        let sweep_at = self.sweep_at.max(SWEEP_KEYS_MIN).min(keys_max);
        if self.cells.len() >= sweep_at && now >= self.sweep_after {
            self.cells.retain(|_, cell| cell.expires() > now);
            self.sweep_at = self.cells.len() * 2;
            self.sweep_after = now + self.cells.len() as u64 * SWEEP_REST_NS_PER_KEY;
        }
        if self.cells.len() < keys_max.max(1) { Ok(()) } else { Err(LimiterError::Full) }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: usize = 1 << 20;

    #[test]
    fn gcra_admits_the_burst_then_the_rate() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let take = |ms| {
            limiter
                .gcra("k", 3, Duration::from_secs(3), start + Duration::from_millis(ms), KEYS)
                .unwrap()
        };
        assert_eq!(
            [take(0), take(0), take(0)].map(|v| (v.allowed, v.remaining)),
            [(true, 2), (true, 1), (true, 0)]
        );
        let refused = take(0);
        assert!(!refused.allowed);
        assert_eq!(refused.retry_after, Duration::from_secs(1));
        assert_eq!(refused.reset, Duration::from_secs(3));
        assert!(!take(999).allowed);
        assert!(take(1_000).allowed);
        assert!(!take(1_000).allowed, "one a second, not more");
    }

    #[test]
    fn a_window_begins_with_the_first_take_and_ends_whole() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let take = |ms, limit| {
            limiter
                .window(
                    "k",
                    limit,
                    Duration::from_secs(10),
                    start + Duration::from_millis(ms),
                    KEYS,
                )
                .unwrap()
        };
        assert_eq!(take(5_000, 2).remaining, 1);
        assert_eq!(take(6_000, 2).remaining, 0);
        let refused = take(14_000, 2);
        assert!(!refused.allowed);
        assert_eq!(refused.retry_after, Duration::from_secs(1));
        assert!(take(15_000, 2).allowed);
        // A stricter limit applies to the running window: what was taken stays taken.
        assert!(!take(15_001, 1).allowed);
    }

    /// A take of the random schedules below: key, time since the last one in milliseconds, and
    /// whether it is of a bucket.
    type Step = (u8, u64, bool);

    /// What the limits mean, said without a theoretical arrival time and without windows that
    /// move: from the list of everything that was admitted.
    struct Oracle {
        admitted: Vec<(u8, bool, u64)>,
        tokens: HashMap<u8, (u64, u64)>,
        windows: HashMap<u8, (u64, u32)>,
    }

    const BURST: u32 = 7;
    const INCREMENT_MS: u64 = 130;
    const LIMIT: u32 = 5;
    const WINDOW_MS: u64 = 900;

    impl Oracle {
        /// Tokens are counted in milliseconds of refill, so that nothing is rounded.
        fn bucket(&mut self, key: u8, now: u64) -> bool {
            let full = u64::from(BURST) * INCREMENT_MS;
            let (level, at) = self.tokens.get(&key).copied().unwrap_or((full, now));
            let level = (level + now - at).min(full);
            let allowed = level >= INCREMENT_MS;
            let left = if allowed { level - INCREMENT_MS } else { level };
            self.tokens.insert(key, (left, now));
            allowed
        }

        fn window(&mut self, key: u8, now: u64) -> bool {
            let (began, taken) = self.windows.get(&key).copied().unwrap_or((now, 0));
            let (began, taken) = if now >= began + WINDOW_MS { (now, 0) } else { (began, taken) };
            let allowed = taken < LIMIT;
            self.windows.insert(key, (began, taken + u32::from(allowed)));
            allowed
        }

        /// Admitted ≤ burst + rate × time, between any two admitted takes of a bucket.
        fn assert_never_more_than_the_rate(&self) {
            for key in 0..4 {
                let of = |(found, bucket, at): &(u8, bool, u64)| {
                    (*found == key && *bucket).then_some(*at)
                };
                let times: Vec<u64> = self.admitted.iter().filter_map(of).collect();
                for (first, begin) in times.iter().enumerate() {
                    for (last, end) in times.iter().enumerate().skip(first) {
                        let count = (last - first + 1) as u64;
                        assert!(count <= u64::from(BURST) + (end - begin) / INCREMENT_MS);
                    }
                }
            }
        }
    }

    fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
        use proptest::prelude::*;
        let pause =
            prop_oneof![4 => Just(0_u64), 3 => 1_u64..130, 2 => 100_u64..1_000, 1 => 0_u64..5_000];
        proptest::collection::vec((0_u8..4, pause, any::<bool>()), 1..200)
    }

    proptest::proptest! {
        #[test]
        fn p16_takes_are_judged_as_the_oracle_judges_them(steps in steps()) {
            let start = Instant::now();
            let limiter = Limiter::new(start);
            let mut oracle = Oracle {
                admitted: Vec::new(),
                tokens: HashMap::new(),
                windows: HashMap::new(),
            };
            let mut now = 0;
            for (key, pause, of_bucket) in steps {
                now += pause;
                let at = start + Duration::from_millis(now);
                let period = Duration::from_millis(INCREMENT_MS * u64::from(BURST));
                let length = Duration::from_millis(WINDOW_MS);
                let (verdict, expected) = if of_bucket {
                    let verdict = limiter.gcra(&format!("k{key}"), BURST, period, at, KEYS);
                    (verdict.unwrap(), oracle.bucket(key, now))
                } else {
                    let verdict = limiter.window(&format!("k{key}"), LIMIT, length, at, KEYS);
                    (verdict.unwrap(), oracle.window(key, now))
                };
                proptest::prop_assert_eq!(verdict.allowed, expected, "{} {}", now, of_bucket);
                if verdict.allowed {
                    oracle.admitted.push((key, of_bucket, now));
                } else {
                    // Exactly when the oracle would admit it, and not a moment before.
                    let retry = u64::try_from(verdict.retry_after.as_millis()).unwrap();
                    proptest::prop_assert!(retry > 0);
                    let mut later = Oracle {
                        admitted: Vec::new(),
                        tokens: oracle.tokens.clone(),
                        windows: oracle.windows.clone(),
                    };
                    let judge = |oracle: &mut Oracle, at| {
                        if of_bucket { oracle.bucket(key, at) } else { oracle.window(key, at) }
                    };
                    proptest::prop_assert!(!judge(&mut later, now + retry - 1));
                    proptest::prop_assert!(judge(&mut later, now + retry));
                }
            }
            oracle.assert_never_more_than_the_rate();
        }
    }

    #[test]
    fn exact_when_many_threads_take_at_once() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1_000)
                            .filter(|_| {
                                limiter
                                    .window("k", 777, Duration::from_mins(15), start, KEYS)
                                    .unwrap()
                                    .allowed
                            })
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 777);
    }

    #[test]
    fn keys_are_bounded_and_expired_ones_make_room() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let keys_max = SHARDS * 4;
        let take =
            |n: usize, at| limiter.gcra(&n.to_string(), 1, Duration::from_secs(1), at, keys_max);
        let refused = (0..1_000).filter(|n| take(*n, start) == Err(LimiterError::Full)).count();
        assert!(refused >= 1_000 - keys_max, "{refused}");
        assert!(limiter.keys() <= keys_max);
        assert!(take(5_000, start + Duration::from_secs(2)).unwrap().allowed);
    }

    /// As for `kv`: a walk over all keys for each refused take would hold the shard's lock.
    #[test]
    fn h23_a_full_limiter_refuses_without_looking_at_every_key() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let keys_max = SHARDS * 5_000;
        let hour = Duration::from_hours(1);
        let take = |n: usize, at| limiter.gcra(&n.to_string(), 1, hour, at, keys_max);
        let began = Instant::now();
        let refused =
            (0..keys_max * 3).filter(|n| take(*n, start) == Err(LimiterError::Full)).count();
        assert!(refused > keys_max, "{refused}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(take(usize::MAX, start + hour + hour).is_ok(), "expired keys make room");
    }

    #[test]
    fn bad_input_is_refused() {
        let now = Instant::now();
        let limiter = Limiter::new(now);
        let second = Duration::from_secs(1);
        assert_eq!(limiter.gcra("", 1, second, now, KEYS), Err(LimiterError::BadKey));
        assert_eq!(limiter.gcra(&"k".repeat(257), 1, second, now, KEYS), Err(LimiterError::BadKey));
        assert_eq!(limiter.gcra("k", 0, second, now, KEYS), Err(LimiterError::BadQuota));
        assert_eq!(limiter.gcra("k", 1, Duration::ZERO, now, KEYS), Err(LimiterError::BadQuota));
        assert_eq!(limiter.window("k", 0, second, now, KEYS), Err(LimiterError::BadQuota));
    }
}
