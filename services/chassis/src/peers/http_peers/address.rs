//! The addresses of one service: how each of them is, and which one the next call goes to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::Authority;
use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use super::retry::{self, ATTEMPTS_MAX};
use super::settings::PeerSettings;

/// Health checks in a row that must fail, or succeed, to change what an address counts as: one
/// may be an accident. One that is answered with "not ready" is none.
const CHECKS_TO_TURN: u32 = 2;

/// What a health check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It takes requests.
    Ready,
    /// It says that it takes none: it starts or ends, or has no database.
    NotReady,
    /// Nobody answers.
    Silent,
}

/// The addresses of one service, and how often calls to it may be repeated.
#[derive(Debug)]
pub(super) struct Addresses {
    all: Vec<Arc<Address>>,
    /// Where looking for an address begins; it moves on so that equal ones take turns.
    turn: AtomicUsize,
    budget: TpsBudget,
}

/// Why a call goes to no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    /// At each of them as much is in flight as may be.
    #[error("as many calls as may be are in flight to each of its addresses")]
    Full,
    /// Calls to each of them failed lately.
    #[error("calls to each of its addresses failed lately, and it is left alone for a moment")]
    Open,
}

/// One address.
#[derive(Debug)]
pub(super) struct Address {
    service: String,
    authority: Authority,
    in_flight: AtomicUsize,
    in_flight_max: usize,
    circuit_failures: u32,
    circuit_rest: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    circuit: Circuit,
    /// What the health checks say.
    healthy: bool,
    /// Checks in a row that said the opposite.
    against: u32,
    /// It asked to be left alone until then.
    rests_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Circuit {
    /// Calls go through; so many failed in a row.
    Closed(u32),
    /// None go through until then.
    Open(Instant),
    /// One is on its way to see whether it is back.
    Trying,
}

/// How willingly a call goes to an address, most willingly first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Well,
    /// Its health checks fail; they may be wrong, or old.
    Unhealthy,
    /// It failed in this very call.
    Tried,
    /// It asked to be left alone, or failed in this very call and its health checks fail.
    Poor,
}

impl Addresses {
    pub(super) fn new(service: &str, authorities: Vec<Authority>, settings: &PeerSettings) -> Self {
        let address = |authority| {
            Arc::new(Address {
                service: service.to_owned(),
                authority,
                in_flight: AtomicUsize::new(0),
                in_flight_max: settings.connections_max,
                circuit_failures: settings.circuit_failures,
                circuit_rest: settings.circuit_rest,
                state: Mutex::new(State {
                    circuit: Circuit::Closed(0),
                    healthy: true,
                    against: 0,
                    rests_until: None,
                }),
            })
        };
        Self {
            all: authorities.into_iter().map(address).collect(),
            turn: AtomicUsize::new(0),
            budget: retry::budget(),
        }
    }

    /// One by one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Address>> {
        self.all.iter()
    }

    /// A new call, which adds to what may be repeated.
    pub(super) fn called(&self) {
        self.budget.deposit();
    }

    /// A place at the best address: of equal grade, the one with the fewest calls in flight.
    /// `tried` are the indices of those at which this call has failed.
    pub(super) fn choose(&self, tried: &[usize]) -> Result<Place, NoPlace> {
        let now = Instant::now();
        let count = self.all.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut graded: Vec<_> = (0..count)
            .map(|step| turn.wrapping_add(step) % count)
            .filter_map(|index| {
                let address = self.all.get(index)?;
                let grade = address.grade(tried.contains(&index), now)?;
                Some((grade, address.in_flight.load(Ordering::Relaxed), index, address))
            })
            .collect();
        // Stable, so turns decide between equals.
        graded.sort_by_key(|(grade, in_flight, ..)| (*grade, *in_flight));
        let mut reason = NoPlace::Open;
        for (_, _, index, address) in graded {
            match Place::take(address, index, now) {
                Ok(place) => return Ok(place),
                Err(full) => reason = full,
            }
        }
        Err(reason)
    }

    /// Whether there is an address that is well and that this call has not tried.
    pub(super) fn has_fresh(&self, tried: &[usize]) -> bool {
        self.best(tried) == Some(Grade::Well)
    }

    /// Whether a call that failed at `tried` is repeated; that counts as one repeat.
    pub(super) fn may_repeat(&self, tried: &[usize]) -> bool {
        tried.len() < ATTEMPTS_MAX
            && self.best(tried).is_some_and(|grade| grade < Grade::Poor)
            && self.budget.withdraw()
    }

    fn best(&self, tried: &[usize]) -> Option<Grade> {
        let now = Instant::now();
        let addresses = self.all.iter().enumerate();
        addresses.filter_map(|(index, address)| address.grade(tried.contains(&index), now)).min()
    }
}

