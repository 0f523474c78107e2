//! The service's step in a saga of others: nothing is left of an account that is gone. One that is
//! deactivated is hidden by the users service's events.

use async_trait::async_trait;
use pillion_chassis::saga::{Command, Participant, StepError};
use pillion_chassis::{Transaction, personal};
use serde_json::Value;

use crate::store;

/// Does it.
#[derive(Debug)]
pub(crate) struct Steps;

#[async_trait]
impl Participant for Steps {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        let user_id = command.user_id()?;
        if command.step != "purge" {
            return Err(command.unknown());
        }
        if !store::is_deleted(transaction, user_id).await? {
            return Err(command.too_early("user.deleted"));
        }
        if store::is_unsettled(transaction, user_id).await? {
            return Err(command.too_early("the end of what the account did"));
        }
        personal::shred(transaction, user_id).await?;
        Ok(Value::Null)
    }
}
