//! How many notifications a user has not read.

use axum::extract::State;
use pillion_chassis::{Answer, Parameters, Problem, UserCaller};
use serde::Serialize;

use crate::Notifications;
use crate::error::Error;

#[derive(Debug, Serialize)]
pub(crate) struct Unread {
    unread_count: i64,
}

/// `GET /pillion/v1/notifications/unread_count`: at most [`crate::KEPT_MAX`].
pub(crate) async fn unread_count(
    State(notifications): State<Notifications>,
    caller: UserCaller,
    query: Parameters,
) -> Result<Answer<Unread>, Error> {
    query.finish()?;
    let store = &notifications.store;
    let mailbox = store.mailbox(caller.user_id).await?;
    let unread_count = store.unread_count(caller.user_id, mailbox).await?;
    if mailbox.last_id == 0 && store.is_deleted(caller.user_id).await? {
        return Err(Problem::account_gone(caller.user_id).into());
    }
    Ok(Answer::found(Unread { unread_count }))
}
