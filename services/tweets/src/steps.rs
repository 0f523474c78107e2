//! The service's steps in sagas of others: it hides the tweets of an author who is deactivated, and
//! sees to it that nothing is left of one who is gone.

use async_trait::async_trait;
use pillion_chassis::saga::{Command, Participant, StepError};
use pillion_chassis::{Transaction, personal};
use serde_json::Value;

use crate::store::Store;

/// Does them.
#[derive(Debug)]
pub(crate) struct Steps(pub(crate) Store);

#[async_trait]
impl Participant for Steps {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        let user_id = command.user_id()?;
        match command.step.as_str() {
            "hide" => self.0.hide_author(transaction, user_id, command.at).await?,
            "purge" => {
                if !self.0.is_deleted(transaction, user_id).await? {
                    return Err(command.too_early("user.deleted"));
                }
                if self.0.is_unsettled(transaction, user_id).await? {
                    return Err(command.too_early("the end of the account's tweets"));
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
        match command.step.as_str() {
            "hide" => Ok(self.0.unhide_author(transaction, user_id, command.at).await?),
            _ => Err(command.unknown()),
        }
    }
}
