//! What people are told of: in a list, as a number, and while it happens.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lines::Lines;
use super::{Person, World, ids, text};

const LIST: &str = "/pillion/v1/notifications";
const READ: &str = "/pillion/v1/notifications/read";
const STREAM: &str = "/pillion/v1/notifications/stream";
/// A step of a saga takes milliseconds.
const SAGA_DEADLINE: Duration = Duration::from_secs(10);

/// Type and actor of each, the latest first.
async fn told(world: &World, person: &Person, query: &str) -> Vec<(String, String)> {
    let list = world.get(person, &format!("{LIST}{query}")).await;
    let items = list["data"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| (text(&item["type"]), text(&item["actor_id"]))).collect()
}

async fn unread(world: &World, person: &Person) -> Value {
    let path = format!("{LIST}/unread_count");
    world.get(person, &path).await["data"]["unread_count"].clone()
}

#[tokio::test]
async fn everything_that_concerns_somebody_is_told_once() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let tweet = world.tweet(&ann, "hello").await;
    world.settle().await;
    world.follow(&bob, &ann).await;
    world.settle().await;
    world.like(&bob, &tweet).await;
    world.like(&bob, &tweet).await;
    world.settle().await;
    world.retweet(&bob, &tweet).await;
    world.settle().await;
    let reply = world.reply(&bob, &tweet, &format!("hello @{ann}")).await;
    let quote = world.quote(&bob, &tweet, &format!("look, @{ann}")).await;
    let mention =
        world.tweet(&bob, &format!("good morning @{}", ann.username.to_uppercase())).await;
    // What people do to themselves is no news.
    world.like(&ann, &tweet).await;
    world.reply(&ann, &tweet, &format!("myself, @{ann}")).await;
    world.settle().await;
    let kinds = ["mention", "quote", "reply", "retweet", "like", "follow"];
    let expected: Vec<(String, String)> =
        kinds.iter().map(|kind| ((*kind).to_owned(), bob.id.clone())).collect();
    assert_eq!(told(&world, &ann, "").await, expected);
    assert_eq!(told(&world, &bob, "").await, Vec::new());

    let list = world.get(&ann, LIST).await;
    let about: Vec<&Value> =
        list["data"].as_array().expect("notifications").iter().map(|n| &n["tweet_id"]).collect();
    let tweets = [&mention, &quote, &reply, &tweet, &tweet].map(|id| json!(id));
    assert_eq!(about[..5], tweets.each_ref()[..]);
    assert_eq!(list["data"][5].get("tweet_id"), None, "{list}");
    assert_eq!(list["data"][0]["read"], json!(false));
    assert_eq!(unread(&world, &ann).await, json!(6));
    // In pages, and by kind.
    assert_eq!(world.all(&ann, &format!("{LIST}?max_results=2")).await, ids(&list));
    assert_eq!(told(&world, &ann, "?types=like,follow").await, expected[4..]);
    let wrong = world.try_get(&ann, &format!("{LIST}?types=poke")).await.expect(400).json();
    assert!(wrong["errors"][0]["parameters"].get("types").is_some(), "{wrong}");

    // Read up to the reply: two are left.
    let up_to = list["data"][2]["id"].clone();
    let marked = world.post(&ann, READ, json!({ "up_to": up_to })).await.expect(200).json();
    assert_eq!(marked["data"], json!({ "read_up_to": up_to, "unread_count": 2 }));
    // A mark never goes back.
    let older = list["data"][4]["id"].clone();
    let marked = world.post(&ann, READ, json!({ "up_to": older })).await.expect(200).json();
    assert_eq!(marked["data"], json!({ "read_up_to": up_to, "unread_count": 2 }));
    assert_eq!(unread(&world, &ann).await, json!(2));
    assert_eq!(told(&world, &ann, "?unread_only=true").await, expected[..2]);
    let read: Vec<Value> = world.get(&ann, LIST).await["data"]
        .as_array()
        .expect("notifications")
        .iter()
        .map(|item| item["read"].clone())
        .collect();
    assert_eq!(read, [false, false, true, true, true, true].map(Value::from));
    let beyond = (text(&list["data"][0]["id"]).parse::<u64>().expect("an id") + 1).to_string();
    world.post(&ann, READ, json!({ "up_to": beyond })).await.expect(400);
    world.post(&bob, READ, json!({ "up_to": up_to })).await.expect(400);

    // What was undone is withdrawn.
    world.disengage(&bob, "likes", &tweet).await.expect(200);
    world.delete_tweet(&bob, &mention).await;
    world.unrelate(&bob, "following", &ann).await.expect(200);
    world.settle().await;
    assert_eq!(told(&world, &ann, "").await, expected[1..4]);
    assert_eq!(unread(&world, &ann).await, json!(1));
    world.rebuilds_the_same().await;
}

