//! The connections of one listener. When there are as many as there may be, the one that has been
//! idle for longest is closed for a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::idle::Activity;

/// How long an evicted HTTP/2 connection has for its goodbye. Until then it still has a
/// descriptor, so that [`Open::leaving`] is limited too.
pub(super) const GOODBYE_TIME_MAX: Duration = Duration::from_millis(250);

/// How often a new connection looks for room when none was idle.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Connections that may be saying goodbye beyond the limit.
const LEAVING_MAX: usize = 64;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    /// By id; those that leave are not among them.
    staying: HashMap<u64, Entry>,
    leaving: usize,
}

#[derive(Debug)]
struct Entry {
    activity: Arc<Activity>,
    evict: Arc<Notify>,
}

/// What came of an attempt to enter.
#[derive(Debug)]
pub(super) enum Entered {
    /// There was room.
    Free(Slot),
    /// Another connection was evicted.
    Evicted(Slot),
}

impl Connections {
    pub(super) fn new(max: usize) -> Self {
        Self { max, open: Mutex::default() }
    }

    /// Takes a place for a new connection, and the place of the connection that has been idle for
    /// longest when all are taken. `None` when none was idle for as long as `patience`.
    pub(super) async fn enter(self: &Arc<Self>, patience: Duration) -> Option<Entered> {
        let looks = patience.as_millis() / LOOK_INTERVAL.as_millis();
        for _ in 0..looks {
            if let Some(entered) = self.try_enter() {
                return Some(entered);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        self.try_enter()
    }

    fn try_enter(self: &Arc<Self>) -> Option<Entered> {
        let mut open = self.open();
        let full = open.staying.len() >= self.max;
        if full {
            if open.leaving >= LEAVING_MAX {
                return None;
            }
            // All are looked at, but only for a new connection while there are too many.
            let idle = open.staying.iter();
            let idle = idle.filter_map(|(id, it)| Some((it.activity.idle_since()?, *id)));
            let (_, victim) = idle.min()?;
            let victim = open.staying.remove(&victim)?;
            victim.evict.notify_one();
            open.leaving += 1;
        }
        let id = open.next_id;
        open.next_id += 1;
        let evict = Arc::new(Notify::new());
        // Its time begins now; a wait for this place is not the client's.
        let activity = Arc::new(Activity::default());
        let entry = Entry { activity: Arc::clone(&activity), evict: Arc::clone(&evict) };
        open.staying.insert(id, entry);
        drop(open);
        let slot = Slot { connections: Arc::clone(self), id, activity, evict };
        Some(if full { Entered::Evicted(slot) } else { Entered::Free(slot) })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // No code that holds the lock can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    id: u64,
    activity: Arc<Activity>,
    evict: Arc<Notify>,
}

impl Slot {
    /// What the connection has been doing.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Ends when the connection must make room for another. It does so once.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        if open.staying.remove(&self.id).is_none() {
            open.leaving -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn s04_the_connection_that_is_idle_for_longest_makes_room() {
        let connections = Arc::new(Connections::new(2));
        let first = connections.enter(PATIENCE).await;
        let Some(Entered::Free(first)) = first else { panic!("{first:?}") };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let second = connections.enter(PATIENCE).await;
        let Some(Entered::Free(second)) = second else { panic!("{second:?}") };
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The first is older, and the second has been idle for longer.
        drop(Activity::begin(first.activity(), Version::HTTP_11));
        let third = connections.enter(PATIENCE).await;
        assert!(matches!(third, Some(Entered::Evicted(_))), "{third:?}");
        second.evicted().await;
        assert!(tokio::time::timeout(PATIENCE, first.evicted()).await.is_err());
        drop(second);
        assert_eq!(connections.open().leaving, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn s04_busy_connections_are_not_evicted() {
        let connections = Arc::new(Connections::new(1));
        let entered = connections.enter(PATIENCE).await;
        let Some(Entered::Free(slot)) = entered else { panic!("{entered:?}") };
        let busy = Activity::begin(slot.activity(), Version::HTTP_11);
        assert!(connections.enter(PATIENCE).await.is_none());
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(busy);
        });
        assert!(matches!(connections.enter(PATIENCE).await, Some(Entered::Evicted(_))));
    }
}
