//! How long statements wait for their turn at a database: the sign of overload that shows before
//! anything fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A read that waits longer than this for a connection stands in a queue.
const READ_TARGET: Duration = Duration::from_millis(5);
/// The same for a transaction that writes. Writers come one after the other, each with a disk to
/// wait for, so a few at once are no overload.
const WRITE_TARGET: Duration = Duration::from_millis(100);
/// Fewer turns between two looks say nothing.
const TURNS_MIN: u64 = 8;

/// The turns at one database since the last look.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    reads: Turns,
    writes: Turns,
}

#[derive(Debug, Default)]
struct Turns {
    all: AtomicU64,
    /// Those that waited longer than their target.
    late: AtomicU64,
}

impl Queue {
    /// Times the wait for a connection that reads.
    pub(crate) async fn read<T>(self: &Arc<Self>, turn: impl Future<Output = T>) -> T {
        self.reads.time(READ_TARGET, turn).await
    }

    /// Times the wait for the connection that writes.
    pub(crate) async fn write<T>(self: &Arc<Self>, turn: impl Future<Output = T>) -> T {
        self.writes.time(WRITE_TARGET, turn).await
    }

    /// Returns whether most turns since the last call had to wait for long: a queue that stands,
    /// and not a burst.
    pub(crate) fn was_standing(&self) -> bool {
        // Both, so that both begin again.
        let (reads, writes) = (self.reads.were_late(), self.writes.were_late());
        reads || writes
    }
}

impl Turns {
    async fn time<T>(&self, target: Duration, turn: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let turn = turn.await;
        self.all.fetch_add(1, Ordering::Relaxed);
        if begun.elapsed() > target {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        turn
    }

    fn were_late(&self) -> bool {
        let late = self.late.swap(0, Ordering::Relaxed);
        let all = self.all.swap(0, Ordering::Relaxed);
        all >= TURNS_MIN && late * 2 > all
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_stands_when_most_turns_are_late() {
        let queue = Arc::new(Queue::default());
        let turns = async |count: u64, wait: Duration| {
            for _ in 0..count {
                queue.read(sleep(wait)).await;
            }
        };
        turns(TURNS_MIN - 1, READ_TARGET * 2).await;
        assert!(!queue.was_standing(), "too few to say");
        turns(TURNS_MIN, READ_TARGET * 2).await;
        turns(TURNS_MIN, Duration::ZERO).await;
        assert!(!queue.was_standing(), "a burst");
        turns(TURNS_MIN * 2, READ_TARGET * 2).await;
        turns(TURNS_MIN, Duration::ZERO).await;
        assert!(queue.was_standing());
        assert!(!queue.was_standing(), "each look begins again");
    }
}
