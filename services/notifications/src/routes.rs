//! The service's URLs.

use pillion_chassis::Routes;

use crate::Notifications;
use crate::{list, mark_read, stream, unread_count};

/// All of them.
pub(crate) fn routes() -> Routes<Notifications> {
    Routes::new()
        .get("/pillion/v1/notifications", list::list)
        .get("/pillion/v1/notifications/unread_count", unread_count::unread_count)
        .post("/pillion/v1/notifications/read", mark_read::mark_read)
        .get("/pillion/v1/notifications/stream", stream::stream)
}
