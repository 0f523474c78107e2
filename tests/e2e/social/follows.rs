//! Who follows whom, who asks to, and what ends it.

use http::Method;
use serde_json::{Value, json};

use super::{Person, World, is_not_found, text};

const PENDING: &str = r#"{"data":{"following":false,"pending_follow":true}}"#;

fn pending() -> Value {
    serde_json::from_str(PENDING).expect("JSON")
}

/// `followers_count` and `following_count`.
async fn counts(world: &World, person: &Person) -> (Value, Value) {
    let metrics = world.user_metrics(person, &person.id).await;
    (metrics["followers_count"].clone(), metrics["following_count"].clone())
}

#[tokio::test]
async fn follows_are_listed_counted_and_taken_back() {
    let world = World::start();
    let [ann, bob, cid, dan] = world.people(["ann", "bob", "cid", "dan"]).await;
    for follower in [&bob, &cid, &dan] {
        world.follow(follower, &ann).await;
        // Once more changes nothing.
        world.follow(follower, &ann).await;
    }
    world.follow(&ann, &cid).await;
    let followers = format!("/2/users/{}/followers", ann.id);
    let latest_first = [&dan, &cid, &bob].map(|person| person.id.clone());
    assert_eq!(world.all(&bob, &followers).await, latest_first);
    assert_eq!(world.all(&bob, &format!("{followers}?max_results=1")).await, latest_first);
    let following = format!("/2/users/{}/following", ann.id);
    assert_eq!(world.all(&bob, &following).await, std::slice::from_ref(&cid.id));
    assert_eq!(counts(&world, &ann).await, (json!(3), json!(1)));
    // With what is asked for of each.
    let full = world.get(&bob, &format!("{followers}?user.fields=public_metrics,created_at")).await;
    assert_eq!(full["data"][1]["username"], json!(cid.username));
    assert_eq!(full["data"][1]["public_metrics"]["followers_count"], json!(1));
    assert_eq!(full["data"][1]["public_metrics"]["following_count"], json!(1));
    assert!(full["data"][1]["created_at"].is_string(), "{full}");

    for _ in 0..2 {
        let undone = world.unrelate(&bob, "following", &ann).await.expect(200).json();
        assert_eq!(undone, json!({ "data": { "following": false } }));
    }
    assert_eq!(world.all(&ann, &followers).await, latest_first[..2]);
    assert_eq!(counts(&world, &ann).await, (json!(2), json!(1)));
    assert_eq!(counts(&world, &bob).await, (json!(0), json!(0)));
    is_not_found(&world.get(&ann, "/2/users/1/followers").await);
}

#[tokio::test]
async fn nobody_follows_blocks_or_mutes_themself_or_nobody() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let nobody = Person { id: "1".to_owned(), ..bob.clone() };
    for (relation, verb) in [("following", "follow"), ("blocking", "block"), ("muting", "mute")] {
        let answer = world.relate(&ann, relation, &ann).await.expect(400).json();
        let message = text(&answer["errors"][0]["message"]);
        assert_eq!(message, format!("You cannot {verb} yourself."));
        assert_eq!(answer["errors"][0]["parameters"]["target_user_id"], json!([ann.id]));
        let answer = world.relate(&ann, relation, &nobody).await.expect(400).json();
        let message = text(&answer["errors"][0]["message"]);
        assert_eq!(message, format!("You cannot {verb} an account that is not active."));
        // In somebody else's name.
        let path = format!("/2/users/{}/{relation}", bob.id);
        let target = json!({ "target_user_id": ann.id });
        let answer = world.post(&ann, &path, target).await.expect(400).json();
        assert_eq!(answer["errors"][0]["parameters"]["id"], json!([bob.id]));
        let answer = world.post(&ann, &path, json!({})).await.expect(400);
        assert!(answer.text().contains("target_user_id"), "{}", answer.text());
    }
    assert_eq!(counts(&world, &ann).await, (json!(0), json!(0)));
}

