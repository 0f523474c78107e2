//! Authors who are deactivated, back, and gone: what sagas ask of the service.

use std::collections::BTreeMap;

use pillion_chassis::sql::query;
use pillion_chassis::testing::{
    assert_rebuilds, by_service, do_step, request, send, statements, told, undo_step,
};
use pillion_chassis::{Clock, Recorded};
use pillion_events::{EngagementEvent, Retweet, TweetId};
use serde_json::{Value, json};

use super::harness::{ANN, BOB, CID, Harness, on_each};

fn about(user: u64) -> Value {
    json!({"user_id": user.to_string()})
}

fn retweet(tweets: &Harness, id: u64, by: u64, of: &str, author: u64) -> Retweet {
    Retweet {
        retweet_id: TweetId::new(id).unwrap(),
        user_id: told::user(by),
        tweet_id: of.parse().unwrap(),
        author_id: told::user(author),
        at: tweets.clock.now(),
    }
}

async fn hear_retweet(tweets: &Harness, id: u64, by: u64, of: &str, author: u64) -> Recorded {
    let event = EngagementEvent::Retweeted(retweet(tweets, id, by, of, author));
    tweets.hear_engagements(&event).await
}

async fn digests(tweets: &Harness) -> BTreeMap<&'static str, String> {
    tweets.journal.digests().await.unwrap()
}

/// Replies and quotes of a tweet.
async fn metrics(tweets: &Harness, id: &str) -> (i64, i64) {
    let body = tweets.read(id, "public_metrics").await;
    let count = |name: &str| body["public_metrics"][name].as_i64().unwrap();
    (count("reply_count"), count("quote_count"))
}

async fn tweet_count(tweets: &Harness, user: u64) -> i64 {
    let body = tweets.get(&format!("/internal/tweet_counts?users={user}")).await.body;
    body.pointer("/data/0/tweet_count").and_then(Value::as_i64).unwrap_or(0)
}

#[tokio::test]
async fn a_hidden_authors_tweets_are_as_if_not_there_and_come_back_as_they_were() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let reply = tweets.reply_to(BOB, &root, "reply").await.id();
        let answer = tweets.reply_to(CID, &reply, "answer").await.id();
        let quote = tweets.quote(BOB, &root, "quote").await.id();
        let later = 1 << 60;
        hear_retweet(&tweets, later, BOB, &root, ANN).await;
        hear_retweet(&tweets, later + 1, CID, &quote, BOB).await;
        assert_eq!(metrics(&tweets, &root).await, (1, 1));
        assert_eq!((tweet_count(&tweets, BOB).await, tweet_count(&tweets, CID).await), (3, 2));
        let before = digests(&tweets).await;

        let hidden = do_step(&tweets.router, 1, "hide", &about(BOB)).await;
        assert_eq!(hidden.status, 200, "{}", hidden.body);
        let retweets = [later.to_string(), (later + 1).to_string()];
        for id in [&reply, &quote, &retweets[0], &retweets[1]] {
            assert_eq!(tweets.read(id, "").await, Value::Null);
        }
        assert_eq!(tweets.read(&answer, "").await["text"], "answer");
        assert_eq!(metrics(&tweets, &root).await, (0, 0));
        assert_eq!((tweet_count(&tweets, BOB).await, tweet_count(&tweets, CID).await), (0, 1));
        assert!(tweets.get("/2/users/12/tweets").await.id_texts().is_empty());
        assert_eq!(tweets.get("/2/users/13/tweets").await.id_texts(), [answer.as_str()]);
        assert!(tweets.get(&format!("/2/tweets/{root}/quote_tweets")).await.id_texts().is_empty());

        // A token of the author is good for a while yet.
        let late = tweets.post(BOB, &json!({"text": "late"})).await;
        assert_eq!(late.status, 401, "{}", late.body);
        assert_eq!(tweets.delete(BOB, &reply).await.status, 401);
        assert_eq!(tweets.set_hidden(ANN, &reply, true).await.status, 404);
        for refused in [
            tweets.reply_to(CID, &quote, "to nobody").await,
            tweets.quote(CID, &quote, "of nobody").await,
        ] {
            assert_eq!(refused.status, 403, "{}", refused.body);
        }

        // Once more changes nothing, and neither does another saga.
        for saga in [1, 2] {
            assert_eq!(do_step(&tweets.router, saga, "hide", &about(BOB)).await.status, 200);
        }
        assert_eq!(undo_step(&tweets.router, 1, "hide", &about(BOB)).await.status, 200);
        assert_eq!(undo_step(&tweets.router, 1, "hide", &about(BOB)).await.status, 200);
        assert_eq!(digests(&tweets).await, before);
        let names: Vec<_> = tweets.events().await.into_iter().map(|event| event.name).collect();
        assert_eq!(names[4..], ["tweet.author_hidden", "tweet.author_unhidden"]);
    })
    .await;
}

