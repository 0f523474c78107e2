//! What likes and bookmarks have in common: a user marks a tweet, or takes the mark away.

use pillion_chassis::{Onward, TweetId, UserId};
use pillion_events::{Engagement, EngagementEvent};

use crate::Engagements;
use crate::error::Error;
use crate::store::Kind;
use crate::tweet;

/// Marks a tweet, unless it is marked already. A retweet's id stands for the tweet that is
/// retweeted.
pub(crate) async fn begin(
    engagements: &Engagements,
    onward: &Onward,
    kind: Kind,
    begins: fn(Engagement) -> EngagementEvent,
    user_id: UserId,
    tweet_id: TweetId,
) -> Result<(), Error> {
    let source = tweet::find_target(engagements, onward, kind, user_id, tweet_id).await?;
    let at = engagements.clock.now().floor_to_millis();
    let mut change = engagements.store.change().await?;
    change.require_there(kind, user_id, &source).await?;
    if change.find(kind, user_id, source.tweet_id).await?.is_none() {
        let tweet::Source { tweet_id, author_id } = source;
        let mark = Engagement { user_id, tweet_id, author_id, at };
        change.record(user_id, begins(mark), at).await?;
        change.commit().await?;
    }
    Ok(())
}

/// Takes the mark away, if there is one.
pub(crate) async fn end(
    engagements: &Engagements,
    kind: Kind,
    ends: fn(Engagement) -> EngagementEvent,
    user_id: UserId,
    tweet_id: TweetId,
) -> Result<(), Error> {
    let tweet_id = engagements.store.source_of(tweet_id).await?;
    let at = engagements.clock.now().floor_to_millis();
    let mut change = engagements.store.change().await?;
    change.require_account(user_id).await?;
    if let Some(found) = change.find(kind, user_id, tweet_id).await? {
        let mark = Engagement { user_id, tweet_id, author_id: found.author_id, at };
        change.record(user_id, ends(mark), at).await?;
        change.commit().await?;
    }
    Ok(())
}
