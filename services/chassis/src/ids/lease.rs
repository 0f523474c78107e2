//! The node number of a process among those that share its database, held for a while at a time.
//!
//! A number is held *for the times that ids may tell*: the holder makes ids that tell times before
//! the end that stands in the database, and whoever takes the number over begins behind that end.
//! So two processes never make the same id, whatever their clocks say and however long one of them
//! hung: the one that cannot renew stops making ids when it reaches its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Ids, NODE_MAX, NodeError};
use crate::clock::Clock;
use crate::database::{Database, DatabaseError, Transaction};
use crate::service::{Shutdown, Worker};
use crate::sql::query;

/// Numbers of one service: processes of it that may run at a time, and those that ended without a
/// word within the last `HELD_FOR`.
pub const SLOTS: u16 = 64;

/// How long a number is held without being renewed. A database that is away for longer takes no
/// writes that whole time, so nobody misses the ids.
const HELD_FOR: Duration = Duration::from_secs(20);
/// Often enough that a few renewals may fail.
const RENEW_INTERVAL: Duration = Duration::from_secs(4);
/// After a renewal that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A process's hold on a number.
#[derive(Debug)]
pub struct NodeLease {
    ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    database: Database,
    first: u16,
    held: Mutex<Option<Held>>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    slot: i64,
    epoch: i64,
}

/// Why a process has no number.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The database failed.
    #[error("the node number for new ids cannot be taken from the database")]
    Database(#[from] DatabaseError),
    /// Too many processes.
    #[error(
        "all {SLOTS} node numbers of the service are taken, the first until {first_free_s} s from \
         now: run fewer processes of it, or check this machine's clock"
    )]
    AllTaken {
        /// When the next one is free.
        first_free_s: i64,
    },
}

impl NodeLease {
    /// For a service whose numbers are `first` to `first` + [`SLOTS`] - 1, on its own database. It
    /// holds none yet.
    pub fn new(clock: Arc<dyn Clock>, database: Database, first: u16) -> Result<Self, NodeError> {
        let last = first.saturating_add(SLOTS - 1);
        if last > NODE_MAX {
            return Err(NodeError(last));
        }
        let ids = Arc::new(Ids::without_node(clock.clone()));
        Ok(Self { ids, clock, database, first, held: Mutex::new(None) })
    }

    /// What makes ids with the number that is held.
    pub fn ids(&self) -> Arc<Ids> {
        self.ids.clone()
    }

    /// Takes a number that nobody holds; the database must be migrated.
    pub async fn take(&self) -> Result<(), LeaseError> {
        let now = self.now_ms();
        let mut transaction = self.database.write().await?;
        let (slot, begin) = free(&mut transaction, now).await?;
        let end = now.saturating_add(millis(HELD_FOR));
        let (epoch,) = query(
            "INSERT INTO node (slot, ends_at, epoch) VALUES ($1, $2, 1)
             ON CONFLICT (slot) DO UPDATE SET ends_at = $2, epoch = node.epoch + 1
             RETURNING epoch",
        )
        .bind(slot)
        .bind(end)
        .fetch_one::<(i64,)>(&mut transaction)
        .await?;
        transaction.commit().await?;
        self.set_held(Some(Held { slot, epoch }));
        let node = self.first + u16::try_from(slot).unwrap_or_default();
        self.ids.hold(node, begin, end);
        tracing::debug!(node, "this process has a node number");
        Ok(())
    }

    /// Holds the number for longer, by `beyond` more than usual; takes another one when somebody
    /// else has it.
    async fn renew(&self, beyond: Duration) -> Result<(), LeaseError> {
        let Some(Held { slot, epoch }) = self.held() else {
            return self.take().await;
        };
        let now = self.now_ms();
        let end = now.saturating_add(millis(HELD_FOR)).saturating_add(millis(beyond));
        let mut transaction = self.database.write().await?;
        let renewed =
            query("UPDATE node SET ends_at = $3 WHERE slot = $1 AND epoch = $2 AND ends_at <= $3")
                .bind(slot)
                .bind(epoch)
                .bind(end)
                .execute(&mut transaction)
                .await?;
        if renewed == 0 {
            drop(transaction);
            // The clock may have gone back, too; then the end that stands there is good still.
            if self.is_ours(slot, epoch).await? {
                return Ok(());
            }
            self.set_held(None);
            self.ids.let_go();
            return self.take().await;
        }
        // Only what is certain to stand there counts.
        transaction.commit().await?;
        let node = self.first + u16::try_from(slot).unwrap_or_default();
        self.ids.hold(node, 0, end);
        Ok(())
    }

    async fn is_ours(&self, slot: i64, epoch: i64) -> Result<bool, DatabaseError> {
        let found = query("SELECT epoch FROM node WHERE slot = $1 AND epoch = $2")
            .bind(slot)
            .bind(epoch)
            .fetch_optional::<(i64,)>(&self.database)
            .await?;
        Ok(found.is_some())
    }