#[tokio::test]
async fn two_hidden_authors_come_back_one_by_one() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let reply = tweets.reply_to(BOB, &root, "reply").await.id();
        let later = 1 << 60;
        let by_bob = later.to_string();
        hear_retweet(&tweets, later, BOB, &root, ANN).await;
        let before = digests(&tweets).await;
        do_step(&tweets.router, 1, "hide", &about(ANN)).await.data();
        do_step(&tweets.router, 2, "hide", &about(BOB)).await.data();
        assert_eq!(tweet_count(&tweets, BOB).await, 0);
        // The news of one more comes while both are away.
        hear_retweet(&tweets, later + 1, CID, &root, ANN).await;
        undo_step(&tweets.router, 2, "hide", &about(BOB)).await.data();
        assert_eq!(tweets.read(&reply, "").await["text"], "reply");
        assert_eq!(tweets.read(&by_bob, "").await, Value::Null, "what it repeats is away");
        assert_eq!((tweet_count(&tweets, BOB).await, tweet_count(&tweets, CID).await), (1, 0));
        undo_step(&tweets.router, 1, "hide", &about(ANN)).await.data();
        assert_eq!((tweet_count(&tweets, BOB).await, tweet_count(&tweets, CID).await), (2, 1));
        let by_cid = retweet(&tweets, later + 1, CID, &root, ANN);
        tweets.hear_engagements(&EngagementEvent::Unretweeted(by_cid)).await;
        assert_eq!(digests(&tweets).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_purge_waits_for_the_news_and_leaves_nothing() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let without = digests(&tweets).await;
        tweets.reply_to(BOB, &root, "reply").await.id();
        do_step(&tweets.router, 1, "hide", &about(BOB)).await.data();
        let early = do_step(&tweets.router, 1, "purge", &about(BOB)).await;
        assert_eq!(early.status, 503);
        assert!(early.body["detail"].as_str().unwrap().contains("user.deleted"), "{}", early.body);
        let deleted = told::user_deleted(BOB, tweets.clock.now());
        let news = tweets.hear_users(&deleted).await;
        for _ in 0..2 {
            do_step(&tweets.router, 1, "purge", &about(BOB)).await.data();
        }
        let mut after = digests(&tweets).await;
        // The account stays known as deleted.
        after.insert("account", without["account"].clone());
        assert_eq!(after, without);
        // Nobody brings back what is gone.
        undo_step(&tweets.router, 1, "hide", &about(BOB)).await.data();
        assert_eq!(tweets.events().await.last().unwrap().name, "tweet.author_hidden");
        // What was said cannot be read any more, and the tables come out the same.
        assert_rebuilds(&tweets.journal, &[news]).await;
        let said = tweets.events().await.swap_remove(1);
        assert!(said.name == "tweet.posted" && !said.data.contains("reply\""), "{}", said.data);
    })
    .await;
}

/// Posts, answers, quotes and retweets of Bob; the news that were told on the way.
async fn write_much(tweets: &Harness, count: u64) -> Vec<Recorded> {
    let mut news = Vec::new();
    for n in 0..count {
        let root = tweets.post_text(ANN, &format!("root {n}")).await;
        let reply = tweets.reply_to(BOB, &root, &format!("reply {n}")).await.id();
        tweets.quote(BOB, &root, &format!("quote {n}")).await.id();
        news.push(hear_retweet(tweets, (1 << 60) + n, CID, &reply, BOB).await);
    }
    news
}

