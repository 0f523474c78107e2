//! What this service does in sagas: its part of [`crate::follow_protected`], and hiding and
//! forgetting accounts.

use async_trait::async_trait;
use pillion_chassis::saga::{Command, Participant, StepError};
use pillion_chassis::{Problem, Transaction, UserId, personal};
use pillion_events::{AccountHiding, GraphAccountEvent, GraphEvent, Relation};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::follow_protected::Asked;
use crate::store::{self, Account, Store, settling};

/// Does the steps.
#[derive(Debug)]
pub(crate) struct Steps {
    store: Store,
}

/// The data of sagas about a whole account.
#[derive(Debug, Deserialize)]
struct OfAccount {
    user_id: UserId,
}

impl Steps {
    /// In this store.
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Takes the request back, unless somebody did already.
    async fn remove(
        &self,
        transaction: &mut Transaction,
        request: &Asked,
        relation: Relation,
    ) -> Result<(), StepError> {
        if is_there(transaction, request).await? {
            self.store.record(transaction, GraphEvent::FollowRequestRemoved(relation)).await?;
        }
        Ok(())
    }

    /// The request becomes a follow. Tells its position, so that others know when they have
    /// taken it up.
    async fn activate(
        &self,
        transaction: &mut Transaction,
        request: &Asked,
        relation: Relation,
    ) -> Result<Value, StepError> {
        require(transaction, request).await?;
        for user_id in [request.user_id, request.target_user_id] {
            let account = store::account(&mut *transaction, user_id).await?;
            if account.is_some_and(|account| account.deleted) {
                return Err(refused(format!("the account {user_id} was deleted")));
            }
        }
        self.store.record(transaction, GraphEvent::FollowRequestRemoved(relation)).await?;
        let position = self.store.record(transaction, GraphEvent::Followed(relation)).await?;
        Ok(json!({ "followed_position": position }))
    }

    async fn hide(
        &self,
        transaction: &mut Transaction,
        hiding: AccountHiding,
    ) -> Result<Value, StepError> {
        let account = store::account(&mut *transaction, hiding.user_id).await?.unwrap_or_default();
        if account.deleted {
            return Err(refused(format!("the account {} was deleted", hiding.user_id)));
        }
        if !account.hidden {
            self.store.record_account(transaction, GraphAccountEvent::Hidden(hiding)).await?;
        }
        Ok(Value::Null)
    }

    async fn unhide(
        &self,
        transaction: &mut Transaction,
        hiding: AccountHiding,
    ) -> Result<(), StepError> {
        let account = store::account(&mut *transaction, hiding.user_id).await?.unwrap_or_default();
        if account.hidden {
            self.store.record_account(transaction, GraphAccountEvent::Unhidden(hiding)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Participant for Steps {
    async fn execute(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<Value, StepError> {
        match command.step.as_str() {
            // It was recorded as the saga began, and may be over by now.
            "pending" => require(transaction, &command.read()?).await.map(|()| Value::Null),
            "activate" => {
                let request = command.read()?;
                self.activate(transaction, &request, relation(&request, command)).await
            }
            "hide" => self.hide(transaction, hiding(command)?).await,
            "purge" => purge(transaction, command).await,
            _ => Err(command.unknown()),
        }
    }

    async fn compensate(
        &self,
        transaction: &mut Transaction,
        command: &Command,
    ) -> Result<(), StepError> {
        match command.step.as_str() {
            "pending" => {
                let request = command.read()?;
                self.remove(transaction, &request, relation(&request, command)).await
            }
            "hide" => self.unhide(transaction, hiding(command)?).await,
            _ => Err(command.unknown()),
        }
    }
}

/// Done once the deletion was taken up, and nothing of the account is left.
async fn purge(transaction: &mut Transaction, command: &Command) -> Result<Value, StepError> {
    let OfAccount { user_id } = command.read()?;
    let account = store::account(&mut *transaction, user_id).await?;
    if !account.is_some_and(|Account { deleted, .. }| deleted) {
        return Err(command.too_early("user.deleted"));
    }
    if settling::is_unsettled(transaction, user_id).await? {
        return Err(command.too_early("the end of the account's relations"));
    }
    personal::shred(transaction, user_id).await?;
    Ok(Value::Null)
}

/// Whether this very request waits.
async fn is_there(transaction: &mut Transaction, request: &Asked) -> Result<bool, StepError> {
    let between = store::between(transaction, request.user_id, request.target_user_id).await?;
    Ok(between.our_request() == Some(request.request_position))
}

async fn require(transaction: &mut Transaction, request: &Asked) -> Result<(), StepError> {
    if is_there(transaction, request).await? {
        return Ok(());
    }
    let Asked { user_id, target_user_id, .. } = request;
    Err(refused(format!("the request of {user_id} to follow {target_user_id} is over")))
}

fn relation(request: &Asked, command: &Command) -> Relation {
    let Asked { user_id, target_user_id, .. } = *request;
    Relation { user_id, target_user_id, at: command.at }
}

fn hiding(command: &Command) -> Result<AccountHiding, StepError> {
    let OfAccount { user_id } = command.read()?;
    Ok(AccountHiding { user_id, at: command.at })
}

fn refused(detail: String) -> StepError {
    StepError::Refused(Problem::conflict(detail))
}
