//! Slows down who guesses passwords, without locking out who knows theirs.
//!
//! Two measures, both before the password is checked:
//!
//! * Per account and network (an IPv4 address, an IPv6 /64): after [`FREE`] wrong passwords each
//!   further one doubles the wait, up to [`WAIT_MAX`]. Only who shares the owner's network can make
//!   the owner wait by this, and only until the owner has logged in from there once.
//! * Per account over all other networks: a bucket that holds [`BUCKET`] wrong passwords and loses
//!   one each [`LEAK`]. While it is full, networks that the owner has not logged in from must wait
//!   for a place in it.
//!
//! A network from which a log-in to the account succeeded within [`KNOWN_FOR`] is not subject to the
//! second measure, and its own wrong passwords start from zero after each success: so the owner gets
//! in from where they usually are, whatever others try. Somebody at a new network, while the account
//! is being guessed from very many networks, may have to wait. All of this is kept in memory, by
//! each process for itself.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use pillion_chassis::{Problem, Timestamp};

/// Wrong passwords of one network that cost no wait: people mistype, and have several passwords.
const FREE: u32 = 5;
/// The longest wait of one network.
const WAIT_MAX: Duration = Duration::from_mins(15);
/// Wrong passwords of a network are forgotten after so long without another.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);
/// Wrong passwords over all networks at once.
const BUCKET: i64 = 100;
/// How long until there is room for another one: 120 an hour.
const LEAK: Duration = Duration::from_secs(30);
/// How long a network is known after a log-in.
const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);
/// Entries of each of the three tables, some 50 bytes each.
const ENTRIES_MAX: usize = 50_000;
/// The part of a full table that is dropped at once, the least recently used.
const DROPPED: usize = ENTRIES_MAX / 10;
/// The time between two lines in the log.
const LOG_EVERY_US: i64 = 1_000_000;

/// Counters of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThrottleMetrics {
    /// Wrong passwords.
    pub wrong_passwords: u64,
    /// Attempts refused because of earlier ones from the same network.
    pub refused_by_network: u64,
    /// Attempts refused because of earlier ones from many networks.
    pub refused_by_account: u64,
}

/// Somebody who shows a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    account: u64,
    pair: u64,
    network: Option<IpAddr>,
}

/// Counts wrong passwords.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    hasher: RandomState,
    state: Mutex<State>,
    wrong_passwords: AtomicU64,
    refused_by_network: AtomicU64,
    refused_by_account: AtomicU64,
    logged_at: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    pairs: HashMap<u64, Failures>,
    accounts: HashMap<u64, Bucket>,
    known: HashMap<u64, Timestamp>,
}

/// Of an account from one network.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// Of an account from all networks that it does not know.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: i64,
    at: Timestamp,
}

/// Who must wait, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttled {
    wait: Duration,
}

impl From<Throttled> for Problem {
    fn from(Throttled { wait }: Throttled) -> Self {
        let seconds = wait.as_secs().max(1);
        Self::plain(
            StatusCode::TOO_MANY_REQUESTS,
            format!("Too many wrong passwords for this account; try again in {seconds} s."),
        )
        .header(RETRY_AFTER, HeaderValue::from(seconds))
    }
}

impl Failures {
    fn wait_from(self, now: Timestamp) -> Duration {
        let over = self.count.saturating_sub(FREE);
        if over == 0 {
            return Duration::ZERO;
        }
        let wait = Duration::from_secs(1 << over.min(20)).min(WAIT_MAX);
        wait.saturating_sub(since(self.last, now))
    }
}

impl Bucket {
    /// What is left in it at `now`, in whole wrong passwords.
    fn leaked(self, now: Timestamp) -> Self {
        let passed = since(self.at, now).as_micros() / LEAK.as_micros();
        let gone = i64::try_from(passed).unwrap_or(i64::MAX).min(self.level);
        let at = if gone == self.level { now } else { later(self.at, LEAK, gone) };
        Self { level: self.level - gone, at }
    }
}

impl Throttle {
    /// Whoever tries a password for an account, whether or not there is such an account.
    pub(crate) fn attempt(&self, username: &str, address: Option<IpAddr>) -> Attempt {
        let account = self.hasher.hash_one(username.to_ascii_lowercase());
        let network = address.map(network);
        Attempt { account, pair: self.hasher.hash_one((account, network)), network }
    }

