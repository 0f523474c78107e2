//! What is left of deleted accounts goes some at a time: the first with the event itself, which for
//! most is all, and the others by [`crate::settle`]. Nobody sees it meanwhile, for they are hidden.

use pillion_chassis::sql::{On, query};
use pillion_chassis::{DatabaseError, Transaction, UserId};

use super::posts;

/// Followers, followees, retweets and mentions that are let go in one transaction, while others wait
/// for their turn. All of a follower's home is looked through.
const AT_ONCE_MAX: u32 = if cfg!(test) { 2 } else { 100 };
/// Homes out of which retweets are taken in one transaction; more only if one retweet is in more.
const HOMES_AT_ONCE_MAX: i64 = 5_000;

/// Nobody has a larger id.
const LAST: i64 = i64::MAX;

/// An account of which something is left, if there is any.
pub(crate) async fn next<'c>(on: impl Into<On<'c>>) -> Result<Option<UserId>, DatabaseError> {
    let found = query("SELECT user_id FROM settling ORDER BY user_id LIMIT 1")
        .fetch_optional::<(i64,)>(on)
        .await?;
    Ok(found.and_then(|(user_id,)| UserId::from_i64(user_id)))
}

/// Whether this is such an account.
pub(crate) async fn is_unsettled(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let found = query("SELECT user_id FROM settling WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional::<(i64,)>(transaction)
        .await?;
    Ok(found.is_some())
}

/// Lets some of what is left of an account go. Does nothing when nothing is left.
pub(crate) async fn settle(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    if !is_unsettled(transaction, user_id).await?
        || leave_followers(transaction, user_id).await?
        || leave_followees(transaction, user_id).await?
        || end_retweets(transaction, user_id).await?
        || end_mentions(transaction, user_id).await?
    {
        return Ok(());
    }
    posts::remove_author(transaction, user_id).await?;
    for sql in [
        "DELETE FROM home WHERE user_id = $1",
        "DELETE FROM mention WHERE user_id = $1",
        "DELETE FROM follow WHERE follower_id = $1",
        "UPDATE account SET followers = 0, merged = FALSE, home_floor = -1
         WHERE user_id = $1",
        "DELETE FROM hidden_user WHERE user_id = $1",
        "DELETE FROM settling WHERE user_id = $1",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}

pub(crate) const NTH_FOLLOWER: &str = "SELECT follower_id FROM follow
     WHERE followee_id = $1 AND follower_id <> $1 ORDER BY follower_id LIMIT 1 OFFSET $2 - 1";
/// The account's tweets are in the followers' homes, and the replies to it by others, which these
/// had because they follow both ends.
pub(crate) const LEAVE_HOMES: &str = "DELETE FROM home
     WHERE user_id IN (SELECT follower_id FROM follow
                       WHERE followee_id = $1 AND follower_id <> $1 AND follower_id <= $2)
       AND author_id <> user_id AND (author_id = $1 OR reply_to_author_id = $1)";
pub(crate) const LEAVE_FOLLOWERS: &str = "DELETE FROM follow
     WHERE followee_id = $1 AND follower_id <> $1 AND follower_id <= $2";

/// Takes the account from those who follow it; whether there may be more of them. How many there
/// were is told until all are gone: some go by events of the graph service.
async fn leave_followers(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let nth = nth(transaction, NTH_FOLLOWER, user_id).await?;
    for sql in [LEAVE_HOMES, LEAVE_FOLLOWERS] {
        query(sql).bind(user_id).bind(nth.unwrap_or(LAST)).execute(&mut *transaction).await?;
    }
    Ok(nth.is_some())
}

pub(crate) const NTH_FOLLOWEE: &str = "SELECT followee_id FROM follow
     WHERE follower_id = $1 AND followee_id <> $1 ORDER BY followee_id LIMIT 1 OFFSET $2 - 1";
pub(crate) const UNCOUNT: &str = "UPDATE account SET followers = followers - 1
     WHERE user_id IN (SELECT followee_id FROM follow
                       WHERE follower_id = $1 AND followee_id <> $1 AND followee_id <= $2)";
pub(crate) const LEAVE_FOLLOWEES: &str = "DELETE FROM follow
     WHERE follower_id = $1 AND followee_id <> $1 AND followee_id <= $2";

/// Takes the account from those whom it follows; whether there may be more of them.
async fn leave_followees(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let nth = nth(transaction, NTH_FOLLOWEE, user_id).await?;
    for sql in [UNCOUNT, LEAVE_FOLLOWEES] {
        query(sql).bind(user_id).bind(nth.unwrap_or(LAST)).execute(&mut *transaction).await?;
    }
    Ok(nth.is_some())
}

async fn nth(
    transaction: &mut Transaction,
    sql: &'static str,
    user_id: UserId,
) -> Result<Option<i64>, DatabaseError> {
    let found =
        query(sql).bind(user_id).bind(AT_ONCE_MAX).fetch_optional::<(i64,)>(transaction).await?;
    Ok(found.map(|(id,)| id))
}

/// The first retweets of the account's tweets, each with the homes in which it may be.
pub(crate) const RETWEETS: &str = "SELECT p.tweet_id, a.followers + 1 FROM post AS p
     JOIN account AS a ON a.user_id = p.author_id
     WHERE p.retweeted_author_id = $1 ORDER BY p.tweet_id LIMIT $2";

/// Removes retweets of the account's tweets; whether there may be more of them.
async fn end_retweets(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let next: Vec<(i64, i64)> =
        query(RETWEETS).bind(user_id).bind(AT_ONCE_MAX).fetch_all(&mut *transaction).await?;
    let Some(&(mut up_to, mut homes)) = next.first() else {
        return Ok(false);
    };
    for &(tweet_id, more) in next.iter().skip(1) {
        homes += more;
        if homes > HOMES_AT_ONCE_MAX {
            break;
        }
        up_to = tweet_id;
    }
    posts::remove_retweets_of(transaction, user_id, up_to).await?;
    let is_last = next.last().is_some_and(|(last, _)| *last == up_to);
    Ok(!is_last || next.len() >= AT_ONCE_MAX as usize)
}

pub(crate) const NTH_MENTION: &str = "SELECT user_id, tweet_id FROM mention
     WHERE author_id = $1 ORDER BY user_id, tweet_id LIMIT 1 OFFSET $2 - 1";
pub(crate) const END_MENTIONS: &str = "DELETE FROM mention
     WHERE author_id = $1 AND (user_id, tweet_id) <= ($2, $3)";

/// Removes mentions by the account; whether there may be more of them.
async fn end_mentions(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let nth = query(NTH_MENTION)
        .bind(user_id)
        .bind(AT_ONCE_MAX)
        .fetch_optional::<(i64, i64)>(&mut *transaction)
        .await?;
    let (of, tweet_id) = nth.unwrap_or((LAST, LAST));
    query(END_MENTIONS).bind(user_id).bind(of).bind(tweet_id).execute(transaction).await?;
    Ok(nth.is_some())
}