#[tokio::test]
async fn an_author_of_very_much_goes_and_comes_back_at_once_and_is_counted_by_and_by() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        tweets.reply_to(BOB, &root, "reply").await.id();
        let hide = async |saga| {
            let hidden = do_step(&tweets.router, saga, "hide", &about(BOB)).await;
            assert_eq!(hidden.status, 200, "{}", hidden.body);
        };
        let ((), few) = statements(hide(1)).await;
        undo_step(&tweets.router, 1, "hide", &about(BOB)).await.data();
        let mut news = write_much(&tweets, 10).await;
        let before = digests(&tweets).await;
        let counted = async || {
            let of_bob =
                "SELECT count(*) FROM tweet WHERE shown AND 12 IN (author_id, retweeted_author_id)";
            query(of_bob).fetch_one::<(i64,)>(tweets.database()).await.unwrap().0
        };
        assert_eq!(counted().await, 31);

        // However much it is, the step takes as many statements and touches as many rows.
        let ((), many) = statements(hide(2)).await;
        assert!(many.len() <= few.len() + 1, "{} {}: {many:?}", many.len(), few.len());
        assert_eq!(counted().await, 31 - 8);
        let list_of = async |user: u64| tweets.get(&format!("/2/users/{user}/tweets")).await;
        assert!(list_of(BOB).await.id_texts().is_empty());
        assert!(list_of(CID).await.id_texts().is_empty());
        assert_eq!(tweet_count(&tweets, BOB).await, 0);
        let gone = do_step(&tweets.router, 3, "purge", &about(BOB)).await;
        assert_eq!(gone.status, 503);

        // Back before all is settled.
        assert!(tweets.settle_some().await);
        assert_eq!(counted().await, 31 - 16);
        undo_step(&tweets.router, 2, "hide", &about(BOB)).await.data();
        assert_eq!(list_of(BOB).await.id_texts().len(), 10);
        assert_eq!(list_of(CID).await.id_texts().len(), 10);
        while tweets.settle_some().await {}
        assert_eq!(digests(&tweets).await, before);

        // And away for good.
        hide(4).await;
        news.push(tweets.hear_users(&told::user_deleted(BOB, tweets.clock.now())).await);
        let early = do_step(&tweets.router, 5, "purge", &about(BOB)).await;
        assert_eq!(early.status, 503, "{}", early.body);
        // A retweet of what is still there comes too late.
        let left = "SELECT max(tweet_id) FROM tweet WHERE author_id = 12 AND retweeted_id IS NULL";
        let (left,): (i64,) = query(left).fetch_one(tweets.database()).await.unwrap();
        news.push(hear_retweet(&tweets, 1 << 59, CID, &left.to_string(), BOB).await);
        while tweets.settle_some().await {}
        do_step(&tweets.router, 5, "purge", &about(BOB)).await.data();
        assert_eq!(metrics(&tweets, &root).await, (0, 0));
        let rows = query("SELECT count(*) FROM tweet WHERE 12 IN (author_id, retweeted_author_id)");
        assert_eq!(rows.fetch_one::<(i64,)>(tweets.database()).await.unwrap().0, 0);
        let (wrong,): (i64,) = query(WRONG).fetch_one(tweets.database()).await.unwrap();
        assert_eq!(wrong, 0);
        assert_rebuilds(&tweets.journal, &news).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_step_of_a_saga_is_not_done() {
    on_each(async |tweets: Harness| {
        assert_eq!(do_step(&tweets.router, 1, "fly", &about(BOB)).await.status, 503);
        assert_eq!(do_step(&tweets.router, 2, "hide", &json!({})).await.status, 400);
        // What is taken back before it comes is not done any more.
        undo_step(&tweets.router, 3, "hide", &about(BOB)).await.data();
        assert_eq!(do_step(&tweets.router, 3, "hide", &about(BOB)).await.status, 409);
        let body = json!({"saga": "s", "kind": "compensated", "data": about(BOB)}).to_string();
        let mut caller = by_service("identity");
        caller.scopes = pillion_chassis::Scopes::parse("tweet.write");
        let path = "/internal/sagas/4/steps/hide";
        let refused = send(&tweets.router, request("PUT", path, Some(caller), &body)).await;
        assert_eq!(refused.status, 403);
        assert!(tweets.events().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_new_handle_is_in_the_text_of_retweets() {
    on_each(async |tweets: Harness| {
        let now = tweets.clock.now();
        tweets.hear_users(&told::registered(ANN, "Ann", now)).await;
        let root = tweets.post_text(ANN, "hi").await;
        hear_retweet(&tweets, 1 << 60, BOB, &root, ANN).await;
        tweets.hear_users(&told::renamed(ANN, "Ann", "Anna", now)).await;
        assert_eq!(tweets.read(&(1_u64 << 60).to_string(), "").await["text"], "RT @Anna: hi");
        // One that is gone has no handle.
        tweets.hear_users(&told::user_deleted(ANN, now)).await;
        tweets.hear_users(&told::renamed(ANN, "Anna", "late", now)).await;
        do_step(&tweets.router, 1, "purge", &about(ANN)).await.data();
    })
    .await;
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let count = u64::try_from(from.len()).unwrap();
        (count > 0).then(|| from[usize::try_from(self.roll(count)).unwrap()].clone())
    }
}

/// What the counters and marks must say, whatever has happened.
const WRONG: &str = "
    SELECT (SELECT count(*) FROM tweet AS t WHERE reply_count <>
                (SELECT count(*) FROM tweet AS r WHERE r.replied_to_id = t.tweet_id AND r.shown))
         + (SELECT count(*) FROM tweet AS t WHERE quote_count <>
                (SELECT count(*) FROM tweet AS q WHERE q.quoted_id = t.tweet_id AND q.shown))
         + (SELECT count(*) FROM tweet AS t WHERE shown = EXISTS
                (SELECT 1 FROM hidden_author WHERE user_id IN (t.author_id, t.retweeted_author_id))
              AND NOT EXISTS
                (SELECT 1 FROM settling WHERE user_id IN (t.author_id, t.retweeted_author_id)))
         + (SELECT count(*) FROM author AS a WHERE tweet_count = 0 OR tweet_count <>
                (SELECT count(*) FROM tweet AS t WHERE t.author_id = a.user_id AND t.shown))
         + (SELECT count(*) FROM tweet WHERE shown
                AND author_id NOT IN (SELECT user_id FROM author))";

#[tokio::test]
async fn counts_are_of_what_is_shown_whatever_happens() {
    on_each(async |tweets: Harness| {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let (mut ids, mut retweets): (Vec<(String, u64)>, Vec<Retweet>) = Default::default();
        let mut hidden: BTreeMap<u64, i64> = BTreeMap::new();
        let mut largest = 0;
        for n in 0..250_u64 {
            let by = 11 + dice.roll(3);
            let text = format!("tweet {n}");
            let of = dice.pick(&ids);
            match (dice.roll(12), of) {
                (0..=1, _) => {
                    let posted = tweets.post(by, &json!({"text": text})).await;
                    ids.extend((posted.status == 201).then(|| (posted.id(), by)));
                }
                (2..=3, Some((id, _))) => {
                    let posted = tweets.reply_to(by, &id, &text).await;
                    ids.extend((posted.status == 201).then(|| (posted.id(), by)));
                }
                (4, Some((id, _))) => {
                    let posted = tweets.quote(by, &id, &text).await;
                    ids.extend((posted.status == 201).then(|| (posted.id(), by)));
                }
                (5..=6, Some((id, author))) => {
                    let event = retweet(&tweets, (1 << 60) + n, by, &id, author);
                    tweets.hear_engagements(&EngagementEvent::Retweeted(event)).await;
                    retweets.push(event);
                }
                (7, _) => {
                    if let Some(event) = dice.pick(&retweets) {
                        tweets.hear_engagements(&EngagementEvent::Unretweeted(event)).await;
                    }
                }
                (8, Some((id, author))) if dice.roll(2) == 0 => {
                    tweets.delete(author, &id).await;
                }
                (9, _) => {
                    let saga = i64::try_from(n).unwrap();
                    if let std::collections::btree_map::Entry::Vacant(place) = hidden.entry(by) {
                        do_step(&tweets.router, saga, "hide", &about(by)).await.data();
                        place.insert(saga);
                    }
                }
                (10..=11, _) => {
                    if let Some(saga) = hidden.remove(&by) {
                        undo_step(&tweets.router, saga, "hide", &about(by)).await.data();
                    }
                }
                _ => {}
            }
            if dice.roll(3) == 0 {
                tweets.settle_some().await;
            }
            let (wrong,): (i64,) = query(WRONG).fetch_one(tweets.database()).await.unwrap();
            assert_eq!(wrong, 0, "after {n}");
            let (rows,): (i64,) =
                query("SELECT count(*) FROM tweet").fetch_one(tweets.database()).await.unwrap();
            largest = largest.max(rows);
        }
        assert!(largest > 30, "there were tweets to count: {largest}");
        for by in [ANN, BOB, CID] {
            tweets.hear_users(&told::user_deleted(by, tweets.clock.now())).await;
            while tweets.settle_some().await {}
            let (wrong,): (i64,) = query(WRONG).fetch_one(tweets.database()).await.unwrap();
            assert_eq!(wrong, 0, "{by} is gone");
        }
        let (left,): (i64,) = query(
            "SELECT (SELECT count(*) FROM tweet) + (SELECT count(*) FROM author)
                  + (SELECT count(*) FROM hidden_author) + (SELECT count(*) FROM settling)",
        )
        .fetch_one(tweets.database())
        .await
        .unwrap();
        assert_eq!(left, 0);
    })
    .await;
}