    /// Whether the attempt may be made now.
    pub(crate) fn check(&self, attempt: Attempt, now: Timestamp) -> Result<(), Throttled> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = state.pairs.get(&attempt.pair);
        let wait = failures.map_or(Duration::ZERO, |failures| failures.wait_from(now));
        if !wait.is_zero() {
            drop(state);
            self.refused_by_network.fetch_add(1, Ordering::Relaxed);
            self.log(attempt, wait, now);
            return Err(Throttled { wait });
        }
        let known = state.known.get(&attempt.pair).is_some_and(|at| since(*at, now) < KNOWN_FOR);
        let level = state.accounts.get(&attempt.account).map_or(0, |it| it.leaked(now).level);
        drop(state);
        if !known && level >= BUCKET {
            self.refused_by_account.fetch_add(1, Ordering::Relaxed);
            self.log(attempt, LEAK, now);
            return Err(Throttled { wait: LEAK });
        }
        Ok(())
    }

    /// The password was wrong.
    pub(crate) fn failed(&self, attempt: Attempt, now: Timestamp) {
        self.wrong_passwords.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { pairs, accounts, known } = &mut *state;
        make_room(pairs, attempt.pair, |failures| failures.last);
        let failures = pairs.entry(attempt.pair).or_insert(Failures { count: 0, last: now });
        if since(failures.last, now) >= FORGOTTEN_AFTER {
            failures.count = 0;
        }
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
        if !known.contains_key(&attempt.pair) {
            make_room(accounts, attempt.account, |bucket| bucket.at);
            let bucket = accounts.entry(attempt.account).or_insert(Bucket { level: 0, at: now });
            *bucket = bucket.leaked(now);
            bucket.level += 1;
        }
    }

    /// The password was right: the network is known from now on.
    pub(crate) fn succeeded(&self, attempt: Attempt, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pairs.remove(&attempt.pair);
        make_room(&mut state.known, attempt.pair, |at| *at);
        state.known.insert(attempt.pair, now);
    }

    pub(crate) fn metrics(&self) -> ThrottleMetrics {
        ThrottleMetrics {
            wrong_passwords: self.wrong_passwords.load(Ordering::Relaxed),
            refused_by_network: self.refused_by_network.load(Ordering::Relaxed),
            refused_by_account: self.refused_by_account.load(Ordering::Relaxed),
        }
    }

    /// At most a line a second, without the account: handles are in nobody's log.
    fn log(&self, attempt: Attempt, wait: Duration, now: Timestamp) {
        let (now, last) = (now.as_micros(), self.logged_at.load(Ordering::Relaxed));
        let due = now.saturating_sub(last) >= LOG_EVERY_US;
        let exchange =
            || self.logged_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
        if due && exchange().is_ok() {
            let ThrottleMetrics { wrong_passwords, refused_by_network, refused_by_account } =
                self.metrics();
            tracing::warn!(
                network = attempt.network.map(tracing::field::display),
                wait_s = wait.as_secs(),
                wrong_passwords,
                refused = refused_by_network + refused_by_account,
                "log-ins throttled after wrong passwords"
            );
        }
    }
}

/// Drops the least recently used of a full table before a new entry.
fn make_room<V>(table: &mut HashMap<u64, V>, key: u64, used: impl Fn(&V) -> Timestamp) {
    if table.len() < ENTRIES_MAX || table.contains_key(&key) {
        return;
    }
    let mut times: Vec<i64> = table.values().map(|value| used(value).as_micros()).collect();
    let (_, limit, _) = times.select_nth_unstable(DROPPED);
    let limit = *limit;
    table.retain(|_, value| used(value).as_micros() > limit);
}

/// Who shares it are one to us: a household's or a host's IPv6 addresses are without number.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    let passed = now.as_micros().saturating_sub(earlier.as_micros());
    Duration::from_micros(u64::try_from(passed).unwrap_or(0))
}

