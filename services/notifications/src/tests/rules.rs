//! Who is told what, and what is withdrawn.

use pillion_events::{EngagementEvent, GraphEvent, TweetPosted};

use super::harness::{Harness, mentions, reference};

const ANN: u64 = 11;
const BOB: u64 = 12;
const CID: u64 = 13;

type Told = (String, u64, Option<u64>);

fn told(kind: &str, actor: u64, tweet: impl Into<Option<u64>>) -> Told {
    (kind.to_owned(), actor, tweet.into())
}

#[tokio::test]
async fn everyone_concerned_is_told() {
    for h in Harness::on_both().await {
        h.follow(BOB, ANN).await;
        h.ask(CID, ANN).await;
        h.like(BOB, (1, ANN)).await;
        h.retweet(EngagementEvent::Retweeted, 2, BOB, (1, ANN)).await;
        h.post(TweetPosted { replied_to: Some(reference(1, ANN)), ..h.tweet(3, BOB) }).await;
        h.post(TweetPosted { quoted: Some(reference(1, ANN)), ..h.tweet(4, BOB) }).await;
        h.mention(5, BOB, &[ANN, CID]).await;
        assert_eq!(
            h.inbox(ANN).await,
            [
                told("mention", BOB, 5),
                told("quote", BOB, 4),
                told("reply", BOB, 3),
                told("retweet", BOB, 1),
                told("like", BOB, 1),
                told("follow_request", CID, None),
                told("follow", BOB, None),
            ]
        );
        assert_eq!(h.inbox(CID).await, [told("mention", BOB, 5)]);
        assert!(h.inbox(BOB).await.is_empty());
        // As callers see one: its id is the event's moment.
        let likes = h.get(ANN, "?types=like").await;
        let item = &likes.items()[0];
        let at: pillion_chassis::Timestamp = "2026-07-01T10:00:04.000Z".parse().unwrap();
        assert_eq!(
            *item,
            serde_json::json!({
                "id": at.as_micros().to_string(), "type": "like",
                "created_at": "2026-07-01T10:00:03.000Z", "read": false,
                "actor_id": "12", "tweet_id": "1",
            })
        );
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn a_tweet_tells_each_once_and_its_author_nothing() {
    for h in Harness::on_both().await {
        let all = mentions(&[ANN, BOB, CID]);
        h.post(TweetPosted {
            replied_to: Some(reference(1, ANN)),
            quoted: Some(reference(2, CID)),
            mentions: all.clone(),
            ..h.tweet(3, BOB)
        })
        .await;
        h.post(TweetPosted {
            replied_to: Some(reference(1, ANN)),
            quoted: Some(reference(1, ANN)),
            mentions: all,
            ..h.tweet(4, ANN)
        })
        .await;
        h.like(ANN, (1, ANN)).await;
        h.retweet(EngagementEvent::Retweeted, 5, ANN, (1, ANN)).await;
        assert_eq!(h.inbox(ANN).await, [told("reply", BOB, 3)]);
        assert_eq!(h.inbox(BOB).await, [told("mention", ANN, 4)]);
        assert_eq!(h.inbox(CID).await, [told("mention", ANN, 4), told("quote", BOB, 3)]);
    }
}

#[tokio::test]
async fn who_is_muted_or_blocked_is_not_heard() {
    for h in Harness::on_both().await {
        let speak = async |id: u64| {
            h.like(BOB, (1, ANN)).await;
            h.mention(id, BOB, &[ANN]).await;
        };
        speak(100).await;
        assert_eq!(h.inbox(ANN).await.len(), 2);
        h.graph(GraphEvent::Muted, ANN, BOB).await;
        assert!(h.inbox(ANN).await.is_empty(), "what was said is withdrawn");
        speak(101).await;
        h.mention(102, ANN, &[BOB]).await;
        assert!(h.inbox(ANN).await.is_empty());
        assert_eq!(h.inbox(BOB).await, [told("mention", ANN, 102)], "a mute is one-sided");
        h.graph(GraphEvent::Unmuted, ANN, BOB).await;
        speak(103).await;
        assert_eq!(h.inbox(ANN).await.len(), 2);

        h.graph(GraphEvent::Blocked, ANN, BOB).await;
        speak(104).await;
        h.mention(105, ANN, &[BOB]).await;
        assert!(h.inbox(ANN).await.is_empty() && h.inbox(BOB).await.is_empty());
        // A mute ends alone.
        h.graph(GraphEvent::Muted, ANN, BOB).await;
        h.graph(GraphEvent::Unblocked, ANN, BOB).await;
        speak(106).await;
        assert!(h.inbox(ANN).await.is_empty());
        h.graph(GraphEvent::Unmuted, ANN, BOB).await;
        speak(107).await;
        assert_eq!(h.inbox(ANN).await, [told("mention", BOB, 107), told("like", BOB, 1)]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn what_is_taken_back_is_withdrawn_read_or_not() {
    for h in Harness::on_both().await {
        h.follow(BOB, ANN).await;
        h.ask(CID, ANN).await;
        h.like(BOB, (1, ANN)).await;
        h.like(CID, (1, ANN)).await;
        h.retweet(EngagementEvent::Retweeted, 2, BOB, (1, ANN)).await;
        h.post(TweetPosted { replied_to: Some(reference(1, ANN)), ..h.tweet(3, BOB) }).await;
        let newest = h.get(ANN, "").await.id_texts()[0].clone();
        let marked = h.mark_read(ANN, &format!(r#"{{"up_to":"{newest}"}}"#)).await;
        assert_eq!(marked.status, 200, "{}", marked.body);
        h.mention(4, BOB, &[ANN]).await;

        h.graph(GraphEvent::Unfollowed, BOB, ANN).await;
        h.graph(GraphEvent::FollowRequestRemoved, CID, ANN).await;
        h.unlike(BOB, (1, ANN)).await;
        h.retweet(EngagementEvent::Unretweeted, 2, BOB, (1, ANN)).await;
        assert_eq!(
            h.inbox(ANN).await,
            [told("mention", BOB, 4), told("reply", BOB, 3), told("like", CID, 1)]
        );
        h.delete_tweet(3, BOB).await;
        h.delete_tweet(4, BOB).await;
        h.delete_tweet(1, ANN).await;
        assert!(h.inbox(ANN).await.is_empty());
        assert_eq!(h.unread(ANN).await, 0);
        // The engagements' events may come in late.
        h.like(BOB, (1, ANN)).await;
        h.retweet(EngagementEvent::Retweeted, 5, BOB, (1, ANN)).await;
        assert!(h.inbox(ANN).await.is_empty());
        // A follow that was accepted takes the request's place.
        h.ask(CID, ANN).await;
        h.graph(GraphEvent::FollowRequestRemoved, CID, ANN).await;
        h.follow(CID, ANN).await;
        assert_eq!(h.inbox(ANN).await, [told("follow", CID, None)]);
        h.check_rebuild().await;
    }
}

/// Who likes and unlikes, follows and unfollows all day makes news once.
#[tokio::test]
async fn what_is_done_again_is_shown_again_and_is_no_news() {
    for h in Harness::on_both().await {
        h.like(BOB, (1, ANN)).await;
        h.retweet(EngagementEvent::Retweeted, 2, BOB, (1, ANN)).await;
        h.follow(BOB, ANN).await;
        h.like(CID, (1, ANN)).await;
        let before = h.get(ANN, "").await;
        h.mark_read(ANN, &format!(r#"{{"up_to":"{}"}}"#, before.id_texts()[0])).await.data();
        let read = h.get(ANN, "").await;
        for id in 3..6 {
            h.unlike(BOB, (1, ANN)).await;
            h.retweet(EngagementEvent::Unretweeted, id - 1, BOB, (1, ANN)).await;
            h.graph(GraphEvent::Unfollowed, BOB, ANN).await;
            assert_eq!(h.inbox(ANN).await, [told("like", CID, 1)]);
            for _ in 0..2 {
                h.like(BOB, (1, ANN)).await;
            }
            h.retweet(EngagementEvent::Retweeted, id, BOB, (1, ANN)).await;
            h.follow(BOB, ANN).await;
            assert_eq!(h.get(ANN, "").await.body, read.body);
            assert_eq!(h.unread(ANN).await, 0);
        }
        // Another deed, or the same with another tweet, is news.
        h.like(BOB, (9, ANN)).await;
        assert_eq!(h.unread(ANN).await, 1);
        // What is taken back and stays so is not told to anybody.
        h.unlike(BOB, (9, ANN)).await;
        assert_eq!(h.unread(ANN).await, 0);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn an_account_that_is_away_is_not_heard_of_until_it_is_back() {
    for h in Harness::on_both().await {
        h.like(BOB, (1, ANN)).await;
        h.like(CID, (1, ANN)).await;
        h.ask(BOB, ANN).await;
        h.mention(2, BOB, &[ANN]).await;
        let before = h.get(ANN, "").await;
        h.deactivate(BOB, true).await;
        assert_eq!(h.inbox(ANN).await, [told("like", CID, 1)]);
        assert_eq!(h.unread(ANN).await, 1);
        // The services' events come in each at its own pace.
        h.like(BOB, (3, ANN)).await;
        assert_eq!(h.unread(ANN).await, 1);
        h.unlike(BOB, (3, ANN)).await;
        h.check_rebuild().await;
        h.deactivate(BOB, false).await;
        assert_eq!(h.get(ANN, "").await.body, before.body);
        assert_eq!(h.unread(ANN).await, 4);
        h.deactivate(BOB, true).await;
        h.delete_user(BOB).await;
        h.deactivate(BOB, false).await;
        assert_eq!(h.inbox(ANN).await, [told("like", CID, 1)]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn what_one_may_not_see_one_is_not_told() {
    for h in Harness::on_both().await {
        h.follow(CID, BOB).await;
        h.mention(1, BOB, &[ANN, CID]).await;
        h.protect(BOB, true).await;
        assert!(h.inbox(ANN).await.is_empty(), "does not follow");
        assert_eq!(h.inbox(CID).await, [told("mention", BOB, 1)]);
        h.mention(2, BOB, &[ANN, CID]).await;
        h.post(TweetPosted { quoted: Some(reference(9, ANN)), ..h.tweet(3, BOB) }).await;
        h.retweet(EngagementEvent::Retweeted, 4, BOB, (9, ANN)).await;
        h.like(BOB, (9, ANN)).await;
        h.follow(BOB, ANN).await;
        assert_eq!(
            h.inbox(ANN).await,
            [told("follow", BOB, None), told("like", BOB, 9)],
            "what is done with one is not a tweet"
        );
        assert_eq!(h.inbox(CID).await, [told("mention", BOB, 2), told("mention", BOB, 1)]);
        h.graph(GraphEvent::Unfollowed, CID, BOB).await;
        assert!(h.inbox(CID).await.is_empty());
        h.protect(BOB, false).await;
        h.mention(5, BOB, &[CID]).await;
        assert_eq!(h.inbox(CID).await, [told("mention", BOB, 5)]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn an_account_that_is_gone_leaves_nothing() {
    for h in Harness::on_both().await {
        h.follow(BOB, ANN).await;
        h.like(BOB, (1, ANN)).await;
        h.like(CID, (1, ANN)).await;
        h.like(ANN, (2, BOB)).await;
        h.delete_user(BOB).await;
        assert_eq!(h.inbox(ANN).await, [told("like", CID, 1)]);
        // Events of the account that come in late.
        h.like(ANN, (2, BOB)).await;
        h.like(BOB, (1, ANN)).await;
        h.mention(3, BOB, &[ANN]).await;
        h.protect(BOB, true).await;
        assert_eq!(h.inbox(ANN).await, [told("like", CID, 1)]);
        for reply in [
            h.get(BOB, "").await,
            h.get(BOB, "/unread_count").await,
            h.get(BOB, "/stream").await,
            h.mark_read(BOB, r#"{"up_to":"1"}"#).await,
        ] {
            assert_eq!(reply.status, 401, "{}", reply.body);
        }
        h.check_rebuild().await;
    }
}
