//! What decides who is told: follows, blocks, mutes and protected accounts.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Transaction, UserId};

use super::inbox;

/// Why a user hears nothing of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    Block,
    Mute,
}

impl Silence {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Mute => "mute",
        }
    }
}

/// The user follows the target from now on.
pub(crate) async fn follow(
    transaction: &mut Transaction,
    user_id: UserId,
    target_id: UserId,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO follow (follower_id, followee_id)
         SELECT $1, $2
         WHERE NOT EXISTS (SELECT 1 FROM account WHERE user_id IN ($1, $2) AND deleted)
         ON CONFLICT DO NOTHING",
    )
    .bind(user_id)
    .bind(target_id)
    .execute(transaction)
    .await?;
    Ok(())
}

/// The user does not follow the target any more, and hears no more of its tweets if they are
/// protected.
pub(crate) async fn unfollow(
    transaction: &mut Transaction,
    user_id: UserId,
    target_id: UserId,
) -> Result<(), DatabaseError> {
    query("DELETE FROM follow WHERE follower_id = $1 AND followee_id = $2")
        .bind(user_id)
        .bind(target_id)
        .execute(&mut *transaction)
        .await?;
    inbox::withdraw_protected_from(transaction, user_id, target_id).await
}

/// The user does not want to hear of the target.
pub(crate) async fn silence(
    transaction: &mut Transaction,
    user_id: UserId,
    target_id: UserId,
    reason: Silence,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO silence (user_id, target_id, reason)
         SELECT $1, $2, $3
         WHERE NOT EXISTS (SELECT 1 FROM account WHERE user_id IN ($1, $2) AND deleted)
         ON CONFLICT DO NOTHING",
    )
    .bind(user_id)
    .bind(target_id)
    .bind(reason.as_str())
    .execute(transaction)
    .await?;
    Ok(())
}

/// The user wants to hear of the target again.
pub(crate) async fn unsilence(
    transaction: &mut Transaction,
    user_id: UserId,
    target_id: UserId,
    reason: Silence,
) -> Result<(), DatabaseError> {
    query("DELETE FROM silence WHERE user_id = $1 AND target_id = $2 AND reason = $3")
        .bind(user_id)
        .bind(target_id)
        .bind(reason.as_str())
        .execute(transaction)
        .await?;
    Ok(())
}

/// The account's tweets are for its followers only, or for everyone.
pub(crate) async fn protect(
    transaction: &mut Transaction,
    user_id: UserId,
    protected: bool,
) -> Result<(), DatabaseError> {
    let changed = query(
        "INSERT INTO account (user_id, protected) VALUES ($1, $2)
         ON CONFLICT (user_id) DO UPDATE SET protected = excluded.protected
         WHERE account.protected <> excluded.protected AND NOT account.deleted",
    )
    .bind(user_id)
    .bind(protected)
    .execute(&mut *transaction)
    .await?;
    if changed > 0 && protected {
        inbox::withdraw_protected(transaction, user_id).await?;
    }
    Ok(())
}

/// The account is for others as if it did not exist, or is there again.
pub(crate) async fn set_deactivated(
    transaction: &mut Transaction,
    user_id: UserId,
    deactivated: bool,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO account (user_id, deactivated) VALUES ($1, $2)
         ON CONFLICT (user_id) DO UPDATE SET deactivated = excluded.deactivated
         WHERE NOT account.deleted",
    )
    .bind(user_id)
    .bind(deactivated)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Takes away everything of an account.
pub(crate) async fn delete(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    for sql in [
        "DELETE FROM follow WHERE follower_id = $1",
        "DELETE FROM follow WHERE followee_id = $1",
        "DELETE FROM silence WHERE user_id = $1",
        "DELETE FROM silence WHERE target_id = $1",
        "INSERT INTO account (user_id, deleted) VALUES ($1, TRUE)
         ON CONFLICT (user_id) DO UPDATE
         SET deleted = TRUE, protected = FALSE, deactivated = FALSE",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
