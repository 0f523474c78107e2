//! Accounts come and go, for good or for a while.

use pillion_chassis::sql::{On, query};
use pillion_chassis::{DatabaseError, Transaction, UserId};

use super::posts;

/// Makes sure that the account is known; `false` when it was deleted, and then nothing must be
/// kept for it.
pub(crate) async fn ensure(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let found = query("SELECT deleted FROM account WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional::<(bool,)>(&mut *transaction)
        .await?;
    if let Some((deleted,)) = found {
        return Ok(!deleted);
    }
    query("INSERT INTO account (user_id) VALUES ($1)")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    query("INSERT INTO follow (follower_id, followee_id) VALUES ($1, $1)")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    Ok(true)
}

/// Takes away everything of an account: its tweets and the retweets of these, its home and
/// mentions, and its follows in both directions.
pub(crate) async fn delete(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    // An account that many follow takes as long as it takes to remove.
    transaction.take_time().await?;
    posts::remove_author(transaction, user_id).await?;
    leave_conversations(transaction, user_id).await?;
    query("DELETE FROM home WHERE user_id = $1").bind(user_id).execute(&mut *transaction).await?;
    query("DELETE FROM mention WHERE user_id = $1")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    query("DELETE FROM mention WHERE author_id = $1")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    query(
        "UPDATE account SET followers = followers - 1
         WHERE user_id IN (SELECT followee_id FROM follow
                           WHERE follower_id = $1 AND followee_id <> $1)",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    for sql in [
        "DELETE FROM follow WHERE follower_id = $1",
        "DELETE FROM follow WHERE followee_id = $1",
        "DELETE FROM hidden_user WHERE user_id = $1",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    query(
        "INSERT INTO account (user_id, deleted) VALUES ($1, TRUE)
         ON CONFLICT (user_id) DO UPDATE
         SET deleted = TRUE, followers = 0, merged = FALSE",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    Ok(())
}

/// An account was never there: nothing of it remains.
pub(crate) async fn forget(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    delete(transaction, user_id).await?;
    query("DELETE FROM account WHERE user_id = $1").bind(user_id).execute(transaction).await?;
    Ok(())
}

/// Leaves a user out of all timelines from now on, or does not any more.
pub(crate) async fn set_hidden(
    transaction: &mut Transaction,
    user_id: UserId,
    hidden: bool,
) -> Result<(), DatabaseError> {
    let sql = if hidden {
        "INSERT INTO hidden_user (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
    } else {
        "DELETE FROM hidden_user WHERE user_id = $1"
    };
    query(sql).bind(user_id).execute(transaction).await?;
    Ok(())
}

/// How an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is known of it.
    Unknown,
    /// It is there.
    There,
    /// It is deactivated.
    Hidden,
    /// It is gone for good.
    Deleted,
}

/// How an account stands.
pub(crate) async fn standing<'c>(
    on: impl Into<On<'c>>,
    user_id: UserId,
) -> Result<Standing, DatabaseError> {
    let found = query(
        "SELECT deleted, EXISTS (SELECT 1 FROM hidden_user AS u WHERE u.user_id = account.user_id)
         FROM account WHERE user_id = $1",
    )
    .bind(user_id)
    .fetch_optional::<(bool, bool)>(on)
    .await?;
    Ok(match found {
        None => Standing::Unknown,
        Some((true, _)) => Standing::Deleted,
        Some((false, true)) => Standing::Hidden,
        Some((false, false)) => Standing::There,
    })
}

/// Takes the replies to an account out of the homes of its followers, who had them because they
/// follow both ends. They stay at home with those who wrote them.
async fn leave_conversations(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM home
         WHERE user_id IN (SELECT follower_id FROM follow WHERE followee_id = $1)
           AND reply_to_author_id = $1 AND author_id <> user_id",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    Ok(())
}
