//! What the service takes up of others: retweets, and accounts that come and go.

use pillion_chassis::broker::{Broker, EmbeddedBroker};
use pillion_chassis::testing::do_step;
use pillion_chassis::{Clock, Recorded, TweetId, UserId};
use pillion_events::{EngagementEvent, Retweet, UserDeleted, UserEvent, UserRegistered};
use serde_json::{Value, json};

use super::harness::{ANN, BOB, CID, GONE, Harness, on_each};

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

fn registered(tweets: &Harness, id: u64, username: &str) -> UserEvent {
    UserEvent::Registered(UserRegistered {
        user_id: user(id),
        username: username.to_owned(),
        name: username.to_owned(),
        description: None,
        location: None,
        url: None,
        created_at: tweets.clock.now(),
    })
}

fn deleted(tweets: &Harness, id: u64) -> UserEvent {
    UserEvent::Deleted(UserDeleted { user_id: user(id), deleted_at: tweets.clock.now() })
}

/// A retweet whose id is so much above that of the tweet.
fn retweet(tweets: &Harness, by: u64, of: &str, author: u64, above: u64) -> (String, Retweet) {
    let tweet_id: TweetId = of.parse().unwrap();
    let retweet_id = TweetId::new(tweet_id.get() + above).unwrap();
    let (user_id, author_id) = (user(by), user(author));
    let at = tweets.clock.now();
    (retweet_id.to_string(), Retweet { retweet_id, user_id, tweet_id, author_id, at })
}

async fn counts(tweets: &Harness) -> Vec<(String, i64)> {
    let body = tweets.get("/internal/tweet_counts?users=11,12,13,99").await.body;
    let data = body["data"].as_array().cloned().unwrap_or_default();
    let count =
        |of: &Value| (of["id"].as_str().unwrap().to_owned(), of["tweet_count"].as_i64().unwrap());
    data.iter().map(count).collect()
}

fn count(id: u64, count: i64) -> (String, i64) {
    (id.to_string(), count)
}

#[tokio::test]
async fn a_retweet_is_a_tweet_that_repeats_another() {
    on_each(async |tweets: Harness| {
        tweets.hear_users(&registered(&tweets, ANN, "Ann")).await;
        let text = format!("@cid {}", "long ".repeat(50));
        let root = tweets.post_text(ANN, &text).await;
        let (id, event) = retweet(&tweets, BOB, &root, ANN, 1 << 30);
        tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await;

        let fields = "author_id,conversation_id,created_at,entities,referenced_tweets,\
                      in_reply_to_user_id";
        let body = tweets.read(&id, fields).await;
        let shown = format!("RT @Ann: {text}").chars().take(139).collect::<String>() + "…";
        assert_eq!(
            body,
            json!({
                "id": id, "edit_history_tweet_ids": [id], "text": shown, "author_id": "12",
                "conversation_id": id, "created_at": "2026-07-01T10:00:01.000Z",
                "referenced_tweets": [{"type": "retweeted", "id": root}],
                "entities": {"mentions": [
                    {"start": 3, "end": 7, "username": "Ann", "id": "11"},
                    {"start": 9, "end": 13, "username": "cid", "id": "13"},
                ]},
                "_authors": ["12", "11"],
            })
        );
        let list = async |query: &str| tweets.get(&format!("/2/users/12/tweets{query}")).await;
        let whole = list("?tweet.fields=referenced_tweets").await;
        assert_eq!(whole.id_texts(), [id.as_str()]);
        assert_eq!(whole.body["data"][0]["_authors"], json!(["12", "11"]));
        assert!(list("?exclude=retweets").await.id_texts().is_empty());
        assert_eq!(list("?exclude=replies").await.id_texts(), [id.as_str()]);
        assert_eq!(counts(&tweets).await, [count(ANN, 1), count(BOB, 1)]);

        let refused = tweets.delete(BOB, &id).await;
        assert_eq!(refused.status, 403);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("DELETE /2/users/12/retweets/{root}")), "{detail}");
        assert_eq!(tweets.delete(CID, &id).await.status, 403);
        assert_eq!(tweets.set_hidden(ANN, &id, true).await.status, 403);
        // Who answers or quotes a retweet means what it repeats.
        let reply = tweets.reply_to(CID, &id, "to the original").await.id();
        let reply = tweets.read(&reply, "referenced_tweets,conversation_id").await;
        assert_eq!(reply["referenced_tweets"], json!([{"type": "replied_to", "id": root}]));
        assert_eq!(reply["conversation_id"], root.as_str());
        let quote = tweets.quote(CID, &id, "the original").await.id();
        let quote = tweets.read(&quote, "referenced_tweets").await;
        assert_eq!(quote["referenced_tweets"], json!([{"type": "quoted", "id": root}]));

        tweets.hear_engagements(&EngagementEvent::Unretweeted(event)).await;
        assert_eq!(tweets.read(&id, "").await, Value::Null);
        assert_eq!(counts(&tweets).await, [count(ANN, 1), count(CID, 2)]);
    })
    .await;
}