impl Address {
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while the circuit lets nothing through.
    fn grade(&self, tried: bool, now: Instant) -> Option<Grade> {
        let state = self.state();
        match state.circuit {
            Circuit::Trying => return None,
            Circuit::Open(until) if now < until => return None,
            Circuit::Open(_) | Circuit::Closed(_) => {}
        }
        let rests = state.rests_until.is_some_and(|until| now < until);
        Some(match (state.healthy, tried) {
            _ if rests => Grade::Poor,
            (true, false) => Grade::Well,
            (false, false) => Grade::Unhealthy,
            (true, true) => Grade::Tried,
            (false, true) => Grade::Poor,
        })
    }

    /// Notes what a health check found.
    pub(super) fn checked(&self, found: Found) {
        let ok = found == Found::Ready;
        let mut state = self.state();
        if ok && let Circuit::Open(_) = state.circuit {
            // Somebody is there, so the next call may try whether it answers.
            state.circuit = Circuit::Open(Instant::now());
        }
        if ok == state.healthy {
            state.against = 0;
            return;
        }
        state.against += 1;
        if state.against < CHECKS_TO_TURN && found != Found::NotReady {
            return;
        }
        (state.healthy, state.against) = (ok, 0);
        drop(state);
        let (service, address) = (&self.service, &self.authority);
        if ok {
            tracing::info!(%service, %address, "a peer is healthy again");
        } else {
            tracing::warn!(%service, %address, "a peer's health checks fail; calls avoid it");
        }
    }
}

/// A call in flight to an address, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    address: Arc<Address>,
    index: usize,
    /// Whether this call is to find out if the peer is back, and has not yet.
    trying: bool,
}

impl Place {
    fn take(address: &Arc<Address>, index: usize, now: Instant) -> Result<Self, NoPlace> {
        let mut state = address.state();
        let trying = match state.circuit {
            Circuit::Closed(_) => false,
            Circuit::Open(until) if now >= until => true,
            // Another call was faster.
            Circuit::Open(_) | Circuit::Trying => return Err(NoPlace::Open),
        };
        let in_flight = &address.in_flight;
        // Under the lock, so that the bound holds.
        if in_flight.load(Ordering::Relaxed) >= address.in_flight_max {
            return Err(NoPlace::Full);
        }
        in_flight.fetch_add(1, Ordering::Relaxed);
        if trying {
            state.circuit = Circuit::Trying;
        }
        drop(state);
        Ok(Self { address: Arc::clone(address), index, trying })
    }

