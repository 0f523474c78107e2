//! The saga that this service runs.

use pillion_chassis::saga::{Saga, Step};

/// An account gets another handle, by which it logs in as well. Until the swap the account has its
/// old one and nobody else gets the new one; after it the old one is free.
///
/// Key: the user's id. Data: `user_id`, `username`, `previous_username`.
pub(crate) static CHANGE_HANDLE: Saga = Saga {
    name: "change_handle",
    steps: &[
        // Plugins on the chain of users have the same say as in registrations.
        Step::compensated("users", "reserve_handle").formerly("reserve").shows(&["username"]),
        Step::compensated("identity", "rename"),
        Step::pivot("users", "swap"),
        Step::retried("search", "rename"),
    ],
};
