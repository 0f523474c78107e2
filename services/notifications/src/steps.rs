//! What this service does in sagas: it makes an inbox for a new account, tells of a request to
//! follow, and forgets an account. All of it by events of its own.

use async_trait::async_trait;
use pillion_chassis::saga::{Command, Participant, StepError};
use pillion_chassis::{Journal, Problem, Timestamp, Transaction, UserId, personal};
use pillion_events::{Inbox, NotificationEvent, RequestNotice};
use serde::Deserialize;
use serde_json::Value;

use crate::store;

/// Does the steps.
#[derive(Debug)]
pub(crate) struct Steps {
    journal: Journal,
}

/// The data of sagas about a whole account.
#[derive(Debug, Deserialize)]
struct OfAccount {
    user_id: UserId,
}

/// The data of the saga of a request to follow.
#[derive(Debug, Deserialize)]
struct Asked {
    /// Who asks.
    user_id: UserId,
    /// Whom: this user is told.
    target_user_id: UserId,
    /// Where the request stands in the graph service's log.
    request_position: i64,
    /// When it was made.
    at: Timestamp,
}

impl Steps {
    /// On this journal's tables.
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal }
    }

    async fn record(
        &self,
        transaction: &mut Transaction,
        user_id: UserId,
        event: NotificationEvent,
        at: Timestamp,
    ) -> Result<Value, StepError> {
        store::record(&self.journal, transaction, user_id, event, at).await?;
        Ok(Value::Null)
    }

    async fn request(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        let asked: Asked = command.read()?;
        for user_id in [asked.user_id, asked.target_user_id] {
            if store::is_deleted(&mut *transaction, user_id).await? {
                let detail = format!("the account {user_id} was deleted");
                return Err(StepError::Refused(Problem::conflict(detail)));
            }
        }
        let event = NotificationEvent::Requested(asked.notice(asked.at));
        self.record(transaction, asked.target_user_id, event, command.at).await
    }
}

impl Asked {
    fn notice(&self, at: Timestamp) -> RequestNotice {
        let Self { user_id, target_user_id, request_position, .. } = *self;
        RequestNotice { user_id: target_user_id, from_user_id: user_id, request_position, at }
    }
}

#[async_trait]
impl Participant for Steps {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        let at = command.at;
        match command.step.as_str() {
            "create_inbox" => {
                let OfAccount { user_id } = command.read()?;
                let event = NotificationEvent::InboxCreated(Inbox { user_id, at });
                self.record(transaction, user_id, event, at).await
            }
            "request" => self.request(transaction, command).await,
            "purge" => purge(transaction, command).await,
            _ => Err(command.unknown()),
        }
    }

    async fn compensate(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<(), StepError> {
        let at = command.at;
        let (user_id, event) = match command.step.as_str() {
            "create_inbox" => {
                let OfAccount { user_id } = command.read()?;
                (user_id, NotificationEvent::InboxDropped(Inbox { user_id, at }))
            }
            "request" => {
                let asked: Asked = command.read()?;
                (asked.target_user_id, NotificationEvent::Withdrawn(asked.notice(at)))
            }
            _ => return Err(command.unknown()),
        };
        self.record(transaction, user_id, event, at).await?;
        Ok(())
    }
}

/// Done once the deletion was taken up, and with it all that was the account's.
async fn purge(transaction: &mut Transaction, command: &Command) -> Result<Value, StepError> {
    let OfAccount { user_id } = command.read()?;
    if !store::is_deleted(&mut *transaction, user_id).await? {
        return Err(command.too_early("user.deleted"));
    }
    personal::shred(transaction, user_id).await?;
    Ok(Value::Null)
}
