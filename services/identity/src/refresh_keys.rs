//! The worker that reads the signing keys again: another process of the service may have made a
//! new one, or forgotten an old one.

use std::sync::Arc;

use pillion_chassis::{Shutdown, Worker};

use crate::signer::KEYS_INTERVAL;
use crate::state::Identity;

/// Reads them again until the shutdown.
pub(crate) fn worker(identity: Arc<Identity>) -> Worker {
    Worker::new("identity-keys", move |mut shutdown: Shutdown| {
        let identity = Arc::clone(&identity);
        async move {
            loop {
                tokio::select! {
                    () = shutdown.requested() => return,
                    () = tokio::time::sleep(KEYS_INTERVAL) => {}
                }
                if let Err(error) = identity.signer.refresh(&identity.store).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the signing keys cannot be read again");
                }
            }
        }
    })
}
