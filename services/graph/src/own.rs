//! What the routes about the caller's own relations take: a path, a body, and the rule that the
//! path is the caller's.

use pillion_chassis::{Problem, UserCaller, UserId};
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

/// 400 unless the user in the path is the caller. `parameter` is X's name of it.
pub(crate) fn require(parameter: &str, id: UserId, caller: &UserCaller) -> Result<(), Problem> {
    let own = caller.user_id;
    if id == own {
        return Ok(());
    }
    let message = format!(
        "The `{parameter}` query parameter value [{id}] must be the same as the authenticating \
         user [{own}]"
    );
    Err(Problem::invalid(parameter, Some(&id.to_string()), message))
}
