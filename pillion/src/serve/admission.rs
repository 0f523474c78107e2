//! Admission control at the entry: how many requests may be worked on at once. The limit follows
//! the time for which work waits (AIMD): it falls while requests queue for the processor or for
//! the database, and rises again while they do not. What is over it is refused within
//! milliseconds, before any work is done, instead of waiting until its client has given up.
//!
//! The signal is the time in queues and not latency, so that a slow backend with nothing waiting
//! for it, or a stream, does not lower the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pillion_chassis::{Database, Shutdown, Worker};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::addresses::{Address, Resource};
use super::refusals::Refusal;

/// How long a request waits for a place when all are taken: enough for a burst, and short enough
/// that a refusal comes within 10 ms.
const QUEUE_TIME_MAX: Duration = Duration::from_millis(4);

/// Work that waits longer than this for the processor means overload.
const CPU_QUEUE_TARGET: Duration = Duration::from_millis(5);

/// How often the limit is adjusted.
const ADJUST_INTERVAL: Duration = Duration::from_millis(50);

/// How often the processor's queue is measured, as long as there are requests.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(4);

/// What the runtime's timer is late by when nothing waits.
const TIMER_GRANULARITY: Duration = Duration::from_millis(1);

/// The limit does not fall below these, for each worker thread and for the process: fewer requests
/// could not keep the processor and the disk busy, and a few clients at once are no overload.
const MIN_PER_WORKER: usize = 8;
const MIN: usize = 24;

/// How many requests may be worked on at once.
#[derive(Debug)]
pub(crate) struct Admission {
    min: usize,
    max: usize,
    limit: AtomicUsize,
    in_flight: AtomicUsize,
    /// The most that were in flight since the last adjustment.
    peak: AtomicUsize,
    waiting: AtomicUsize,
    released: Notify,
}

impl Admission {
    /// At most `max` requests, and never limited to fewer than `workers` can work on.
    pub(crate) fn new(max: usize, workers: usize) -> Self {
        Self {
            min: (workers * MIN_PER_WORKER).max(MIN).min(max),
            max,
            limit: AtomicUsize::new(max),
            in_flight: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            released: Notify::new(),
        }
    }

    /// Returns the current limit.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Returns how many requests are worked on.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Admits a request, after a few milliseconds at most.
    pub(super) async fn admit(self: &Arc<Self>, address: &Address) -> Result<Arc<Permit>, Refusal> {
        let limit = self.limit();
        // While there is too much, one address must leave room for others.
        let share = (limit / 2).max(1);
        let is_greedy =
            limit < self.max && address.taken(Resource::Requests) > share && address.has_rivals();
        if is_greedy {
            return Err(Refusal::RequestAddressShare);
        }
        if self.waiting.load(Ordering::Relaxed) == 0 && self.try_enter() {
            return Ok(self.permit());
        }
        // More cannot all get a place in time.
        if self.waiting.load(Ordering::Relaxed) >= limit.div_ceil(4) {
            return Err(Refusal::RequestOverload);
        }
        let waiting = Waiting::new(&self.waiting);
        let entered = tokio::time::timeout(QUEUE_TIME_MAX, async {
            loop {
                let released = self.released.notified();
                if self.try_enter() {
                    return;
                }
                released.await;
            }
        });
        let entered = entered.await.is_ok();
        drop(waiting);
        if entered { Ok(self.permit()) } else { Err(Refusal::RequestOverload) }
    }

    fn permit(self: &Arc<Self>) -> Arc<Permit> {
        Arc::new(Permit { admission: Arc::clone(self), is_held: AtomicBool::new(true) })
    }

    fn try_enter(&self) -> bool {
        let limit = self.limit();
        let enter = |in_flight: usize| (in_flight < limit).then_some(in_flight + 1);
        let entered = self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, enter);
        if let Ok(before) = entered {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        entered.is_ok()
    }

    fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.released.notify_one();
        }
    }

    /// Adjusts the limit after an interval.
    fn adjust(&self, queue: Queue) {
        // A database that is slow for its own reasons must not stop what does not need it.
        let min = match queue {
            Queue::AtDatabase => (self.min * 4).min(self.max).min(self.limit()),
            Queue::None | Queue::AtProcessor(_) => self.min,
        };
        let peak = self.peak.swap(self.in_flight(), Ordering::Relaxed);
        let limit = self.limit();
        let next = match queue {
            Queue::None => limit + (limit / 16).max(1),
            // What was not in use does not count: the queue is made by those in flight.
            // The longer the queue, the larger the step: an interval takes as long as the queue.
            Queue::AtProcessor(time) if time > CPU_QUEUE_TARGET * 10 => limit.min(peak) / 4,
            Queue::AtProcessor(time) if time > CPU_QUEUE_TARGET * 4 => limit.min(peak) / 2,
            Queue::AtProcessor(_) | Queue::AtDatabase => limit.min(peak) * 4 / 5,
        };
        self.limit.store(next.clamp(min, self.max), Ordering::Relaxed);
    }
}

/// Where requests waited for long since the last adjustment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    None,
    /// For so long.
    AtProcessor(Duration),
    AtDatabase,
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request's place among those that are worked on, until it is dropped. It can be given up for
/// as long as the request waits for its client.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    is_held: AtomicBool,
}

impl Permit {
    /// Gives the place up: the request waits for its client, or its response is whole.
    pub(super) fn release(&self) {
        if self.is_held.swap(false, Ordering::AcqRel) {
            self.admission.release();
        }
    }

