//! Tweets and retweets come and go: in their author's list, and in the homes.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Transaction, TweetId, UserId};
use pillion_events::{Retweet, TweetPosted, TweetRef};

use super::{accounts, may_be_at_home};
use crate::{AUTHOR_TWEETS_MAX, Config, Limits};

/// Puts a tweet into the homes of those who follow its author.
pub(crate) const FAN_OUT: &str = concat!(
    "INSERT INTO home (user_id, tweet_id, author_id, reply_to_author_id, retweeted_id,
                       retweeted_author_id)
     SELECT f.follower_id, p.tweet_id, p.author_id, p.reply_to_author_id, p.retweeted_id,
            p.retweeted_author_id
     FROM post AS p CROSS JOIN follow AS f
     WHERE p.tweet_id = $1 AND f.followee_id = p.author_id AND NOT f.pulled AND ",
    may_be_at_home!(),
    " ON CONFLICT DO NOTHING"
);

/// Homes that got the tweet `$1` and hold more than `$2` ids, with the newest id that is too many:
/// each home is looked at for one tweet of [`TRIM_EVERY`], which the times in the two ids decide, so
/// that a rebuild cuts the same ones. Counting at every delivery instead would write a row of each
/// follower once more, which in a rebuild on PostgreSQL (one transaction, so no old version of a row
/// goes away) takes quadratic time.
pub(crate) const FULL_HOMES: &str = "SELECT user_id, last_id FROM
         (SELECT f.follower_id AS user_id,
                 (SELECT h.tweet_id FROM home AS h WHERE h.user_id = f.follower_id
                  ORDER BY h.tweet_id DESC LIMIT 1 OFFSET $2) AS last_id
          FROM post AS p CROSS JOIN follow AS f
          WHERE p.tweet_id = $1 AND f.followee_id = p.author_id AND NOT f.pulled
            AND (p.tweet_id / 4194304 + f.follower_id / 4194304) % $3 = 0) AS home_end
     WHERE last_id IS NOT NULL";

/// Cuts a home back.
pub(crate) const TRIM_HOME: &str = "DELETE FROM home WHERE user_id = $1 AND tweet_id <= $2";
/// Remembers down to which id a home is complete.
pub(crate) const RAISE_FLOOR: &str =
    "UPDATE account SET home_floor = $2 WHERE user_id = $1 AND home_floor < $2";

/// A home is cut back at one delivery of so many: it is seldom more than some dozen ids over its
/// bound.
const TRIM_EVERY: u32 = 32;

/// Dooms what an author's list holds too much.
pub(crate) const DOOM_OLDEST: &str = "UPDATE post SET doomed = TRUE
     WHERE author_id = $1
       AND tweet_id <= (SELECT tweet_id FROM post WHERE author_id = $1
                        ORDER BY tweet_id DESC LIMIT 1 OFFSET $2)";

/// Dooms retweets of an author's tweets, up to one of them.
pub(crate) const DOOM_RETWEETS: &str = "UPDATE post SET doomed = TRUE
     WHERE retweeted_author_id = $1 AND tweet_id <= $2";

/// Takes the doomed tweets out of the homes.
pub(crate) const SWEEP_HOMES: &str = "DELETE FROM home WHERE (user_id, tweet_id) IN
         (SELECT f.follower_id, p.tweet_id FROM post AS p CROSS JOIN follow AS f
          WHERE p.doomed AND p.fanned_out AND f.followee_id = p.author_id AND NOT f.pulled)";

/// What a home shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Post {
    tweet_id: TweetId,
    author_id: UserId,
    reply_to_author_id: Option<UserId>,
    retweeted: Option<TweetRef>,
}

impl Post {
    /// A tweet.
    pub(crate) fn of(posted: &TweetPosted) -> Self {
        Self {
            tweet_id: posted.tweet_id,
            author_id: posted.author_id,
            reply_to_author_id: posted.replied_to.map(|to| to.author_id),
            retweeted: None,
        }
    }

