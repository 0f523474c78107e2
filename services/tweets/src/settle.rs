//! Settles the tweets of authors who went or came back: the counts that they have a share in, and
//! what is left of deleted accounts. Some at a time, for an author may have written very much.

use std::sync::Arc;

use pillion_chassis::{Clock, Worker, backlog};

use crate::store::Store;

/// Does it beside the handlers.
pub(crate) fn worker(store: Store, clock: Arc<dyn Clock>) -> Worker {
    backlog::worker("unsettled-authors", store.unsettled.clone(), move || {
        let (store, clock) = (store.clone(), clock.clone());
        async move { store.settle_some(clock.now().floor_to_millis()).await }
    })
}
