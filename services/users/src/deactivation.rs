//! The steps of a deactivation: the account is as if it did not exist, then it is there again, or
//! gone for good.

use pillion_chassis::database::Transaction;
use pillion_chassis::journal::Journal;
use pillion_chassis::saga::StepError;
use pillion_chassis::{Timestamp, UserId, personal};
use pillion_events::{UserDeactivated, UserDeleted, UserEvent, UserReactivated};

use crate::store::{Row, by_id, record};

/// Makes the account as if it did not exist. One that is deactivated or gone already is left so.
pub(crate) async fn deactivate(
    journal: &Journal,
    transaction: &mut Transaction,
    user_id: UserId,
    at: Timestamp,
) -> Result<(), StepError> {
    if let Some(Row { deleted_at: None, deactivated_at: None, .. }) =
        by_id(transaction, user_id).await?
    {
        let event = UserEvent::Deactivated(UserDeactivated { user_id, at });
        record(journal, transaction, user_id, &event, at).await?;
    }
    Ok(())
}

/// Brings the account back as it was.
pub(crate) async fn reactivate(
    journal: &Journal,
    transaction: &mut Transaction,
    user_id: UserId,
    at: Timestamp,
) -> Result<(), StepError> {
    if let Some(Row { deleted_at: None, deactivated_at: Some(_), .. }) =
        by_id(transaction, user_id).await?
    {
        let event = UserEvent::Reactivated(UserReactivated { user_id, at });
        record(journal, transaction, user_id, &event, at).await?;
    }
    Ok(())
}

/// Deletes the account for good, with the keys to what its owner said.
pub(crate) async fn purge(
    journal: &Journal,
    transaction: &mut Transaction,
    user_id: UserId,
    at: Timestamp,
) -> Result<(), StepError> {
    if let Some(Row { deleted_at: None, .. }) = by_id(transaction, user_id).await? {
        let event = UserEvent::Deleted(UserDeleted { user_id, deleted_at: at });
        record(journal, transaction, user_id, &event, at).await?;
    }
    Ok(personal::shred(transaction, user_id).await?)
}