#[tokio::test]
async fn retweets_go_with_what_they_repeat() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let (by_bob, event) = retweet(&tweets, BOB, &root, ANN, 1 << 30);
        tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await;
        let (by_ann, event) = retweet(&tweets, ANN, &root, ANN, 2 << 30);
        tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await;
        // The author's handle is not known here yet.
        assert_eq!(tweets.read(&by_bob, "").await["text"], "root");
        tweets.delete(ANN, &root).await;
        for id in [&root, &by_bob, &by_ann] {
            assert_eq!(tweets.read(id, "").await, Value::Null);
        }
        assert_eq!(counts(&tweets).await, []);
        // The news of one more retweet comes late.
        let (late, event) = retweet(&tweets, CID, &root, ANN, 3 << 30);
        tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await;
        tweets.hear_engagements(&EngagementEvent::Unretweeted(event)).await;
        assert_eq!(tweets.read(&late, "").await, Value::Null);
        assert_eq!(counts(&tweets).await, []);
    })
    .await;
}

#[tokio::test]
async fn the_tweets_of_a_deleted_account_go_with_it() {
    on_each(async |tweets: Harness| {
        tweets.hear_users(&registered(&tweets, BOB, "Bob")).await;
        let root = tweets.post_text(ANN, "root").await;
        let of_bob = tweets.post_text(BOB, "bob's").await;
        for n in 0..2 {
            tweets.reply_to(BOB, &root, &format!("reply {n}")).await.id();
        }
        tweets.quote(BOB, &root, "quote").await.id();
        tweets.reply_to(BOB, &of_bob, "to himself").await.id();
        let answer = tweets.reply_to(CID, &of_bob, "answer").await.id();
        let (repeated, event) = retweet(&tweets, CID, &of_bob, BOB, 1 << 30);
        tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await;
        let (repeats, event) = retweet(&tweets, BOB, &root, ANN, 2 << 30);
        tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await;
        assert_eq!(counts(&tweets).await, [count(ANN, 1), count(BOB, 6), count(CID, 2)]);

        tweets.hear_users(&deleted(&tweets, BOB)).await;
        assert_eq!(counts(&tweets).await, [count(ANN, 1), count(CID, 1)]);
        for id in [&of_bob, &repeated, &repeats] {
            assert_eq!(tweets.read(id, "").await, Value::Null);
        }
        let metrics = tweets.read(&root, "public_metrics").await["public_metrics"].take();
        assert_eq!((&metrics["reply_count"], &metrics["quote_count"]), (&json!(0), &json!(0)));
        assert_eq!(tweets.read(&answer, "").await["text"], "answer");

        // The users service still knew Bob a moment ago.
        let late = tweets.post(BOB, &json!({"text": "late"})).await;
        assert_eq!(late.status, 401);
        assert!(late.body["detail"].as_str().unwrap().contains("account 12"), "{}", late.body);
        let (id, event) = retweet(&tweets, BOB, &root, ANN, 3 << 30);
        tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await;
        assert_eq!(tweets.read(&id, "").await, Value::Null);
        tweets.hear_users(&deleted(&tweets, GONE)).await;
        assert_eq!(counts(&tweets).await, [count(ANN, 1), count(CID, 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_rebuild_makes_the_same_tables_byte_for_byte() {
    on_each(async |tweets: Harness| {
        let folder = tempfile::tempdir().unwrap();
        let broker = EmbeddedBroker::open(folder.path().join("broker.sqlite")).await.unwrap();
        let publish = async |event: Recorded| {
            let before = event.position - 1;
            broker.publish(&event.source.clone(), before, &[event]).await.unwrap();
        };
        publish(tweets.hear_users(&registered(&tweets, ANN, "Ann")).await).await;
        publish(tweets.hear_users(&registered(&tweets, BOB, "Bob")).await).await;
        let root = tweets.post_text(ANN, "root @bob").await;
        let (_, event) = retweet(&tweets, BOB, &root, ANN, 1 << 30);
        publish(tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await).await;
        let reply = tweets.reply_to(BOB, &root, "reply").await.id();
        tweets.set_hidden(ANN, &reply, true).await;
        let gone = tweets.post_text(BOB, "gone").await;
        tweets.delete(BOB, &gone).await;
        tweets.quote(CID, &root, "quote").await.id();
        tweets.post_text(CID, "more").await;
        publish(tweets.hear_users(&deleted(&tweets, BOB)).await).await;
        do_step(&tweets.router, 1, "hide", &json!({"user_id": "13"})).await.data();
        let (_, event) = retweet(&tweets, CID, &root, ANN, 2 << 30);
        publish(tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await).await;

        let rebuilt = tweets.journal.rebuild(&broker).await.unwrap();
        assert!(rebuilt.is_identical(), "{rebuilt:?}");
        let rows: Vec<_> = rebuilt.tables.iter().map(|table| (table.name, table.rows)).collect();
        assert_eq!(
            rows,
            [("tweet", 4), ("author", 1), ("account", 2), ("hidden_author", 1), ("settling", 0)]
        );
        assert_eq!(rebuilt.events, 13);
    })
    .await;
}