#[tokio::test]
async fn nobody_is_told_by_whom_they_blocked_or_muted_or_may_not_see() {
    let world = World::start();
    let [ann, bob, cid, dan] = world.people(["ann", "bob", "cid", "dan"]).await;
    let tweet = world.tweet(&ann, "hello").await;
    world.relate(&ann, "muting", &bob).await.expect(200);
    world.relate(&ann, "blocking", &cid).await.expect(200);
    world.protect(&dan, true).await;
    world.protect(&ann, true).await;
    world.settle().await;
    let asked = world.relate(&dan, "following", &ann).await.expect(200).json();
    assert_eq!(asked["data"]["pending_follow"], json!(true));
    // The saga tells her by a step of its own, which comes after Dan's answer.
    let began = Instant::now();
    while told(&world, &ann, "").await.is_empty() && began.elapsed() < SAGA_DEADLINE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told(&world, &ann, "").await, [("follow_request".to_owned(), dan.id.clone())]);
    world.protect(&ann, false).await;
    world.settle().await;
    world.like(&bob, &tweet).await;
    world.tweet(&bob, &format!("hey @{ann}")).await;
    world.tweet(&cid, &format!("hey @{ann}")).await;
    // Ann does not follow Dan, whose tweets are for followers; a like tells nothing of his.
    world.tweet(&dan, &format!("hey @{ann}")).await;
    world.like(&dan, &tweet).await;
    world.settle().await;
    let kinds = ["like", "follow_request"];
    assert_eq!(told(&world, &ann, "").await, kinds.map(|kind| (kind.to_owned(), dan.id.clone())));
    // The answer to the request is seen in the list of requests; its notification goes.
    let accept = format!("/pillion/v1/follow-requests/{}/accept", dan.id);
    world.post(&ann, &accept, Value::Null).await.expect(200);
    world.settle().await;
    let kinds = ["follow", "like"];
    assert_eq!(told(&world, &ann, "").await, kinds.map(|kind| (kind.to_owned(), dan.id.clone())));
}

#[tokio::test]
async fn news_come_live_and_none_is_missed_by_who_comes_back() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    world.tweet(&bob, &format!("before: @{ann}")).await;
    world.settle().await;
    let mut live = Lines::open(&world, &ann.token, STREAM, "").await;
    assert!(live.content_type.starts_with("text/event-stream"), "{}", live.content_type);
    let first = world.tweet(&bob, &format!("first: @{ann}")).await;
    let began = Instant::now();
    let (id, name, data) = live.event().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(name, "notification");
    assert_eq!(data["id"], json!(id));
    assert_eq!((&data["type"], &data["actor_id"]), (&json!("mention"), &json!(bob.id)));
    assert_eq!(data["tweet_id"], json!(first), "what was before is not new");
    // The same as in the list.
    assert_eq!(world.get(&ann, LIST).await["data"][0], data);
    drop(live);

    let mut missed = Vec::new();
    for n in 0..3 {
        missed.push(world.tweet(&bob, &format!("missed {n}: @{ann}")).await);
    }
    world.settle().await;
    let mut live = Lines::open(&world, &ann.token, STREAM, &id).await;
    for tweet in &missed {
        assert_eq!(live.event().await.2["tweet_id"], json!(tweet));
    }
    let last = world.tweet(&bob, &format!("last: @{ann}")).await;
    assert_eq!(live.event().await.2["tweet_id"], json!(last));
    // Somebody else's stream has none of it.
    let mut bobs = Lines::open(&world, &bob.token, STREAM, "").await;
    world.tweet(&bob, &format!("for Ann: @{ann}")).await;
    let follow = world.relate(&ann, "following", &bob).await;
    follow.expect(200);
    let (_, _, data) = bobs.event().await;
    assert_eq!((&data["type"], &data["actor_id"]), (&json!("follow"), &json!(ann.id)));
    // What is no notification's id begins at the newest one: browsers never come back from a 400.
    for unusable in ["yesterday", "18446744073709551616"] {
        let mut live = Lines::open(&world, &ann.token, STREAM, unusable).await;
        let next = world.tweet(&bob, &format!("{unusable}: @{ann}")).await;
        assert_eq!(live.event().await.2["tweet_id"], json!(next));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_outlive_a_restart_by_their_last_id() {
    let mut world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    world.settle().await;
    let mut live = Lines::open(&world, &ann.token, STREAM, "").await;
    world.tweet(&bob, &format!("first: @{ann}")).await;
    let (id, _, _) = live.event().await;
    let second = world.tweet(&bob, &format!("second: @{ann}")).await;
    world.system.kill();
    world.system.launch();
    let ann = world.again(&ann).await;
    world.settle().await;
    let mut live = Lines::open(&world, &ann.token, STREAM, &id).await;
    assert_eq!(live.event().await.2["tweet_id"], json!(second));
    // An orderly end ends the stream, too.
    let ended = tokio::spawn(async move { while let Some(_line) = live.next().await {} });
    world.system.stop();
    ended.await.expect("the stream ended");
}
