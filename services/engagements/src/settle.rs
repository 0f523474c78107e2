//! Settles what accounts did that went or came back, and what was done with their tweets: the counts
//! that it is in, and what is left of deleted accounts. Some at a time, for it may be very much.

use std::sync::Arc;

use pillion_chassis::{Clock, Worker, backlog};
use tokio::sync::Notify;

use crate::store::Store;

/// Does it beside the handlers.
pub(crate) fn worker(store: Store, clock: Arc<dyn Clock>, unsettled: Arc<Notify>) -> Worker {
    backlog::worker("unsettled-accounts-engagements", unsettled, move || {
        let (store, clock) = (store.clone(), clock.clone());
        async move { store.settle_some(clock.now().floor_to_millis()).await }
    })
}