#[tokio::test]
async fn a_protected_account_is_asked_and_decides() {
    let world = World::start();
    let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
    world.protect(&ann, true).await;
    let secret = world.tweet(&ann, "for few").await;
    world.settle().await;
    for asker in [&bob, &cid] {
        // Once more is the same request.
        for _ in 0..2 {
            let asked = world.relate(asker, "following", &ann).await.expect(200).json();
            assert_eq!(asked, pending());
        }
    }
    let requests = "/pillion/v1/follow-requests";
    assert_eq!(world.all(&ann, requests).await, [cid.id.clone(), bob.id.clone()]);
    assert_eq!(counts(&world, &ann).await, (json!(0), json!(0)));
    world.settle().await;
    assert_eq!(world.home(&bob).await, Vec::<String>::new());

    let accept = format!("{requests}/{}/accept", bob.id);
    for _ in 0..2 {
        let accepted = world.post(&ann, &accept, Value::Null).await.expect(200).json();
        assert_eq!(accepted, json!({ "data": { "accepted": true } }));
    }
    let deny = format!("{requests}/{}/deny", cid.id);
    let denied = world.post(&ann, &deny, Value::Null).await.expect(200).json();
    assert_eq!(denied, json!({ "data": { "denied": true } }));
    let answer = world.post(&ann, &deny, Value::Null).await.expect(404).json();
    assert_eq!(answer["resource_id"], json!(cid.id), "{answer}");
    world.post(&ann, &format!("{requests}/1/accept"), Value::Null).await.expect(404);
    assert_eq!(world.all(&ann, requests).await, Vec::<String>::new());
    world.settle().await;
    assert_eq!(world.home(&bob).await, std::slice::from_ref(&secret));
    assert_eq!(world.home(&cid).await, Vec::<String>::new());
    let followers = format!("/2/users/{}/followers", ann.id);
    assert_eq!(world.all(&bob, &followers).await, std::slice::from_ref(&bob.id));
    assert_eq!(counts(&world, &ann).await, (json!(1), json!(0)));

    // Who was denied may ask again, and take it back.
    assert_eq!(world.relate(&cid, "following", &ann).await.expect(200).json(), pending());
    world.unrelate(&cid, "following", &ann).await.expect(200);
    assert_eq!(world.all(&ann, requests).await, Vec::<String>::new());
    // A request waits also when the account becomes public; who asks again then follows.
    assert_eq!(world.relate(&cid, "following", &ann).await.expect(200).json(), pending());
    world.protect(&ann, false).await;
    world.settle().await;
    assert_eq!(world.all(&ann, requests).await, std::slice::from_ref(&cid.id));
    world.follow(&cid, &ann).await;
    assert_eq!(world.all(&ann, requests).await, Vec::<String>::new());
    world.settle().await;
    assert_eq!(world.home(&cid).await, [secret]);
    world.rebuilds_the_same().await;
}

#[tokio::test]
async fn a_block_ends_follows_and_requests_both_ways() {
    let world = World::start();
    let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
    world.follow(&ann, &bob).await;
    world.follow(&bob, &ann).await;
    world.protect(&cid, true).await;
    world.settle().await;
    assert_eq!(world.relate(&ann, "following", &cid).await.expect(200).json(), pending());
    for blocked in [&bob, &cid] {
        for _ in 0..2 {
            let answer = world.relate(&ann, "blocking", blocked).await.expect(200).json();
            assert_eq!(answer, json!({ "data": { "blocking": true } }));
        }
    }
    let blocking = format!("/2/users/{}/blocking", ann.id);
    assert_eq!(world.all(&ann, &blocking).await, [cid.id.clone(), bob.id.clone()]);
    for person in [&ann, &bob] {
        assert_eq!(counts(&world, person).await, (json!(0), json!(0)));
    }
    assert_eq!(world.all(&cid, "/pillion/v1/follow-requests").await, Vec::<String>::new());
    // Neither may follow the other.
    world.relate(&bob, "following", &ann).await.expect(403);
    world.relate(&ann, "following", &bob).await.expect(403);
    // The list is its owner's alone.
    let answer = world.try_get(&bob, &blocking).await.expect(400).json();
    assert_eq!(answer["errors"][0]["parameters"]["id"], json!([ann.id]), "{answer}");
    let path = format!("/2/users/{}/muting", ann.id);
    world.ask(&bob.token, Method::GET, &path, Value::Null).await.expect(400);

    for _ in 0..2 {
        let answer = world.unrelate(&ann, "blocking", &bob).await.expect(200).json();
        assert_eq!(answer, json!({ "data": { "blocking": false } }));
    }
    assert_eq!(world.all(&ann, &blocking).await, [cid.id]);
    assert_eq!(counts(&world, &ann).await, (json!(0), json!(0)));
    world.follow(&bob, &ann).await;
}