    /// Which of the service's addresses it is.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.address.authority
    }

    /// The peer answered, whatever it was.
    pub(super) fn answered(&mut self) {
        self.trying = false;
        let before = std::mem::replace(&mut self.address.state().circuit, Circuit::Closed(0));
        if !matches!(before, Circuit::Closed(_)) {
            let (service, address) = (&self.address.service, &self.address.authority);
            tracing::info!(%service, %address, "a peer answers again");
        }
    }

    /// There was no connection, it broke, or no answer came.
    pub(super) fn failed(&mut self) {
        self.trying = false;
        let address = &self.address;
        let mut state = address.state();
        let failures = match state.circuit {
            Circuit::Closed(failures) => failures + 1,
            Circuit::Trying => address.circuit_failures,
            // A call from before it opened says nothing new.
            Circuit::Open(_) => return,
        };
        if failures < address.circuit_failures {
            state.circuit = Circuit::Closed(failures);
            return;
        }
        let opened = matches!(state.circuit, Circuit::Closed(_));
        state.circuit = Circuit::Open(Instant::now() + address.circuit_rest);
        drop(state);
        if opened {
            let (service, address) = (&address.service, &address.authority);
            tracing::warn!(%service, %address, failures, "calls to a peer fail; its circuit opens");
        }
    }

    /// The peer asks to be left alone for a time.
    pub(super) fn rest(&self, time: Duration) {
        self.address.state().rests_until = Some(Instant::now() + time);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.address.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.trying {
            // Its caller went away before there was an answer: the next call tries.
            self.address.state().circuit = Circuit::Open(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u16) -> Addresses {
        let authority = |port| format!("127.0.0.1:{port}").parse().unwrap();
        let settings = PeerSettings { connections_max: 2, ..PeerSettings::default() };
        Addresses::new("users", (1..=count).map(authority).collect(), &settings)
    }

    #[tokio::test]
    async fn calls_go_where_the_fewest_are_and_equals_take_turns() {
        let addresses = addresses(3);
        let mut places: Vec<Place> = (0..3).map(|_| addresses.choose(&[]).unwrap()).collect();
        let mut indices: Vec<usize> = places.iter().map(Place::index).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2]);
        let freed = places.remove(1).index();
        assert_eq!(addresses.choose(&[]).unwrap().index(), freed);
        // A call that failed there goes elsewhere, even if more is in flight there.
        assert_ne!(addresses.choose(&[freed]).unwrap().index(), freed);
    }

    #[tokio::test]
    async fn the_number_of_calls_in_flight_is_bounded() {
        let addresses = addresses(1);
        let places = [addresses.choose(&[]).unwrap(), addresses.choose(&[]).unwrap()];
        assert_eq!(addresses.choose(&[]).unwrap_err(), NoPlace::Full);
        drop(places);
        assert!(addresses.choose(&[]).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_circuit_opens_tries_one_call_and_closes() {
        let addresses = addresses(1);
        let fail = || addresses.choose(&[]).unwrap().failed();
        for _ in 0..4 {
            fail();
        }
        // An answer between failures starts the count again.
        addresses.choose(&[]).unwrap().answered();
        for _ in 0..5 {
            fail();
        }
        assert_eq!(addresses.choose(&[]).unwrap_err(), NoPlace::Open);
        tokio::time::advance(Duration::from_secs(2)).await;
        let trial = addresses.choose(&[]).unwrap();
        assert_eq!(addresses.choose(&[]).unwrap_err(), NoPlace::Open);
        // A caller that goes away leaves the trial to the next one.
        drop(trial);
        fail();
        assert_eq!(addresses.choose(&[]).unwrap_err(), NoPlace::Open);
        // A health check that succeeds shortens the rest, and an answer ends it.
        addresses.all[0].checked(Found::Ready);
        let mut trial = addresses.choose(&[]).unwrap();
        trial.answered();
        assert!(addresses.choose(&[]).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_poor_is_taken_when_there_is_nothing_else() {
        let addresses = addresses(2);
        addresses.all[0].checked(Found::Silent);
        assert!((0..4).any(|_| addresses.choose(&[]).unwrap().index() == 0), "one check is none");
        addresses.all[0].checked(Found::Silent);
        assert!((0..4).all(|_| addresses.choose(&[]).unwrap().index() == 1));
        Place::take(&addresses.all[1], 1, Instant::now()).unwrap().rest(Duration::from_secs(1));
        assert!((0..4).any(|_| addresses.choose(&[]).unwrap().index() == 0));
        // But nothing is repeated there.
        assert!(!addresses.may_repeat(&[0]));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(addresses.may_repeat(&[0]));
        for _ in 0..2 {
            addresses.all[0].checked(Found::Ready);
        }
        assert!((0..4).any(|_| addresses.choose(&[]).unwrap().index() == 0));
    }

    #[tokio::test]
    async fn one_that_says_that_it_is_not_ready_is_believed_at_once() {
        let addresses = addresses(2);
        addresses.all[0].checked(Found::NotReady);
        assert!((0..4).all(|_| addresses.choose(&[]).unwrap().index() == 1));
    }

    #[tokio::test]
    async fn a_call_that_failed_somewhere_goes_where_it_has_not_been() {
        let addresses = addresses(2);
        addresses.all[0].checked(Found::NotReady);
        // The other one has just gone: what is not ready yet may be by now.
        assert!(addresses.may_repeat(&[1]));
        assert_eq!(addresses.choose(&[1]).unwrap().index(), 0);
    }
}
