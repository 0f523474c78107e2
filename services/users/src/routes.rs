//! The service's URLs.

use pillion_chassis::Routes;

use crate::Users;
use crate::{change_handle, change_profile, find_users, me, search_users};

/// Those for clients.
pub(crate) fn routes() -> Routes<Users> {
    Routes::new()
        .get("/2/users", find_users::by_ids)
        .get("/2/users/by", find_users::by_usernames)
        .get("/2/users/by/username/{username}", find_users::by_username)
        .get("/2/users/me", me::me)
        .get("/2/users/search", search_users::search_users)
        .get("/2/users/{id}", find_users::by_id)
        .post("/pillion/v1/account/profile", change_profile::change_profile)
        .post("/pillion/v1/account/username", change_handle::change_handle)
}