    /// A retweet.
    pub(crate) fn of_retweet(retweet: &Retweet) -> Self {
        let retweeted = TweetRef { tweet_id: retweet.tweet_id, author_id: retweet.author_id };
        Self {
            tweet_id: retweet.retweet_id,
            author_id: retweet.user_id,
            reply_to_author_id: None,
            retweeted: Some(retweeted),
        }
    }
}

/// Takes in a new tweet. `false` when it is not to be shown: it, the tweet that it shares or one
/// of the authors is gone already, for the services' events come in each at its own pace.
pub(crate) async fn add(
    transaction: &mut Transaction,
    post: &Post,
    config: Config,
    limits: Limits,
) -> Result<bool, DatabaseError> {
    if is_gone(transaction, post).await? || !accounts::ensure(transaction, post.author_id).await? {
        return Ok(false);
    }
    let (followers, merged): (i64, bool) =
        query("SELECT followers, merged FROM account WHERE user_id = $1")
            .bind(post.author_id)
            .fetch_one(&mut *transaction)
            .await?;
    let fanned_out = followers <= i64::from(config.fanout_followers_max);
    let added = query(
        "INSERT INTO post (tweet_id, author_id, reply_to_author_id, retweeted_id,
                           retweeted_author_id, fanned_out)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(post.tweet_id)
    .bind(post.author_id)
    .bind(post.reply_to_author_id)
    .bind(post.retweeted.map(|tweet| tweet.tweet_id))
    .bind(post.retweeted.map(|tweet| tweet.author_id))
    .bind(fanned_out)
    .execute(&mut *transaction)
    .await?;
    if added == 0 {
        return Ok(false);
    }
    trim_author(transaction, post.author_id).await?;
    if fanned_out {
        fan_out(transaction, post, limits).await?;
        if merged {
            set_unmerged(transaction, post.author_id).await?;
        }
    } else if !merged {
        set_merged(transaction, post.author_id).await?;
    }
    Ok(true)
}

