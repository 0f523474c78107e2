//! Tweets enter and leave the mentions timelines.

use std::collections::BTreeSet;

use pillion_chassis::sql::{list, query};
use pillion_chassis::{DatabaseError, Transaction, TweetId, UserId};
use pillion_events::TweetPosted;

use crate::MENTIONS_MAX;

/// Takes the oldest mention of each of the users `$1` who, by the one that was just added, has one
/// more than `$2`.
pub(crate) const TRIM: &str = "DELETE FROM mention WHERE (user_id, tweet_id) IN
         (SELECT CAST(r.value AS BIGINT),
                 (SELECT m.tweet_id FROM mention AS m WHERE m.user_id = CAST(r.value AS BIGINT)
                  ORDER BY m.tweet_id DESC LIMIT 1 OFFSET $2)
          FROM json_each($1) AS r)";

/// Puts a tweet into the timelines of those whom it mentions.
pub(crate) async fn add(
    transaction: &mut Transaction,
    posted: &TweetPosted,
) -> Result<(), DatabaseError> {
    let users = mentioned(posted);
    if users.is_empty() {
        return Ok(());
    }
    let users = list(users);
    query(
        "INSERT INTO mention (user_id, tweet_id, author_id)
         SELECT CAST(value AS BIGINT), $2, $3 FROM json_each($1)
         WHERE CAST(value AS BIGINT) NOT IN (SELECT user_id FROM account
                WHERE deleted AND user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1)))
         ON CONFLICT DO NOTHING",
    )
    .bind(&users)
    .bind(posted.tweet_id)
    .bind(posted.author_id)
    .execute(&mut *transaction)
    .await?;
    query(TRIM).bind(&users).bind(MENTIONS_MAX).execute(&mut *transaction).await?;
    Ok(())
}

/// Takes a tweet out of all of them.
pub(crate) async fn remove_tweet(
    transaction: &mut Transaction,
    tweet_id: TweetId,
) -> Result<(), DatabaseError> {
    query("DELETE FROM mention WHERE tweet_id = $1")
        .bind(tweet_id)
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

/// Those whom the text names and whom the tweet answers: a reply speaks to its addressee without
/// a name, too. Answering oneself does not.
fn mentioned(posted: &TweetPosted) -> BTreeSet<UserId> {
    let addressee = posted.replied_to.map(|to| to.author_id).filter(|id| *id != posted.author_id);
    posted.mentions.iter().map(|mention| mention.user_id).chain(addressee).collect()
}
