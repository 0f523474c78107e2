//! The worker that forgets what has expired.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::{Shutdown, Worker};

use crate::state::Identity;

/// How often to forget what has expired: refresh tokens last 30 days, so an hour is nothing.
const CLEANING_INTERVAL: Duration = Duration::from_hours(1);

/// Forgets what has expired.
pub(crate) fn cleaner(identity: Arc<Identity>) -> Worker {
    Worker::new("identity-cleaner", move |mut shutdown: Shutdown| {
        let identity = Arc::clone(&identity);
        async move {
            loop {
                if let Err(error) = identity.store.forget_expired(identity.clock.now()).await {
                    tracing::error!(%error, "expired refresh tokens could not be forgotten");
                }
                tokio::select! {
                    () = shutdown.requested() => return,
                    () = tokio::time::sleep(CLEANING_INTERVAL) => {}
                }
            }
        }
    })
}
