//! The worker that tends the signing keys: reads them again, for another process of the service may
//! have made a new one, and rotates them on schedule.

use std::sync::Arc;

use pillion_chassis::{Shutdown, Worker};

use crate::signer::KEYS_INTERVAL;
use crate::state::Identity;

/// Tends them until the shutdown.
pub(crate) fn worker(identity: Arc<Identity>) -> Worker {
    Worker::new("identity-keys", move |mut shutdown: Shutdown| {
        let identity = Arc::clone(&identity);
        async move {
            loop {
                tokio::select! {
                    () = shutdown.requested() => return,
                    () = tokio::time::sleep(KEYS_INTERVAL) => {}
                }
                let tended = identity.signer.tend(&identity.store, &*identity.random).await;
                if let Err(error) = tended {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "signing keys cannot be refreshed or rotated, retrying");
                }
            }
        }
    })
}