    /// Takes a place again, over the limit if need be: a part of the work is already done.
    pub(super) fn resume(&self) {
        if !self.is_held.swap(true, Ordering::AcqRel) {
            self.admission.in_flight.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}

/// Adjusts the limit for as long as the process runs.
pub(crate) fn controller(admission: Arc<Admission>, databases: Vec<Database>) -> Worker {
    let watched = Arc::new((admission, databases));
    Worker::new("admission", move |mut shutdown: Shutdown| {
        let watched = Arc::clone(&watched);
        async move {
            let (admission, databases) = &*watched;
            tokio::select! {
                () = shutdown.requested() => {}
                () = control(admission, databases) => {}
            }
        }
    })
}

async fn control(admission: &Admission, databases: &[Database]) {
    let mut samples = Vec::new();
    loop {
        samples.clear();
        let begun = Instant::now();
        if admission.in_flight() <= admission.min / 2 {
            // An idle process is left alone.
            tokio::time::sleep(ADJUST_INTERVAL).await;
        } else {
            while begun.elapsed() < ADJUST_INTERVAL {
                let due = Instant::now() + SAMPLE_INTERVAL;
                tokio::time::sleep_until(due).await;
                samples.push(due.elapsed().saturating_sub(TIMER_GRANULARITY));
            }
        }
        let cpu_queue = cpu_queue(&mut samples);
        // All are asked, so that each begins again.
        let is_standing = |any, database: &Database| database.was_queue_standing() || any;
        let waits_for_database = databases.iter().fold(false, is_standing);
        let queue = match waits_for_database {
            _ if cpu_queue > CPU_QUEUE_TARGET => Queue::AtProcessor(cpu_queue),
            true => Queue::AtDatabase,
            false => Queue::None,
        };
        admission.adjust(queue);
    }
}

/// The median: one long pause is not a queue.
fn cpu_queue(samples: &mut [Duration]) -> Duration {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::addresses::Addresses;
    use super::*;
    use crate::config::Server;

    fn address() -> Arc<Address> {
        let addresses = Arc::new(Addresses::new(&Server::default()));
        Addresses::of(&addresses, "192.0.2.1".parse().unwrap())
    }

    #[tokio::test]
    async fn s06_what_is_over_the_limit_is_refused_in_milliseconds() {
        let admission = Arc::new(Admission::new(2, 1));
        let address = address();
        let first = admission.admit(&address).await.unwrap();
        let _second = admission.admit(&address).await.unwrap();
        let begun = Instant::now();
        assert_eq!(admission.admit(&address).await.err(), Some(Refusal::RequestOverload));
        // Generous, for other tests run beside this one.
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        drop(first);
        assert!(admission.admit(&address).await.is_ok());
    }

    #[tokio::test]
    async fn a_burst_waits_for_a_place_for_a_moment() {
        let admission = Arc::new(Admission::new(1, 1));
        let address = address();
        let first = admission.admit(&address).await.unwrap();
        let waiter = {
            let (admission, address) = (Arc::clone(&admission), Arc::clone(&address));
            tokio::spawn(async move { admission.admit(&address).await.is_ok() })
        };
        while admission.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // The next one would have to wait behind it.
        assert!(admission.admit(&address).await.is_err());
        drop(first);
        assert!(waiter.await.unwrap());
        assert_eq!(admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_request_that_waits_for_its_client_has_no_place() {
        let admission = Arc::new(Admission::new(1, 1));
        let address = address();
        let slow = admission.admit(&address).await.unwrap();
        slow.release();
        slow.release();
        let other = admission.admit(&address).await.unwrap();
        slow.resume();
        assert_eq!(admission.in_flight(), 2);
        drop((slow, other));
        assert_eq!(admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn p17_the_limit_follows_the_queue() {
        let admission = Arc::new(Admission::new(1_000, 2));
        let address = address();
        let mut permits = Vec::new();
        for _ in 0..100 {
            permits.push(admission.admit(&address).await.unwrap());
        }
        admission.adjust(Queue::AtProcessor(CPU_QUEUE_TARGET * 2));
        assert_eq!(admission.limit(), 80);
        for _ in 0..50 {
            admission.adjust(Queue::AtDatabase);
        }
        assert_eq!(admission.limit(), 80, "a slow database alone leaves room for the rest");
        for _ in 0..50 {
            admission.adjust(Queue::AtProcessor(CPU_QUEUE_TARGET * 2));
        }
        assert_eq!(admission.limit(), MIN, "it never falls below what keeps two workers busy");
        drop(permits);
        for _ in 0..100 {
            admission.adjust(Queue::None);
        }
        // A long queue is answered at once, for measuring takes as long as it.
        admission.peak.store(400, Ordering::Relaxed);
        admission.adjust(Queue::AtProcessor(CPU_QUEUE_TARGET * 100));
        assert_eq!(admission.limit(), 100);
        // Slow work that waits for nothing here may grow again to the full limit.
        for _ in 0..100 {
            admission.adjust(Queue::None);
        }
        assert_eq!(admission.limit(), 1_000);
    }

    #[tokio::test]
    async fn p18_while_there_is_too_much_one_address_leaves_room_for_others() {
        let admission = Arc::new(Admission::new(100, 1));
        for _ in 0..100 {
            admission.adjust(Queue::AtProcessor(CPU_QUEUE_TARGET * 2));
        }
        assert_eq!(admission.limit(), MIN);
        let addresses = Arc::new(Addresses::new(&Server::default()));
        let greedy = Addresses::of(&addresses, "192.0.2.1".parse().unwrap());
        let mut held = Vec::new();
        for _ in 0..MIN {
            let place = greedy.take(Resource::Requests).unwrap();
            held.push((place, admission.admit(&greedy).await.unwrap()));
        }
        // As long as it is alone, it has everything; then half of it.
        held.truncate(MIN - 2);
        let other = Addresses::of(&addresses, "192.0.2.2".parse().unwrap());
        let place = greedy.take(Resource::Requests).unwrap();
        let refused = admission.admit(&greedy).await;
        assert_eq!(refused.err(), Some(Refusal::RequestAddressShare));
        drop(place);
        let _place = other.take(Resource::Requests).unwrap();
        assert!(admission.admit(&other).await.is_ok());
    }
}
