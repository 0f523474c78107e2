//! Retweets come and go. Each is a tweet without a text of its own.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Transaction, TweetId};
use pillion_events::Retweet;

use super::{count_tweet, uncount_tweet};

/// Adds a retweet, unless what it repeats or who repeats it has gone meanwhile.
pub(super) async fn added(
    transaction: &mut Transaction,
    event: &Retweet,
) -> Result<(), DatabaseError> {
    let added = query(
        "INSERT INTO tweet
             (tweet_id, author_id, text, conversation_id, reply_settings, client_id, created_at,
              retweeted_id, retweeted_author_id, shown)
         SELECT $1, $2, '', $1, 'everyone', '', $3, tweet_id, author_id,
                NOT EXISTS (SELECT 1 FROM hidden_author
                            WHERE hidden_author.user_id IN ($2, tweet.author_id))
         FROM tweet
         WHERE tweet_id = $4 AND retweeted_id IS NULL AND NOT EXISTS
             (SELECT 1 FROM account WHERE account.user_id IN ($2, tweet.author_id)
                                      AND username IS NULL)
         ON CONFLICT DO NOTHING
         RETURNING shown",
    )
    .bind(event.retweet_id)
    .bind(event.user_id)
    .bind(event.at)
    .bind(event.tweet_id)
    .fetch_optional::<(bool,)>(&mut *transaction)
    .await?;
    if added == Some((true,)) {
        count_tweet(transaction, event.user_id).await?;
    }
    Ok(())
}

/// Removes a retweet.
pub(super) async fn taken_back(
    transaction: &mut Transaction,
    retweet_id: TweetId,
) -> Result<(), DatabaseError> {
    let removed = query(
        "DELETE FROM tweet WHERE tweet_id = $1 AND retweeted_id IS NOT NULL
         RETURNING author_id, shown",
    )
    .bind(retweet_id)
    .fetch_optional::<(i64, bool)>(&mut *transaction)
    .await?;
    if let Some((author_id, true)) = removed {
        uncount_tweet(transaction, author_id).await?;
    }
    Ok(())
}

/// Removes the retweets of a tweet.
pub(super) async fn remove_of(
    transaction: &mut Transaction,
    tweet_id: TweetId,
) -> Result<(), DatabaseError> {
    for sql in [
        "UPDATE author SET tweet_count = tweet_count - gone.times
         FROM (SELECT author_id, count(*) AS times FROM tweet
               WHERE retweeted_id = $1 AND shown GROUP BY author_id) AS gone
         WHERE author.user_id = gone.author_id",
        "DELETE FROM author WHERE tweet_count = 0 AND user_id IN
             (SELECT author_id FROM tweet WHERE retweeted_id = $1)",
        "DELETE FROM tweet WHERE retweeted_id = $1",
    ] {
        query(sql).bind(tweet_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
