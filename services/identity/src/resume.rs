//! The workers: one takes on registrations and deletions that stopped half-way, one forgets what
//! has expired.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::{Onward, Problem, Shutdown, Timestamp, Worker};

use crate::state::Identity;
use crate::store::{Account, AccountState};

/// How often to look when all is well: how long a caller waits at most, after a crash of the
/// users service, for what it was told is tried again by itself.
const INTERVAL_MIN: Duration = Duration::from_secs(5);
/// How often to look while the users service does not answer.
const INTERVAL_MAX: Duration = Duration::from_mins(1);
/// What is younger than this is somebody's request, still under way: twice what a peer may take.
const GRACE: Duration = Duration::from_secs(10);
/// Accounts taken on in one go.
const BATCH_MAX: u32 = 100;
/// How often to forget what has expired: refresh tokens last 30 days, so an hour is nothing.
const CLEANING_INTERVAL: Duration = Duration::from_hours(1);

/// Takes on what stopped half-way; at once after a start, for nothing is under way then.
pub(crate) fn worker(identity: Arc<Identity>) -> Worker {
    Worker::new("identity-resume", move |mut shutdown: Shutdown| async move {
        let mut grace = Duration::ZERO;
        let mut interval = INTERVAL_MIN;
        loop {
            interval = match identity.resume(grace).await {
                Ok(0) => INTERVAL_MIN,
                Ok(failed) => {
                    tracing::warn!(failed, "registrations or deletions are still unfinished");
                    (interval * 2).min(INTERVAL_MAX)
                }
                Err(problem) => {
                    let detail = problem.document().get("detail").and_then(|text| text.as_str());
                    tracing::error!(detail, "unfinished accounts cannot be read");
                    (interval * 2).min(INTERVAL_MAX)
                }
            };
            grace = GRACE;
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    })
}

/// Forgets what has expired.
pub(crate) fn cleaner(identity: Arc<Identity>) -> Worker {
    Worker::new("identity-cleaner", move |mut shutdown: Shutdown| async move {
        loop {
            if let Err(error) = identity.store.forget_expired(identity.clock.now()).await {
                tracing::error!(%error, "expired refresh tokens could not be forgotten");
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(CLEANING_INTERVAL) => {}
            }
        }
    })
}

impl Identity {
    /// Tries once to finish every account that has been unfinished for `grace`; how many still
    /// are not.
    pub(crate) async fn resume(&self, grace: Duration) -> Result<usize, Problem> {
        let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let before = self.clock.now().as_micros().saturating_sub(grace);
        let unfinished = self.store.unfinished(Timestamp::from_micros(before), BATCH_MAX).await?;
        let mut failed = 0;
        for account in unfinished {
            if let Err(problem) = self.finish(&account).await {
                let detail = problem.document().get("detail").and_then(|text| text.as_str());
                tracing::warn!(account = %account.id, state = ?account.state, detail,
                    "an account could not be finished yet");
                failed += 1;
            }
        }
        Ok(failed)
    }

    async fn finish(&self, account: &Account) -> Result<(), Problem> {
        let onward = Onward::default();
        match account.state {
            AccountState::Active => Ok(()),
            AccountState::Deleting => self.complete_deletion(account.id, &onward).await,
            // A refusal ends it as well: the pending account is gone then.
            AccountState::Pending => self.complete_registration(account, &onward).await.map(drop),
        }
    }
}
