//! Notifications come and go.

use pillion_chassis::sql::{list, query};
use pillion_chassis::{DatabaseError, Transaction, TweetId, UserId};
use pillion_events::NotificationId;

use crate::KEPT_MAX;
use crate::notice::{Kind, Notice};

/// Those among the users `$1` who are to hear of a deed of `$2`: who neither blocked nor muted
/// the actor nor was blocked by it, and, if it is about a tweet of the actor's (`$3`), may see
/// that. Nobody, if the actor or the tweet `$4` is gone already: the services' events come in
/// each at its own pace.
const WHO_MAY_HEAR: &str = "SELECT CAST(r.value AS BIGINT) FROM json_each($1) AS r
     WHERE NOT EXISTS (SELECT 1 FROM account AS a
                       WHERE a.user_id IN (CAST(r.value AS BIGINT), $2) AND a.deleted)
       AND NOT EXISTS (SELECT 1 FROM silence AS s
                       WHERE s.user_id = CAST(r.value AS BIGINT) AND s.target_id = $2)
       AND NOT EXISTS (SELECT 1 FROM silence AS s
                       WHERE s.user_id = $2 AND s.target_id = CAST(r.value AS BIGINT)
                         AND s.reason = 'block')
       AND (NOT $3
            OR NOT EXISTS (SELECT 1 FROM account AS a WHERE a.user_id = $2 AND a.protected)
            OR EXISTS (SELECT 1 FROM follow AS f
                       WHERE f.follower_id = CAST(r.value AS BIGINT) AND f.followee_id = $2))
       AND NOT EXISTS (SELECT 1 FROM deleted_tweet AS d WHERE d.tweet_id = $4)";

/// The next id of each of the users: the moment of the event, or one more than the last id.
const NEXT_IDS: &str = "INSERT INTO mailbox (user_id, last_id)
     SELECT CAST(value AS BIGINT), $2 FROM json_each($1) WHERE TRUE
     ON CONFLICT (user_id) DO UPDATE
     SET last_id = CASE WHEN mailbox.last_id < excluded.last_id THEN excluded.last_id
                        ELSE mailbox.last_id + 1 END";

/// Takes the oldest notification of each of the users `$1` who, by the one that was just added, has
/// one more than `$2`.
pub(crate) const TRIM: &str = "DELETE FROM notification WHERE (user_id, id) IN
         (SELECT CAST(r.value AS BIGINT),
                 (SELECT n.id FROM notification AS n WHERE n.user_id = CAST(r.value AS BIGINT)
                  ORDER BY n.id DESC LIMIT 1 OFFSET $2)
          FROM json_each($1) AS r)";

/// Shows a deed that was told before again, which is not news. Those who were told.
const AGAIN: &str = "UPDATE notification SET withdrawn = FALSE
     WHERE actor_id = $1 AND kind = $2 AND tweet_id IS NOT DISTINCT FROM $3
       AND user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($4))
     RETURNING user_id";

/// Makes an empty inbox for a new account.
pub(crate) async fn create(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO mailbox (user_id, last_id)
         SELECT $1, 0 WHERE NOT EXISTS (SELECT 1 FROM account WHERE user_id = $1 AND deleted)
         ON CONFLICT DO NOTHING",
    )
    .bind(user_id)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Tells those who are to hear it. `recorded_at` is the event's moment in microseconds since
/// 1970.
pub(crate) async fn add(
    transaction: &mut Transaction,
    notice: &Notice,
    recorded_at: i64,
) -> Result<(), DatabaseError> {
    let mut recipients: Vec<(i64,)> = query(WHO_MAY_HEAR)
        .bind(list(&notice.recipients))
        .bind(notice.actor_id)
        .bind(notice.kind.is_of_actors_tweet())
        .bind(notice.tweet_id)
        .fetch_all(&mut *transaction)
        .await?;
    if notice.kind.can_be_repeated() && !recipients.is_empty() {
        let told: Vec<(i64,)> = query(AGAIN)
            .bind(notice.actor_id)
            .bind(notice.kind.as_str())
            .bind(notice.tweet_id)
            .bind(list(recipients.iter().map(|(id,)| *id)))
            .fetch_all(&mut *transaction)
            .await?;
        recipients.retain(|recipient| !told.contains(recipient));
    }
    if recipients.is_empty() {
        return Ok(());
    }
    let recipients = list(recipients.into_iter().map(|(id,)| id));
    query(NEXT_IDS).bind(&recipients).bind(recorded_at).execute(&mut *transaction).await?;
    query(
        "INSERT INTO notification
             (user_id, id, kind, actor_id, tweet_id, created_at, request_position)
         SELECT user_id, last_id, $2, $3, $4, $5, $6 FROM mailbox
         WHERE user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
    )
    .bind(&recipients)
    .bind(notice.kind.as_str())
    .bind(notice.actor_id)
    .bind(notice.tweet_id)
    .bind(notice.created_at)
    .bind(notice.request_position)
    .execute(&mut *transaction)
    .await?;
    query(TRIM).bind(&recipients).bind(KEPT_MAX).execute(&mut *transaction).await?;
    Ok(())
}

