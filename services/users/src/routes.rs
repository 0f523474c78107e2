//! The service's URLs.

use pillion_chassis::Routes;

use crate::Users;
use crate::{change_profile, delete_user, find_users, me, register_user, search_users};

/// All of them. Those under `/internal` are for other services; the gateway never exposes them.
pub(crate) fn routes() -> Routes<Users> {
    Routes::new()
        .get("/2/users", find_users::by_ids)
        .get("/2/users/by", find_users::by_usernames)
        .get("/2/users/by/username/{username}", find_users::by_username)
        .get("/2/users/me", me::me)
        .get("/2/users/search", search_users::search_users)
        .get("/2/users/{id}", find_users::by_id)
        .post("/pillion/v1/account/profile", change_profile::change_profile)
        .put("/internal/users/{id}", register_user::register_user)
        .delete("/internal/users/{id}", delete_user::delete_user)
}
