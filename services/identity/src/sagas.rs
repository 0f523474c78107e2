//! The sagas that this service runs: the beginning of an account, and its end.

use pillion_chassis::saga::{OnTimer, Saga, Step};

/// An account begins. Until users.activate nobody else can see anything of it, and everything is
/// taken back when a service refuses its part; from then on it exists.
///
/// Key: the handle in lower case and the user's id, `ann/12`. Data: `user_id`, `username`, `name`,
/// and `description`, `location` and `url` if there are any.
pub(crate) static REGISTER_ACCOUNT: Saga = Saga {
    name: "register_account",
    steps: &[
        Step::compensated("identity", "create"),
        // Plugins on the chain of users may have a say in who gets which handle.
        Step::compensated("users", "reserve_handle").shows(&["username"]),
        Step::compensated("users", "create_profile"),
        Step::compensated("timelines", "provision"),
        Step::compensated("notifications", "create_inbox"),
        Step::pivot("users", "activate"),
        Step::retried("identity", "enable"),
        Step::retried("search", "index"),
    ],
};

/// An account ends. Everything of it is hidden at once and comes back when its owner logs in before
/// the time for that is over; from users.purge on it is erased everywhere, and only its handle
/// stays taken.
///
/// Key: the user's id. Data: `user_id`, `purge_at`.
pub(crate) static DEACTIVATE_ACCOUNT: Saga = Saga {
    name: "deactivate_account",
    steps: &[
        Step::compensated("identity", "revoke"),
        Step::compensated("users", "deactivate"),
        Step::compensated("graph", "hide"),
        Step::compensated("tweets", "hide"),
        Step::compensated("timelines", "purge"),
        Step::wait("grace", "purge_at", OnTimer::Proceed),
        Step::pivot("users", "purge"),
        Step::retried("tweets", "purge"),
        Step::retried("graph", "purge"),
        Step::retried("engagements", "purge"),
        Step::retried("timelines", "purge_all"),
        Step::retried("search", "purge"),
        Step::retried("notifications", "purge"),
        Step::retried("identity", "purge"),
    ],
};
