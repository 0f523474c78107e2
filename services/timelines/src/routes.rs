//! The service's URLs.

use pillion_chassis::Routes;

use crate::Timelines;
use crate::{home, mentions};

/// All of them.
pub(crate) fn routes() -> Routes<Timelines> {
    Routes::new()
        .get("/2/users/{id}/timelines/reverse_chronological", home::home)
        .get("/2/users/{id}/mentions", mentions::mentions)
}
