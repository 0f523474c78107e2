//! The service's URLs.

use pillion_chassis::Routes;

use crate::Graph;
use crate::{
    answer_request, block, connections, follow, follow_counts, list_follows, list_own, mute,
    relation, unfollow, visibility,
};

/// All of them. Those under `/internal` are for other services; the gateway never exposes them.
pub(crate) fn routes() -> Routes<Graph> {
    Routes::new()
        .post("/2/users/{id}/following", follow::follow)
        .delete("/2/users/{id}/following/{target_user_id}", unfollow::unfollow)
        .get("/2/users/{id}/following", list_follows::following)
        .get("/2/users/{id}/followers", list_follows::followers)
        .post("/2/users/{id}/blocking", block::block)
        .delete("/2/users/{id}/blocking/{target_user_id}", block::unblock)
        .get("/2/users/{id}/blocking", list_own::blocking)
        .post("/2/users/{id}/muting", mute::mute)
        .delete("/2/users/{id}/muting/{target_user_id}", mute::unmute)
        .get("/2/users/{id}/muting", list_own::muting)
        .get("/pillion/v1/follow-requests", list_own::follow_requests)
        .post("/pillion/v1/follow-requests/{user_id}/accept", answer_request::accept)
        .post("/pillion/v1/follow-requests/{user_id}/deny", answer_request::deny)
        .get("/internal/visibility", visibility::visibility)
        .get("/internal/connections", connections::connections)
        .get("/internal/follow_counts", follow_counts::follow_counts)
        .get("/internal/relation", relation::relation)
}
