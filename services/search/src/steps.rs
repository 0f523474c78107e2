//! The service's steps in sagas of others. All of them wait until it has heard what others have
//! done, which changes the index by events: that there is an account, that it has another handle,
//! that it is gone.

use async_trait::async_trait;
use pillion_chassis::saga::{Command, Participant, StepError};
use pillion_chassis::{Transaction, personal};
use serde::Deserialize;
use serde_json::Value;

use crate::store::{self, Account};

/// Does them.
#[derive(Debug)]
pub(crate) struct Steps;

#[derive(Deserialize)]
struct Renamed {
    username: String,
}

#[async_trait]
impl Participant for Steps {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        let user_id = command.user_id()?;
        let account = store::account(transaction, user_id).await?;
        match command.step.as_str() {
            "index" => match account {
                Some(_) => {}
                None => return Err(command.too_early("user.registered")),
            },
            "rename" => {
                let Renamed { username } = command.read()?;
                match account {
                    Some(Account { deleted: true, .. }) => {}
                    Some(Account { username: Some(known), .. })
                        if known.eq_ignore_ascii_case(&username) => {}
                    _ => return Err(command.too_early("user.renamed")),
                }
            }
            "purge" => match account {
                Some(Account { deleted: true, .. }) => {
                    personal::shred(transaction, user_id).await?;
                }
                _ => return Err(command.too_early("user.deleted")),
            },
            _ => return Err(command.unknown()),
        }
        Ok(Value::Null)
    }
}