fn later(at: Timestamp, by: Duration, times: i64) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX).saturating_mul(times);
    Timestamp::from_micros(at.as_micros().saturating_add(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn from(throttle: &Throttle, address: &str) -> Attempt {
        throttle.attempt("ann", Some(address.parse().unwrap()))
    }

    /// Tries wrong passwords as fast as they are taken from `begin` to `end`; how many were.
    fn guess(throttle: &Throttle, attempt: Attempt, begin: i64, end: i64) -> u32 {
        let mut checked = 0;
        for second in begin..end {
            if throttle.check(attempt, at(second)).is_ok() {
                throttle.failed(attempt, at(second));
                checked += 1;
            }
        }
        checked
    }

    #[test]
    fn i05_six_hundred_guesses_from_three_addresses_are_not_checked() {
        let throttle = Throttle::default();
        for last in 1..=3 {
            let attempt = from(&throttle, &format!("192.0.2.{last}"));
            let checked = guess(&throttle, attempt, 1, 201);
            assert!((10..=13).contains(&checked), "{checked} of 200 in 200 s");
        }
        let metrics = throttle.metrics();
        assert_eq!(metrics.wrong_passwords + metrics.refused_by_network, 600);
        assert!(metrics.refused_by_network > 550);
    }

    #[test]
    fn i05_the_owner_is_not_locked_out_by_guesses_from_elsewhere() {
        let throttle = Throttle::default();
        let owner = from(&throttle, "198.51.100.7");
        assert_eq!(throttle.check(owner, at(0)), Ok(()));
        throttle.succeeded(owner, at(0));
        for host in 0..255 {
            for _ in 0..3 {
                let attempt = from(&throttle, &format!("203.0.113.{host}"));
                if throttle.check(attempt, at(1)).is_ok() {
                    throttle.failed(attempt, at(1));
                }
            }
        }
        assert_eq!(throttle.metrics().wrong_passwords, 100, "the bucket is full");
        assert!(throttle.check(from(&throttle, "203.0.113.254"), at(2)).is_err());
        // The owner mistypes, and gets in.
        for _ in 0..4 {
            assert_eq!(throttle.check(owner, at(2)), Ok(()));
            throttle.failed(owner, at(2));
        }
        assert_eq!(throttle.check(owner, at(2)), Ok(()));
        // Others get their turn as the bucket empties, and other accounts are not touched.
        assert_eq!(throttle.check(from(&throttle, "203.0.113.254"), at(32)), Ok(()));
        let other = throttle.attempt("bob", Some("203.0.113.1".parse().unwrap()));
        assert_eq!(throttle.check(other, at(2)), Ok(()));
    }

    #[test]
    fn i05_a_success_and_a_day_forgive() {
        let throttle = Throttle::default();
        let attempt = from(&throttle, "2001:db8::1");
        guess(&throttle, attempt, 0, 100);
        // The same /64, however it is written.
        assert!(throttle.check(from(&throttle, "2001:db8::2:3"), at(100)).is_err());
        assert!(throttle.check(from(&throttle, "2001:db8:0:1::1"), at(100)).is_ok());
        assert!(
            throttle
                .check(throttle.attempt("ANN", Some("2001:db8::5".parse().unwrap())), at(100))
                .is_err()
        );
        let day = 24 * 60 * 60;
        assert_eq!(throttle.check(attempt, at(day + 200)), Ok(()));
        throttle.failed(attempt, at(day + 200));
        assert_eq!(throttle.check(attempt, at(day + 200)), Ok(()), "counted from one again");
        throttle.succeeded(attempt, at(day + 200));
        assert_eq!(guess(&throttle, attempt, day + 200, day + 201), 1);
    }

    #[test]
    fn i05_tables_stay_within_their_limit() {
        let throttle = Throttle::default();
        for number in 0..ENTRIES_MAX + 10 {
            let attempt = throttle.attempt(&format!("user{number}"), None);
            let now = at(i64::try_from(number).unwrap());
            throttle.failed(attempt, now);
            throttle.succeeded(attempt, now);
            throttle.failed(attempt, now);
        }
        let state = throttle.state.lock().unwrap();
        for len in [state.pairs.len(), state.accounts.len(), state.known.len()] {
            assert!((ENTRIES_MAX - DROPPED..=ENTRIES_MAX).contains(&len), "{len}");
        }
    }
}
