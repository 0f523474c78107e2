//! The user whose token it is.

use axum::extract::State;
use pillion_chassis::dialect::USER_FIELDS;
use pillion_chassis::{Answer, Parameters, Problem, UserCaller};

use crate::Users;
use crate::user_body::UserBody;

/// `GET /2/users/me`
pub(crate) async fn me(
    State(users): State<Users>,
    caller: UserCaller,
    mut query: Parameters,
) -> Result<Answer<UserBody>, Problem> {
    let fields = query.fields("user.fields", &USER_FIELDS);
    query.finish()?;
    match users.store.by_ids(&[caller.user_id]).await?.into_iter().next() {
        Some(profile) => Ok(Answer::found(UserBody::new(profile, &fields))),
        None => Err(Problem::account_gone(caller.user_id)),
    }
}
