//! The steps that lie with this service, of whichever saga.

use async_trait::async_trait;
use pillion_chassis::UserId;
use pillion_chassis::database::Transaction;
use pillion_chassis::journal::Journal;
use pillion_chassis::saga::{Command, Participant, StepError};
use serde::Deserialize;
use serde_json::Value;

use crate::{change_handle, deactivation, registration};

/// Takes the steps. Every effect is in the transaction that notes the command, and those that
/// happened to an account are events.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) journal: Journal,
}

/// What the steps of a deactivation need.
#[derive(Debug, Deserialize)]
struct OfUser {
    user_id: UserId,
}

#[async_trait]
impl Participant for Steps {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        let Self { journal } = self;
        match (command.saga.as_str(), command.step.as_str()) {
            ("register_account", "reserve_handle") => {
                registration::reserve_handle(transaction, command.read()?).await?;
            }
            ("register_account", "create_profile") => {
                registration::create_profile(transaction, command.read()?).await?;
            }
            ("register_account", "activate") => {
                registration::activate(journal, transaction, command.read()?, command.at).await?;
            }
            ("deactivate_account", "deactivate") => {
                let OfUser { user_id } = command.read()?;
                deactivation::deactivate(journal, transaction, user_id, command.at).await?;
            }
            ("deactivate_account", "purge") => {
                let OfUser { user_id } = command.read()?;
                deactivation::purge(journal, transaction, user_id, command.at).await?;
            }
            ("change_handle", "reserve_handle") => {
                change_handle::reserve(transaction, &command.read()?).await?;
            }
            ("change_handle", "swap") => {
                change_handle::swap(journal, transaction, command.read()?, command.at).await?;
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
        match (command.saga.as_str(), command.step.as_str()) {
            ("register_account", "reserve_handle") => {
                registration::release_handle(transaction, command.read()?).await
            }
            ("register_account", "create_profile") => {
                let OfUser { user_id } = command.read()?;
                registration::drop_profile(transaction, user_id).await
            }
            ("deactivate_account", "deactivate") => {
                let OfUser { user_id } = command.read()?;
                deactivation::reactivate(&self.journal, transaction, user_id, command.at).await
            }
            ("change_handle", "reserve_handle") => {
                change_handle::release(transaction, &command.read()?).await
            }
            _ => Err(command.unknown()),
        }
    }
}