/// The user has read all up to there.
pub(crate) async fn mark_read(
    transaction: &mut Transaction,
    user_id: UserId,
    up_to: NotificationId,
) -> Result<(), DatabaseError> {
    query("UPDATE mailbox SET read_up_to = $2 WHERE user_id = $1 AND read_up_to < $2")
        .bind(user_id)
        .bind(up_to.as_i64())
        .execute(transaction)
        .await?;
    Ok(())
}

/// A tweet is gone: what was said of it is withdrawn, and what comes in late is not said.
pub(crate) async fn withdraw_tweet(
    transaction: &mut Transaction,
    tweet_id: TweetId,
) -> Result<(), DatabaseError> {
    query("INSERT INTO deleted_tweet (tweet_id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(tweet_id)
        .execute(&mut *transaction)
        .await?;
    query("DELETE FROM notification WHERE tweet_id = $1")
        .bind(tweet_id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// The actor took back what was done with a tweet. It is kept out of sight: done again it is not
/// news.
pub(crate) async fn withdraw_of(
    transaction: &mut Transaction,
    kind: Kind,
    actor_id: UserId,
    tweet_id: TweetId,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE notification SET withdrawn = TRUE
         WHERE tweet_id = $1 AND actor_id = $2 AND kind = $3",
    )
    .bind(tweet_id)
    .bind(actor_id)
    .bind(kind.as_str())
    .execute(transaction)
    .await?;
    Ok(())
}

/// The actor does not follow the user any more. As with tweets, to follow again is not news.
pub(crate) async fn withdraw_follow(
    transaction: &mut Transaction,
    actor_id: UserId,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE notification SET withdrawn = TRUE
         WHERE actor_id = $1 AND user_id = $2 AND kind = $3",
    )
    .bind(actor_id)
    .bind(user_id)
    .bind(Kind::Follow.as_str())
    .execute(transaction)
    .await?;
    Ok(())
}

/// The actor's requests to follow the user are over, up to this position in the graph service's
/// log: a later one may have come in already.
pub(crate) async fn withdraw_requests(
    transaction: &mut Transaction,
    actor_id: UserId,
    user_id: UserId,
    up_to: i64,
) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM notification
         WHERE actor_id = $1 AND user_id = $2 AND kind = $3
           AND coalesce(request_position, 0) <= $4",
    )
    .bind(actor_id)
    .bind(user_id)
    .bind(Kind::FollowRequest.as_str())
    .bind(up_to)
    .execute(transaction)
    .await?;
    Ok(())
}

/// The user is not to hear of the actor.
pub(crate) async fn withdraw_all(
    transaction: &mut Transaction,
    user_id: UserId,
    actor_id: UserId,
) -> Result<(), DatabaseError> {
    query("DELETE FROM notification WHERE actor_id = $1 AND user_id = $2")
        .bind(actor_id)
        .bind(user_id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// The user does not follow the actor any more: if that is protected, what was said of its tweets
/// is withdrawn.
pub(crate) async fn withdraw_protected_from(
    transaction: &mut Transaction,
    user_id: UserId,
    actor_id: UserId,
) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM notification
         WHERE actor_id = $1 AND user_id = $2 AND kind IN ('mention', 'reply', 'retweet', 'quote')
           AND EXISTS (SELECT 1 FROM account WHERE user_id = $1 AND protected)",
    )
    .bind(actor_id)
    .bind(user_id)
    .execute(transaction)
    .await?;
    Ok(())
}

/// The actor is protected from now on: what was said of its tweets to those who do not follow it
/// is withdrawn.
pub(crate) async fn withdraw_protected(
    transaction: &mut Transaction,
    actor_id: UserId,
) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM notification
         WHERE actor_id = $1 AND kind IN ('mention', 'reply', 'retweet', 'quote')
           AND NOT EXISTS (SELECT 1 FROM follow AS f
                           WHERE f.follower_id = notification.user_id AND f.followee_id = $1)",
    )
    .bind(actor_id)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Takes away an account's inbox and all that was said of its deeds.
pub(crate) async fn delete(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    for sql in [
        "DELETE FROM notification WHERE user_id = $1",
        "DELETE FROM notification WHERE actor_id = $1",
        "DELETE FROM mailbox WHERE user_id = $1",
    ] {
        query(sql).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
