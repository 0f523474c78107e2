//! An account is deleted, on the word of another service.

use axum::extract::State;
use http::StatusCode;
use pillion_chassis::{Caller, Path, Problem, UserId};

use crate::Users;
use crate::register_user::WRITE_SCOPE;

/// `DELETE /internal/users/{id}`: 204, also when there is nothing to delete any more, so that a
/// caller that lost the answer can ask again.
pub(crate) async fn delete_user(
    State(users): State<Users>,
    caller: Caller,
    Path(id): Path<UserId>,
) -> Result<StatusCode, Problem> {
    caller.require(WRITE_SCOPE)?;
    users.store.delete(id, users.clock.now().floor_to_millis()).await?;
    Ok(StatusCode::NO_CONTENT)
}
