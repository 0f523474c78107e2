//! Follows come and go, and with them the followee's tweets in the follower's home.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Transaction, UserId};

use super::{accounts, may_be_at_home, posts};
use crate::{Config, Limits};

/// What a new follow brings home: the followee's tweets, and the replies to the followee by
/// others whom the follower follows; none from below where the home was cut, as it is not complete
/// there.
pub(crate) const BACKFILL: &str = concat!(
    "INSERT INTO home (user_id, tweet_id, author_id, reply_to_author_id, retweeted_id,
                       retweeted_author_id)
     SELECT f.follower_id, p.tweet_id, p.author_id, p.reply_to_author_id, p.retweeted_id,
            p.retweeted_author_id
     FROM follow AS f CROSS JOIN post AS p
     WHERE f.follower_id = $1 AND f.followee_id = $2 AND p.author_id = $2
       AND NOT f.pulled AND p.fanned_out
       AND p.tweet_id > (SELECT a.home_floor FROM account AS a WHERE a.user_id = $1) AND ",
    may_be_at_home!(),
    " UNION
     SELECT f.follower_id, p.tweet_id, p.author_id, p.reply_to_author_id, p.retweeted_id,
            p.retweeted_author_id
     FROM follow AS f CROSS JOIN post AS p
     WHERE f.follower_id = $1 AND p.author_id = f.followee_id AND p.reply_to_author_id = $2
       AND NOT f.pulled AND p.fanned_out
       AND p.tweet_id > (SELECT a.home_floor FROM account AS a WHERE a.user_id = $1)
     ON CONFLICT DO NOTHING"
);

/// The user follows the target from now on. A follow that takes the target above the bound, or
/// comes when it is above, is served at read for good: so never more homes than the bound hold a
/// tweet, and have to be looked through when it is deleted.
pub(crate) async fn add(
    transaction: &mut Transaction,
    user_id: UserId,
    target_id: UserId,
    config: Config,
    limits: Limits,
) -> Result<(), DatabaseError> {
    if user_id == target_id
        || !accounts::ensure(transaction, user_id).await?
        || !accounts::ensure(transaction, target_id).await?
    {
        return Ok(());
    }
    let added = query(
        "INSERT INTO follow (follower_id, followee_id, pulled, merged)
         SELECT $1, user_id, followers >= $3, merged OR followers >= $3
         FROM account WHERE user_id = $2
         ON CONFLICT DO NOTHING",
    )
    .bind(user_id)
    .bind(target_id)
    .bind(config.fanout_followers_max)
    .execute(&mut *transaction)
    .await?;
    if added == 0 {
        return Ok(());
    }
    query("UPDATE account SET followers = followers + 1 WHERE user_id = $1")
        .bind(target_id)
        .execute(&mut *transaction)
        .await?;
    query(BACKFILL).bind(user_id).bind(target_id).execute(&mut *transaction).await?;
    let surplus = query(
        "SELECT tweet_id FROM home WHERE user_id = $1 ORDER BY tweet_id DESC LIMIT 1 OFFSET $2",
    )
    .bind(user_id)
    .bind(limits.home_tweets_max)
    .fetch_optional::<(i64,)>(&mut *transaction)
    .await?;
    if let Some((last_id,)) = surplus {
        posts::trim_home(transaction, user_id.as_i64(), last_id).await?;
    }
    Ok(())
}

/// The user does not follow the target any more: its tweets leave the home, and the replies to
/// it by others.
pub(crate) async fn remove(
    transaction: &mut Transaction,
    user_id: UserId,
    target_id: UserId,
) -> Result<(), DatabaseError> {
    if user_id == target_id {
        return Ok(());
    }
    let removed = query("DELETE FROM follow WHERE follower_id = $1 AND followee_id = $2")
        .bind(user_id)
        .bind(target_id)
        .execute(&mut *transaction)
        .await?;
    if removed == 0 {
        return Ok(());
    }
    query("UPDATE account SET followers = followers - 1 WHERE user_id = $1")
        .bind(target_id)
        .execute(&mut *transaction)
        .await?;
    query(
        "DELETE FROM home
         WHERE user_id = $1 AND author_id <> $1
           AND (author_id = $2 OR reply_to_author_id = $2)",
    )
    .bind(user_id)
    .bind(target_id)
    .execute(&mut *transaction)
    .await?;
    Ok(())
}

/// Whether the service has taken up the graph service's events up to this one.
pub(crate) async fn is_heard(
    transaction: &mut Transaction,
    position: i64,
) -> Result<bool, DatabaseError> {
    let heard = query("SELECT position FROM cursor WHERE source = 'graph' AND position >= $1")
        .bind(position)
        .fetch_optional::<(i64,)>(transaction)
        .await?;
    Ok(heard.is_some())
}

/// Whether the user follows the target.
pub(crate) async fn is_there(
    transaction: &mut Transaction,
    user_id: UserId,
    target_id: UserId,
) -> Result<bool, DatabaseError> {
    let found = query("SELECT followee_id FROM follow WHERE follower_id = $1 AND followee_id = $2")
        .bind(user_id)
        .bind(target_id)
        .fetch_optional::<(i64,)>(transaction)
        .await?;
    Ok(found.is_some())
}