/// A tweet was deleted: it and its retweets go, and none that comes in late is shown.
pub(crate) async fn remove_tweet(
    transaction: &mut Transaction,
    tweet_id: TweetId,
) -> Result<(), DatabaseError> {
    query("INSERT INTO deleted_tweet (tweet_id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(tweet_id)
        .execute(&mut *transaction)
        .await?;
    // What many people shared takes as long as it takes to remove.
    transaction.take_time().await?;
    let doomed = query("UPDATE post SET doomed = TRUE WHERE tweet_id = $1 OR retweeted_id = $1")
        .bind(tweet_id)
        .execute(&mut *transaction)
        .await?;
    sweep(transaction, doomed).await
}

/// A retweet was taken back.
pub(crate) async fn remove_retweet(
    transaction: &mut Transaction,
    retweet_id: TweetId,
) -> Result<(), DatabaseError> {
    let doomed = query("UPDATE post SET doomed = TRUE WHERE tweet_id = $1")
        .bind(retweet_id)
        .execute(&mut *transaction)
        .await?;
    sweep(transaction, doomed).await
}

/// The tweets of an author who is gone, whom nobody follows any more.
pub(super) async fn remove_author(
    transaction: &mut Transaction,
    author_id: UserId,
) -> Result<(), DatabaseError> {
    let doomed = query("UPDATE post SET doomed = TRUE WHERE author_id = $1")
        .bind(author_id)
        .execute(&mut *transaction)
        .await?;
    sweep(transaction, doomed).await
}

/// The retweets by others of the tweets of an author who is gone, up to the one of that id.
pub(super) async fn remove_retweets_of(
    transaction: &mut Transaction,
    author_id: UserId,
    up_to: i64,
) -> Result<(), DatabaseError> {
    let doomed =
        query(DOOM_RETWEETS).bind(author_id).bind(up_to).execute(&mut *transaction).await?;
    sweep(transaction, doomed).await
}

async fn is_gone(transaction: &mut Transaction, post: &Post) -> Result<bool, DatabaseError> {
    let retweeted = post.retweeted;
    let (gone,): (i64,) = query(
        "SELECT (SELECT count(*) FROM deleted_tweet WHERE tweet_id IN ($1, $2))
              + (SELECT count(*) FROM account WHERE user_id = $3 AND deleted)",
    )
    .bind(post.tweet_id)
    .bind(retweeted.map(|tweet| tweet.tweet_id))
    .bind(retweeted.map(|tweet| tweet.author_id))
    .fetch_one(&mut *transaction)
    .await?;
    Ok(gone > 0)
}

/// Keeps an author's list within its bound. What leaves the list leaves the homes: so a home
/// never holds what a later event could not find.
async fn trim_author(
    transaction: &mut Transaction,
    author_id: UserId,
) -> Result<(), DatabaseError> {
    let doomed = query(DOOM_OLDEST)
        .bind(author_id)
        .bind(AUTHOR_TWEETS_MAX)
        .execute(&mut *transaction)
        .await?;
    sweep(transaction, doomed).await
}

/// Takes the doomed tweets out of the homes of their authors' followers, and away. `doomed` is
/// how many there are.
async fn sweep(transaction: &mut Transaction, doomed: u64) -> Result<(), DatabaseError> {
    if doomed == 0 {
        return Ok(());
    }
    query(SWEEP_HOMES).execute(&mut *transaction).await?;
    query("DELETE FROM post WHERE doomed").execute(&mut *transaction).await?;
    Ok(())
}

/// Puts a tweet into the followers' homes.
async fn fan_out(
    transaction: &mut Transaction,
    post: &Post,
    limits: Limits,
) -> Result<(), DatabaseError> {
    let added = query(FAN_OUT).bind(post.tweet_id).execute(&mut *transaction).await?;
    if added == 0 {
        return Ok(());
    }
    let full: Vec<(i64, i64)> = query(FULL_HOMES)
        .bind(post.tweet_id)
        .bind(limits.home_tweets_max)
        .bind(TRIM_EVERY)
        .fetch_all(&mut *transaction)
        .await?;
    for (user_id, last_id) in full {
        trim_home(transaction, user_id, last_id).await?;
    }
    Ok(())
}

/// Cuts everything up to this id off a home.
pub(super) async fn trim_home(
    transaction: &mut Transaction,
    user_id: i64,
    last_id: i64,
) -> Result<(), DatabaseError> {
    for sql in [TRIM_HOME, RAISE_FLOOR] {
        query(sql).bind(user_id).bind(last_id).execute(&mut *transaction).await?;
    }
    Ok(())
}

/// The author's first tweet that is merged at read: the readers' follows say so from now on.
async fn set_merged(transaction: &mut Transaction, author_id: UserId) -> Result<(), DatabaseError> {
    query("UPDATE account SET merged = TRUE WHERE user_id = $1")
        .bind(author_id)
        .execute(&mut *transaction)
        .await?;
    query("UPDATE follow SET merged = TRUE WHERE followee_id = $1 AND NOT pulled")
        .bind(author_id)
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

/// Once the author's last tweet that is merged at read has left the list, readers need not look.
async fn set_unmerged(
    transaction: &mut Transaction,
    author_id: UserId,
) -> Result<(), DatabaseError> {
    let unmerged = query(
        "UPDATE account SET merged = FALSE
         WHERE user_id = $1
           AND NOT EXISTS (SELECT 1 FROM post WHERE author_id = $1 AND NOT fanned_out)",
    )
    .bind(author_id)
    .execute(&mut *transaction)
    .await?;
    if unmerged > 0 {
        query("UPDATE follow SET merged = FALSE WHERE followee_id = $1 AND NOT pulled")
            .bind(author_id)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}
