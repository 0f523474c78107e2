//! Accounts come and go, and with them what they did and what was done with their tweets. Of a
//! deactivated account all of that stays where it is, is not shown and does not count; with the
//! account it comes back.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Transaction, UserId};
use pillion_events::UserEvent;

/// Takes up what happens to an account.
pub(super) async fn apply(
    transaction: &mut Transaction,
    event: UserEvent,
) -> Result<(), DatabaseError> {
    match event {
        UserEvent::Registered(event) => registered(transaction, event.user_id).await,
        UserEvent::ProfileChanged(event) => {
            protect(transaction, event.user_id, event.protected).await
        }
        UserEvent::Deactivated(event) => hide(transaction, event.user_id).await,
        UserEvent::Reactivated(event) => unhide(transaction, event.user_id).await,
        UserEvent::Deleted(event) => delete(transaction, event.user_id).await,
        UserEvent::Renamed(_) => Ok(()),
    }
}

async fn registered(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO account (user_id, protected, deleted) VALUES ($1, FALSE, FALSE)
         ON CONFLICT DO NOTHING",
    )
    .bind(user_id)
    .execute(transaction)
    .await?;
    Ok(())
}

async fn protect(
    transaction: &mut Transaction,
    user_id: UserId,
    protected: bool,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO account (user_id, protected, deleted) VALUES ($1, $2, FALSE)
         ON CONFLICT (user_id) DO UPDATE SET protected = excluded.protected",
    )
    .bind(user_id)
    .bind(protected)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Takes off the counts what the account did and what was done with its tweets.
async fn hide(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    // Who did very much takes as long as it takes to hide.
    transaction.take_time().await?;
    for sql in [
        "INSERT INTO account (user_id, protected, deleted, hidden)
         VALUES ($1, FALSE, FALSE, TRUE)
         ON CONFLICT (user_id) DO UPDATE SET hidden = TRUE",
        "UPDATE tweet_count SET total = total - gone.times
         FROM (SELECT tweet_id, kind, count(*) AS times FROM engagement
               WHERE (user_id = $1 OR author_id = $1) AND shown
               GROUP BY tweet_id, kind) AS gone
         WHERE tweet_count.tweet_id = gone.tweet_id AND tweet_count.kind = gone.kind",
        "UPDATE user_count SET like_count = like_count - gone.times
         FROM (SELECT user_id, count(*) AS times FROM engagement
               WHERE (user_id = $1 OR author_id = $1) AND shown AND kind = 'like'
               GROUP BY user_id) AS gone
         WHERE user_count.user_id = gone.user_id",
        "UPDATE engagement SET shown = FALSE WHERE (user_id = $1 OR author_id = $1) AND shown",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}

/// What an account's return brings back: neither end is hidden still.
macro_rules! comes_back {
    () => {
        "(user_id = $1 OR author_id = $1) AND NOT shown
         AND NOT EXISTS (SELECT 1 FROM account AS a
                         WHERE a.user_id IN (engagement.user_id, engagement.author_id)
                           AND a.hidden)"
    };
}

/// Puts it on the counts again.
async fn unhide(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    transaction.take_time().await?;
    for sql in [
        "UPDATE account SET hidden = FALSE WHERE user_id = $1",
        concat!(
            "UPDATE tweet_count SET total = total + back.times
             FROM (SELECT tweet_id, kind, count(*) AS times FROM engagement WHERE ",
            comes_back!(),
            " GROUP BY tweet_id, kind) AS back
             WHERE tweet_count.tweet_id = back.tweet_id AND tweet_count.kind = back.kind"
        ),
        concat!(
            "UPDATE user_count SET like_count = like_count + back.times
             FROM (SELECT user_id, count(*) AS times FROM engagement
                   WHERE kind = 'like' AND ",
            comes_back!(),
            " GROUP BY user_id) AS back
             WHERE user_count.user_id = back.user_id"
        ),
        concat!("UPDATE engagement SET shown = TRUE WHERE ", comes_back!()),
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}

/// Ends all that the account did and all that was done with its tweets, and lets nothing begin
/// any more.
async fn delete(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    hide(transaction, user_id).await?;
    for sql in [
        "DELETE FROM tweet_count WHERE tweet_id IN
             (SELECT tweet_id FROM engagement WHERE author_id = $1)",
        "DELETE FROM user_count WHERE user_id = $1",
        "DELETE FROM engagement WHERE user_id = $1 OR author_id = $1",
        "UPDATE account SET protected = FALSE, deleted = TRUE, hidden = FALSE WHERE user_id = $1",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
