//! The steps that lie with this service, of whichever saga.

use async_trait::async_trait;
use pillion_chassis::database::Transaction;
use pillion_chassis::saga::{Command, Participant, StepError};
use pillion_chassis::{Problem, UserId};
use serde::Deserialize;
use serde_json::Value;

use crate::store::{AccountState, accounts};

/// A handle that a registration holds which loses it: the time that takes.
const RETRY_AFTER_S: u32 = 1;

/// Takes the steps.
#[derive(Debug)]
pub(crate) struct Steps;

/// The data of sagas about an account.
#[derive(Debug, Deserialize)]
struct OfAccount {
    user_id: UserId,
}

/// The data of a change of handle.
#[derive(Debug, Deserialize)]
struct Renaming {
    user_id: UserId,
    username: String,
    previous_username: String,
}

#[async_trait]
impl Participant for Steps {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        match (command.saga.as_str(), command.step.as_str()) {
            ("register_account", "create") => {
                let OfAccount { user_id } = command.read()?;
                created(transaction, user_id).await?;
            }
            ("register_account", "enable") => {
                let OfAccount { user_id } = command.read()?;
                accounts::enable(transaction, user_id, command.at).await?;
            }
            ("deactivate_account", "revoke") => {
                let OfAccount { user_id } = command.read()?;
                accounts::deactivate(transaction, user_id, command.at).await?;
            }
            ("deactivate_account", "purge") => {
                let OfAccount { user_id } = command.read()?;
                accounts::purge(transaction, user_id, command.at).await?;
            }
            ("change_handle", "rename") => {
                let Renaming { user_id, username, .. } = command.read()?;
                if !rename(transaction, user_id, &username).await? {
                    return Err(StepError::Refused(Problem::account_gone(user_id)));
                }
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
            ("register_account", "create") => {
                let OfAccount { user_id } = command.read()?;
                accounts::drop_pending(transaction, user_id).await?;
            }
            ("deactivate_account", "revoke") => {
                let OfAccount { user_id } = command.read()?;
                accounts::reopen(transaction, user_id, command.at).await?;
            }
            ("change_handle", "rename") => {
                let Renaming { user_id, previous_username, .. } = command.read()?;
                // An account that is gone has no handle to give back.
                rename(transaction, user_id, &previous_username).await?;
            }
            _ => return Err(command.unknown()),
        }
        Ok(())
    }
}

/// The account was stored with the beginning of the saga; it must still be as it was then.
async fn created(transaction: &mut Transaction, user_id: UserId) -> Result<(), StepError> {
    match accounts::find(transaction, user_id).await? {
        Some(account) if account.state == AccountState::Pending => Ok(()),
        _ => {
            let detail = format!("The account {user_id} does not wait for its registration.");
            Err(StepError::Refused(Problem::conflict(detail)))
        }
    }
}

/// Makes the account log in by this handle; whether there is one.
async fn rename(
    transaction: &mut Transaction,
    user_id: UserId,
    username: &str,
) -> Result<bool, StepError> {
    match accounts::holder(transaction, username).await? {
        // The users service gave the handle to this account, so the registration that has it here
        // will be refused there, and gone.
        Some(other) if other.id != user_id && other.state == AccountState::Pending => {
            let detail = format!("A registration is still under way for [{username}].");
            return Err(StepError::Failed(Problem::unavailable(detail, RETRY_AFTER_S)));
        }
        Some(other) if other.id != user_id => {
            return Err(StepError::Refused(crate::register_account::taken(username)));
        }
        Some(_) | None => {}
    }
    Ok(accounts::rename(transaction, user_id, username).await?)
}
