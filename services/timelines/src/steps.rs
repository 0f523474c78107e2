//! The service's steps in sagas of others: a home is there before its user is, is closed while the
//! user is deactivated and is filled when a follow begins.

use async_trait::async_trait;
use pillion_chassis::saga::{Command, Participant, StepError};
use pillion_chassis::{AppendError, Journal, Transaction, UserId, personal};
use pillion_events::{TimelineChange, TimelineEvent};
use serde::Deserialize;
use serde_json::Value;

use crate::store::accounts::{self, Standing};
use crate::store::{follows, settling};

/// Does them.
#[derive(Debug)]
pub(crate) struct Steps(pub(crate) Journal);

#[derive(Deserialize)]
struct Follow {
    target_user_id: UserId,
    /// Where the graph service's log tells of the follow.
    followed_position: Option<i64>,
}

#[async_trait]
impl Participant for Steps {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        let user_id = command.user_id()?;
        let standing = accounts::standing(&mut *transaction, user_id).await?;
        match command.step.as_str() {
            "provision" if standing == Standing::Unknown => {
                self.record(transaction, command, user_id, TimelineEvent::Provisioned).await?;
            }
            "purge" if standing == Standing::Unknown => {
                return Err(command.too_early("user.registered"));
            }
            "purge" if standing == Standing::There => {
                self.record(transaction, command, user_id, TimelineEvent::Hidden).await?;
            }
            "provision" | "purge" => {}
            "backfill" => {
                let Follow { target_user_id, followed_position } = command.read()?;
                let is_taken_up = match followed_position {
                    Some(position) => follows::is_heard(transaction, position).await?,
                    None => follows::is_there(transaction, user_id, target_user_id).await?,
                };
                if !is_taken_up {
                    return Err(command.too_early("graph.followed"));
                }
            }
            "purge_all" => {
                if standing != Standing::Deleted {
                    return Err(command.too_early("user.deleted"));
                }
                if settling::is_unsettled(transaction, user_id).await? {
                    return Err(command.too_early("the end of the account's timelines"));
                }
                personal::shred(transaction, user_id).await?;
            }
            _ => return Err(command.unknown()),
        }
        Ok(Value::Null)
    }

    async fn compensate(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<(), StepError> {
        let user_id = command.user_id()?;
        let standing = accounts::standing(&mut *transaction, user_id).await?;
        match command.step.as_str() {
            "provision" if standing == Standing::There => {
                self.record(transaction, command, user_id, TimelineEvent::Dropped).await?;
            }
            "purge" if standing == Standing::Hidden => {
                self.record(transaction, command, user_id, TimelineEvent::Unhidden).await?;
            }
            "provision" | "purge" => {}
            _ => return Err(command.unknown()),
        }
        Ok(())
    }
}

impl Steps {
    async fn record(
        &self,
        transaction: &mut Transaction,
        command: &Command,
        user_id: UserId,
        event: fn(TimelineChange) -> TimelineEvent,
    ) -> Result<(), AppendError> {
        let stream = format!("user/{user_id}");
        let version = self.0.version(transaction, &stream).await?;
        let event = event(TimelineChange { user_id, at: command.at });
        self.0.record(transaction, &stream, version, &event, command.at).await?;
        Ok(())
    }
}
