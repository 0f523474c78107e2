//! Accounts come and go, and with them their tweets. A deactivated author is hidden: the tweets
//! stay where they are and are not shown, and what they counted for others is taken off; with the
//! author both come back.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Transaction, UserId};

/// There is a new account.
pub(super) async fn registered(
    transaction: &mut Transaction,
    user_id: UserId,
    username: &str,
) -> Result<(), DatabaseError> {
    query("INSERT INTO account (user_id, username) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(user_id)
        .bind(username)
        .execute(transaction)
        .await?;
    Ok(())
}

/// An account has another handle. One that was deleted has none.
pub(super) async fn renamed(
    transaction: &mut Transaction,
    user_id: UserId,
    username: &str,
) -> Result<(), DatabaseError> {
    query("UPDATE account SET username = $2 WHERE user_id = $1 AND username IS NOT NULL")
        .bind(user_id)
        .bind(username)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Removes all tweets of an account, what repeats them, and their share in the counts of others.
/// The account stays known as deleted: a retweet of it may be told of later.
pub(super) async fn deleted(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    hide(transaction, user_id).await?;
    for sql in [
        "DELETE FROM tweet WHERE author_id = $1 OR retweeted_author_id = $1",
        "DELETE FROM hidden_author WHERE user_id = $1",
        "INSERT INTO account (user_id, username) VALUES ($1, NULL)
         ON CONFLICT (user_id) DO UPDATE SET username = NULL",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}

/// Hides an author's tweets and the retweets of them.
pub(super) async fn hide(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    // Who wrote very much takes as long as it takes to hide.
    transaction.take_time().await?;
    for sql in [
        "INSERT INTO hidden_author (user_id) VALUES ($1) ON CONFLICT DO NOTHING",
        "UPDATE tweet SET reply_count = reply_count - gone.times
         FROM (SELECT replied_to_id AS to_id, count(*) AS times FROM tweet
               WHERE author_id = $1 AND shown AND replied_to_id IS NOT NULL
               GROUP BY replied_to_id) AS gone
         WHERE tweet.tweet_id = gone.to_id",
        "UPDATE tweet SET quote_count = quote_count - gone.times
         FROM (SELECT quoted_id AS to_id, count(*) AS times FROM tweet
               WHERE author_id = $1 AND shown AND quoted_id IS NOT NULL
               GROUP BY quoted_id) AS gone
         WHERE tweet.tweet_id = gone.to_id",
        "UPDATE author SET tweet_count = tweet_count - gone.times
         FROM (SELECT author_id, count(*) AS times FROM tweet
               WHERE (author_id = $1 OR retweeted_author_id = $1) AND shown
               GROUP BY author_id) AS gone
         WHERE author.user_id = gone.author_id",
        "DELETE FROM author WHERE tweet_count = 0 AND user_id IN
             (SELECT author_id FROM tweet
              WHERE (author_id = $1 OR retweeted_author_id = $1) AND shown)",
        "UPDATE tweet SET shown = FALSE
         WHERE (author_id = $1 OR retweeted_author_id = $1) AND shown",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}

/// Those tweets that an author's return brings back: of a retweet neither end is hidden still.
macro_rules! comes_back {
    () => {
        "(author_id = $1 OR retweeted_author_id = $1) AND NOT shown
         AND NOT EXISTS (SELECT 1 FROM hidden_author
                         WHERE user_id IN (tweet.author_id, tweet.retweeted_author_id))"
    };
}

/// Shows them again.
pub(super) async fn unhide(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    transaction.take_time().await?;
    for sql in [
        "DELETE FROM hidden_author WHERE user_id = $1",
        concat!(
            "UPDATE tweet SET reply_count = reply_count + back.times
             FROM (SELECT replied_to_id AS to_id, count(*) AS times FROM tweet
                   WHERE replied_to_id IS NOT NULL AND ",
            comes_back!(),
            " GROUP BY replied_to_id) AS back
             WHERE tweet.tweet_id = back.to_id"
        ),
        concat!(
            "UPDATE tweet SET quote_count = quote_count + back.times
             FROM (SELECT quoted_id AS to_id, count(*) AS times FROM tweet
                   WHERE quoted_id IS NOT NULL AND ",
            comes_back!(),
            " GROUP BY quoted_id) AS back
             WHERE tweet.tweet_id = back.to_id"
        ),
        concat!(
            "INSERT INTO author (user_id, tweet_count)
             SELECT author_id, count(*) FROM tweet WHERE ",
            comes_back!(),
            " GROUP BY author_id
             ON CONFLICT (user_id) DO UPDATE
             SET tweet_count = author.tweet_count + excluded.tweet_count"
        ),
        concat!("UPDATE tweet SET shown = TRUE WHERE ", comes_back!()),
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
