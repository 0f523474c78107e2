//! The live streams of this process: how many there are, and what wakes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pillion_chassis::UserId;
use tokio::sync::watch;

use crate::error::Error;

/// All live streams. They read the inbox themselves; here they only learn that it is time to.
#[derive(Debug)]
pub(crate) struct Feeds {
    streams_max: usize,
    streams_per_user_max: usize,
    open: Mutex<Open>,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    users: HashMap<UserId, Streams>,
}

/// The streams of a user.
#[derive(Debug)]
struct Streams {
    count: usize,
    wake: watch::Sender<()>,
}

/// A live stream's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    feeds: Arc<Feeds>,
    user_id: UserId,
    wake: watch::Receiver<()>,
    closed: watch::Receiver<bool>,
}

impl Feeds {
    /// With room for so many streams.
    pub(crate) fn new(streams_max: usize, streams_per_user_max: usize) -> Self {
        let closed = watch::Sender::new(false);
        Self { streams_max, streams_per_user_max, open: Mutex::default(), closed }
    }

    /// A place for a stream of this user.
    pub(crate) fn take_seat(self: &Arc<Self>, user_id: UserId) -> Result<Seat, Error> {
        let closed = self.closed.subscribe();
        if *closed.borrow() {
            return Err(Error::NoStreams);
        }
        let mut open = self.open();
        let streams = open.users.get(&user_id).map_or(0, |streams| streams.count);
        if streams >= self.streams_per_user_max {
            return Err(Error::TooManyStreams(streams));
        }
        if open.count >= self.streams_max {
            return Err(Error::NoStreams);
        }
        open.count += 1;
        let streams = open
            .users
            .entry(user_id)
            .or_insert_with(|| Streams { count: 0, wake: watch::Sender::new(()) });
        streams.count += 1;
        let wake = streams.wake.subscribe();
        Ok(Seat { feeds: self.clone(), user_id, wake, closed })
    }

    /// Whether nobody listens.
    pub(crate) fn is_empty(&self) -> bool {
        self.open().count == 0
    }

    /// Makes the streams of a user look into the inbox.
    pub(crate) fn wake(&self, user_id: UserId) {
        if let Some(streams) = self.open().users.get(&user_id) {
            streams.wake.send_replace(());
        }
    }

    /// Ends all streams; no others begin.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Nothing that holds the lock can leave it half-written.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whose it is.
    pub(crate) fn user_id(&self) -> UserId {
        self.user_id
    }

    /// Whether all streams are to end.
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until there may be something in the inbox, or all streams are to end. A call since
    /// the seat was taken, or since the last wait, counts.
    pub(crate) async fn called(&mut self) {
        // The senders live as long as the seat, so that there are no errors to handle.
        tokio::select! {
            _ = self.wake.changed() => {}
            _ = self.closed.wait_for(|closed| *closed) => {}
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.feeds.open();
        open.count = open.count.saturating_sub(1);
        if let Some(streams) = open.users.get_mut(&self.user_id) {
            streams.count = streams.count.saturating_sub(1);
            if streams.count == 0 {
                open.users.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId::generated(11);
    const BOB: UserId = UserId::generated(12);

    #[tokio::test]
    async fn places_are_bounded_and_come_free() {
        let feeds = Arc::new(Feeds::new(3, 2));
        assert!(feeds.is_empty());
        let first = feeds.take_seat(ANN).unwrap();
        let _second = feeds.take_seat(ANN).unwrap();
        assert!(matches!(feeds.take_seat(ANN), Err(Error::TooManyStreams(2))));
        let _third = feeds.take_seat(BOB).unwrap();
        assert!(matches!(feeds.take_seat(BOB), Err(Error::NoStreams)));
        drop(first);
        let _fourth = feeds.take_seat(BOB).unwrap();
        assert!(!feeds.is_empty());
        feeds.close();
        assert!(matches!(feeds.take_seat(ANN), Err(Error::NoStreams)));
    }

    #[tokio::test]
    async fn a_call_before_the_wait_is_not_lost() {
        let feeds = Arc::new(Feeds::new(3, 2));
        let mut ann = feeds.take_seat(ANN).unwrap();
        let mut bob = feeds.take_seat(BOB).unwrap();
        feeds.wake(ANN);
        ann.called().await;
        let patience = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(patience, ann.called()).await.is_err(), "one call, one wait");
        assert!(tokio::time::timeout(patience, bob.called()).await.is_err(), "it was for Ann");
        feeds.close();
        bob.called().await;
        assert!(bob.is_closed());
    }
}
