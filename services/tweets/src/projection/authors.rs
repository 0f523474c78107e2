//! Accounts come and go, and with them their tweets. A deactivated author is hidden: the tweets
//! stay where they are and are not shown, and what they counted for others is taken off; with the
//! author both come back.
//!
//! Whom readers see is told by one row, however much somebody wrote. The counts, and the tweets of
//! a deleted account, are settled some at a time: the first with the event itself, which for most
//! is all, and the others by [`crate::settle`].

use pillion_chassis::sql::{list, query};
use pillion_chassis::{DatabaseError, Transaction, UserId};

/// Tweets that are settled in one transaction, while others wait for their turn.
const SETTLED_AT_ONCE_MAX: u32 = if cfg!(test) { 8 } else { 1_000 };

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
    query(
        "INSERT INTO account (user_id, username) VALUES ($1, NULL)
         ON CONFLICT (user_id) DO UPDATE SET username = NULL",
    )
    .bind(user_id)
    .execute(&mut *transaction)
    .await?;
    hide(transaction, user_id).await
}

/// Hides an author's tweets and the retweets of them: nobody sees them any more.
pub(super) async fn hide(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    query("INSERT INTO hidden_author (user_id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    unsettle(transaction, user_id).await
}

/// Shows them again.
pub(super) async fn unhide(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    query("DELETE FROM hidden_author WHERE user_id = $1")
        .bind(user_id)
        .execute(&mut *transaction)
        .await?;
    unsettle(transaction, user_id).await
}

/// Begins to settle an author's tweets, from the first one on.
async fn unsettle(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    set_settled(transaction, user_id, -1).await?;
    settle(transaction, user_id).await
}

/// What of an author is to be settled next: its own tweets, and the retweets of them.
const NEXT: &str = concat!(
    "SELECT t.tweet_id, t.shown, ",
    crate::store::is_for_all!(),
    " FROM (SELECT tweet_id FROM (SELECT tweet_id FROM tweet
                                  WHERE author_id = $1 AND tweet_id > $2
                                  ORDER BY tweet_id LIMIT $3) AS own
            UNION
            SELECT tweet_id FROM (SELECT tweet_id FROM tweet
                                  WHERE retweeted_author_id = $1 AND tweet_id > $2
                                  ORDER BY tweet_id LIMIT $3) AS repeated
            ORDER BY 1 LIMIT $3) AS next
     JOIN tweet AS t ON t.tweet_id = next.tweet_id
     ORDER BY t.tweet_id"
);

/// Counts those of an author's next tweets that are for all to see, and no others; removes them
/// when the account was deleted. Does nothing when all is settled.
pub(super) async fn settle(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    let found = query(
        "SELECT s.after_id, a.user_id IS NOT NULL AND a.username IS NULL
         FROM settling AS s LEFT JOIN account AS a ON a.user_id = s.user_id
         WHERE s.user_id = $1",
    )
    .bind(user_id)
    .fetch_optional::<(i64, bool)>(&mut *transaction)
    .await?;
    let Some((after, is_deleted)) = found else {
        return Ok(());
    };
    let next: Vec<(i64, bool, bool)> = query(NEXT)
        .bind(user_id)
        .bind(after)
        .bind(SETTLED_AT_ONCE_MAX)
        .fetch_all(&mut *transaction)
        .await?;
    let those = |shown: bool| {
        let changed = next.iter().filter(move |(_, was, is)| *was != shown && *is == shown);
        changed.map(|(id, ..)| *id).collect::<Vec<_>>()
    };
    count(transaction, &those(true)).await?;
    discount(transaction, &those(false)).await?;
    if is_deleted {
        query(
            "DELETE FROM tweet
             WHERE tweet_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
        )
        .bind(list(next.iter().map(|(id, ..)| *id)))
        .execute(&mut *transaction)
        .await?;
    }
    match next.last() {
        Some((last, ..)) if next.len() >= SETTLED_AT_ONCE_MAX as usize => {
            set_settled(transaction, user_id, *last).await
        }
        _ => {
            query("DELETE FROM settling WHERE user_id = $1")
                .bind(user_id)
                .execute(&mut *transaction)
                .await?;
            // Nothing is left that it could hide.
            query(
                "DELETE FROM hidden_author WHERE user_id = $1 AND EXISTS
                     (SELECT 1 FROM account WHERE user_id = $1 AND username IS NULL)",
            )
            .bind(user_id)
            .execute(transaction)
            .await?;
            Ok(())
        }
    }
}

/// Up to this tweet the author's are settled.
async fn set_settled(
    transaction: &mut Transaction,
    user_id: UserId,
    after: i64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO settling (user_id, after_id) VALUES ($1, $2)
         ON CONFLICT (user_id) DO UPDATE SET after_id = excluded.after_id",
    )
    .bind(user_id)
    .bind(after)
    .execute(transaction)
    .await?;
    Ok(())
}

/// The tweets of a list.
macro_rules! of_list {
    () => {
        "tweet_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))"
    };
}

/// How often tweets of a list point at each other tweet.
macro_rules! times {
    ($column:literal) => {
        concat!(
            " FROM (SELECT ",
            $column,
            " AS to_id, count(*) AS times FROM tweet WHERE ",
            $column,
            " IS NOT NULL AND ",
            of_list!(),
            " GROUP BY 1) AS pointing WHERE tweet.tweet_id = pointing.to_id"
        )
    };
}

/// Counts tweets that were not.
async fn count(transaction: &mut Transaction, tweets: &[i64]) -> Result<(), DatabaseError> {
    let statements = [
        concat!("UPDATE tweet SET reply_count = reply_count + times", times!("replied_to_id")),
        concat!("UPDATE tweet SET quote_count = quote_count + times", times!("quoted_id")),
        concat!(
            "INSERT INTO author (user_id, tweet_count)
             SELECT author_id, count(*) FROM tweet WHERE ",
            of_list!(),
            " GROUP BY author_id
             ON CONFLICT (user_id) DO UPDATE
             SET tweet_count = author.tweet_count + excluded.tweet_count"
        ),
        concat!("UPDATE tweet SET shown = TRUE WHERE ", of_list!()),
    ];
    run(transaction, &statements, tweets).await
}

/// Takes counted tweets out of the counts.
async fn discount(transaction: &mut Transaction, tweets: &[i64]) -> Result<(), DatabaseError> {
    let statements = [
        concat!("UPDATE tweet SET reply_count = reply_count - times", times!("replied_to_id")),
        concat!("UPDATE tweet SET quote_count = quote_count - times", times!("quoted_id")),
        concat!(
            "UPDATE author SET tweet_count = tweet_count - times
             FROM (SELECT author_id, count(*) AS times FROM tweet WHERE ",
            of_list!(),
            " GROUP BY author_id) AS gone
             WHERE author.user_id = gone.author_id"
        ),
        concat!(
            "DELETE FROM author WHERE tweet_count = 0
               AND user_id IN (SELECT author_id FROM tweet WHERE ",
            of_list!(),
            ")"
        ),
        concat!("UPDATE tweet SET shown = FALSE WHERE ", of_list!()),
    ];
    run(transaction, &statements, tweets).await
}

async fn run(
    transaction: &mut Transaction,
    statements: &[&'static str],
    tweets: &[i64],
) -> Result<(), DatabaseError> {
    if tweets.is_empty() {
        return Ok(());
    }
    let tweets = list(tweets.iter().copied());
    for sql in statements {
        query(*sql).bind(&tweets).execute(&mut *transaction).await?;
    }
    Ok(())
}
