//! A user says how far the notifications were read.

use axum::extract::State;
use pillion_chassis::{Answer, Json, Problem, UserCaller};
use pillion_events::{NotificationEvent, NotificationId, NotificationsRead};
use serde::{Deserialize, Serialize};

use crate::Notifications;
use crate::error::Error;
use crate::store::{self, Mailbox};

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    up_to: NotificationId,
}

/// How things stand afterwards.
#[derive(Debug, Serialize)]
pub(crate) struct Mark {
    read_up_to: String,
    unread_count: i64,
}

/// `POST /pillion/v1/notifications/read`: the mark only moves on.
pub(crate) async fn mark_read(
    State(notifications): State<Notifications>,
    caller: UserCaller,
    Json(Body { up_to }): Json<Body>,
) -> Result<Answer<Mark>, Error> {
    let user_id = caller.user_id;
    let mut transaction = notifications.store.write().await?;
    if store::is_deleted(&mut transaction, user_id).await? {
        return Err(Problem::account_gone(user_id).into());
    }
    let mut mailbox = store::mailbox(&mut transaction, user_id).await?;
    if up_to.as_i64() > mailbox.last_id {
        return Err(beyond(up_to, mailbox).into());
    }
    if up_to.as_i64() > mailbox.read_up_to {
        let journal = &notifications.journal;
        let at = notifications.clock.now().floor_to_millis();
        let read = NotificationEvent::Read(NotificationsRead { user_id, up_to, at });
        store::record(journal, &mut transaction, user_id, read, at).await?;
        mailbox.read_up_to = up_to.as_i64();
    }
    let unread_count = store::unread_count(&mut transaction, user_id, mailbox).await?;
    transaction.commit().await?;
    Ok(Answer::found(Mark { read_up_to: mailbox.read_up_to.to_string(), unread_count }))
}

/// 400: what nobody has seen yet cannot be read.
fn beyond(up_to: NotificationId, mailbox: Mailbox) -> Problem {
    let message = match mailbox.last_id {
        0 => format!("$.up_to: [{up_to}] is none of your notifications; you have had none"),
        last => format!("$.up_to: [{up_to}] is beyond your newest notification [{last}]"),
    };
    Problem::invalid("up_to", Some(&up_to.to_string()), message)
}
