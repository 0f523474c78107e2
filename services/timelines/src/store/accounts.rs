//! Accounts come and go.

use pillion_chassis::sql::query;
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
    query("DELETE FROM follow WHERE follower_id = $1")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    query("DELETE FROM follow WHERE followee_id = $1")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    query(
        "INSERT INTO account (user_id, deleted) VALUES ($1, TRUE)
         ON CONFLICT (user_id) DO UPDATE
         SET deleted = TRUE, followers = 0, merged = FALSE, home_ids = 0",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    Ok(())
}

/// Takes the replies to an account out of the homes of its followers, who had them because they
/// follow both ends. They stay at home with those who wrote them.
async fn leave_conversations(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    let changed = query(
        "UPDATE account SET home_ids = account.home_ids - gone.ids
         FROM (SELECT h.user_id AS user_id, count(*) AS ids
               FROM follow AS f CROSS JOIN home AS h
               WHERE f.followee_id = $1 AND h.user_id = f.follower_id
                 AND h.reply_to_author_id = $1 AND h.author_id <> h.user_id
               GROUP BY h.user_id) AS gone
         WHERE account.user_id = gone.user_id",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    if changed > 0 {
        query(
            "DELETE FROM home
             WHERE user_id IN (SELECT follower_id FROM follow WHERE followee_id = $1)
               AND reply_to_author_id = $1 AND author_id <> user_id",
        )
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    }
    Ok(())
}