    /// Renews until the shutdown, and then once more, for as long as requests may go on.
    pub fn worker(self, drain: Duration) -> Worker {
        let lease = Arc::new(self);
        let name = format!("node-number-{}", lease.first);
        let worker = Worker::new(name, move |mut shutdown: Shutdown| {
            let lease = Arc::clone(&lease);
            async move {
                let mut interval = RENEW_INTERVAL;
                loop {
                    tokio::select! {
                        () = shutdown.requested() => break,
                        () = tokio::time::sleep(interval) => {}
                    }
                    interval = lease.renew_or_tell(Duration::ZERO).await;
                }
                lease.renew_or_tell(drain).await;
            }
        });
        // Without a number the process makes no ids, and so takes no writes.
        worker.required()
    }

    async fn renew_or_tell(&self, beyond: Duration) -> Duration {
        match self.renew(beyond).await {
            Ok(()) => RENEW_INTERVAL,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    place = self.database.place(),
                    "the node number for new ids is not renewed; trying again"
                );
                RETRY_INTERVAL
            }
        }
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX)
    }

    fn held(&self) -> Option<Held> {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_held(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

/// The first number that nobody holds, and where its next holder's times begin.
async fn free(transaction: &mut Transaction, now_ms: i64) -> Result<(i64, i64), LeaseError> {
    let taken = query("SELECT slot, ends_at FROM node ORDER BY slot")
        .fetch_all::<(i64, i64)>(transaction)
        .await?;
    for slot in 0..i64::from(SLOTS) {
        match taken.iter().find(|(taken, _)| *taken == slot) {
            None => return Ok((slot, 0)),
            Some((_, ends_at)) if *ends_at <= now_ms => return Ok((slot, *ends_at)),
            Some(_) => {}
        }
    }
    let first = taken.iter().map(|(_, ends_at)| *ends_at).min().unwrap_or(now_ms);
    Err(LeaseError::AllTaken { first_free_s: (first - now_ms).max(0).div_euclid(1_000) + 1 })
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::clock::{FakeClock, Timestamp};
    use crate::database::tests::migrations;
    use crate::testing::{BACKENDS, migrated};

    const BASE: u16 = 128;

    fn clock() -> Arc<FakeClock> {
        Arc::new(FakeClock::at("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap()))
    }

    fn lease(clock: &Arc<FakeClock>, database: &Database) -> NodeLease {
        NodeLease::new(clock.clone(), database.clone(), BASE).unwrap()
    }

    fn node_of(id: u64) -> u64 {
        id >> 12 & 1023
    }

    #[tokio::test]
    async fn processes_at_one_database_have_numbers_of_their_own() {
        for backend in BACKENDS {
            let test = migrated(backend, &migrations(&[])).await;
            let clock = clock();
            let mut nodes = HashSet::new();
            let mut held = Vec::new();
            for _ in 0..SLOTS {
                let lease = lease(&clock, &test.database);
                assert!(matches!(lease.ids().next(), Err(DatabaseError::NoNode)));
                lease.take().await.unwrap();
                nodes.insert(node_of(lease.ids().next().unwrap()));
                held.push(lease);
            }
            let expected: HashSet<u64> = (u64::from(BASE)..u64::from(BASE + SLOTS)).collect();
            assert_eq!(nodes, expected);
            let late = lease(&clock, &test.database).take().await;
            assert!(matches!(late, Err(LeaseError::AllTaken { first_free_s: 21 })), "{late:?}");
        }
    }

    #[tokio::test]
    async fn who_cannot_renew_stops_before_another_begins() {
        for backend in BACKENDS {
            let test = migrated(backend, &migrations(&[])).await;
            let clock = clock();
            let first = lease(&clock, &test.database);
            first.take().await.unwrap();
            clock.advance(HELD_FOR.saturating_sub(Duration::from_millis(1)));
            let last = first.ids().next().unwrap();
            clock.advance(Duration::from_millis(1));
            assert!(matches!(first.ids().next(), Err(DatabaseError::NoNode)));
            let second = lease(&clock, &test.database);
            second.take().await.unwrap();
            let next = second.ids().next().unwrap();
            assert_eq!(node_of(next), node_of(last), "it is free again");
            assert!(next > last);
            // The first one notices, and takes another.
            first.renew(Duration::ZERO).await.unwrap();
            assert_ne!(node_of(first.ids().next().unwrap()), node_of(next));
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_ahead_takes_a_number_and_makes_no_id_twice() {
        let test = migrated(BACKENDS[0], &migrations(&[])).await;
        let (slow, fast) = (clock(), clock());
        let holder = lease(&slow, &test.database);
        holder.take().await.unwrap();
        fast.advance(HELD_FOR * 3);
        let taker = lease(&fast, &test.database);
        taker.take().await.unwrap();
        // It goes back, and the taker's ids go on from where they were.
        fast.set(slow.now());
        let mut all = HashSet::new();
        for _ in 0..5_000 {
            assert!(all.insert(holder.ids().next().unwrap()));
            assert!(all.insert(taker.ids().next().unwrap()));
        }
    }

    #[tokio::test]
    async fn a_renewed_number_stays() {
        let test = migrated(BACKENDS[0], &migrations(&[])).await;
        let clock = clock();
        let lease = lease(&clock, &test.database);
        lease.take().await.unwrap();
        let before = lease.ids().next().unwrap();
        for _ in 0..10 {
            clock.advance(RENEW_INTERVAL);
            lease.renew(Duration::ZERO).await.unwrap();
        }
        let after = lease.ids().next().unwrap();
        assert_eq!(node_of(before), node_of(after));
        assert!(after > before);
    }
}
