//! What the routes about the caller's own relations take: a path and a body.

use pillion_chassis::UserId;
use serde::Deserialize;

/// The body of the routes that begin something with another user.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) target_user_id: UserId,
}

/// The path of the routes that end it.
#[derive(Debug, Deserialize)]
pub(crate) struct Pair {
    pub(crate) id: UserId,
    pub(crate) target_user_id: UserId,
}
