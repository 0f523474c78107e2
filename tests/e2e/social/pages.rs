//! Page tokens: good for the list that they came with, and for nobody and nothing else.

use serde_json::{Value, json};

use super::{Person, World, text};

/// Lists, each with more than a page for Ann.
fn lists(ann: &Person, tweet: &str) -> [String; 10] {
    let (id, username) = (&ann.id, &ann.username);
    [
        format!("/2/users/{id}/timelines/reverse_chronological?max_results=1"),
        format!("/2/users/{id}/tweets?max_results=5"),
        format!("/2/users/{id}/mentions?max_results=5"),
        format!("/2/users/{id}/followers?max_results=1"),
        format!("/2/users/{id}/following?max_results=1"),
        format!("/2/users/{id}/liked_tweets?max_results=5"),
        format!("/2/users/{id}/bookmarks?max_results=1"),
        format!("/2/tweets/{tweet}/liking_users?max_results=1"),
        format!("/2/tweets/search/recent?query=from%3A{username}&max_results=10"),
        "/pillion/v1/notifications?max_results=1".to_owned(),
    ]
}

/// Refused, with the parameter's name.
async fn is_refused(world: &World, person: &Person, path: &str) {
    let answer = world.try_get(person, path).await;
    assert_eq!(answer.status, 400, "{path}: {}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["title"], json!("Invalid Request"), "{path}: {answer}");
    let parameters = &answer["errors"][0]["parameters"];
    assert!(parameters.get("pagination_token").is_some(), "{path}: {answer}");
}

#[tokio::test]
async fn tampered_foreign_and_misplaced_tokens_are_refused() {
    let mut world = World::start();
    let people = world.people(["ann", "bob", "cid"]).await;
    let [ann, bob, cid] = people.clone();
    let mut tweets = Vec::new();
    for person in &people {
        for other in people.iter().filter(|other| other.id != person.id) {
            world.follow(person, other).await;
        }
        for n in 0..11 {
            let says = format!("number {n} for @{ann}, @{bob} and @{cid}");
            tweets.push(world.tweet(person, &says).await);
        }
    }
    for person in &people {
        for tweet in &tweets[..7] {
            world.like(person, tweet).await;
            world.engage(person, "bookmarks", tweet).await.expect(200);
        }
    }
    world.settle().await;
    let own_lists = lists(&ann, &tweets[0]);
    let bobs_lists = lists(&bob, &tweets[1]);
    let mut tokens = Vec::new();
    for path in &own_lists {
        let page = world.get(&ann, path).await;
        assert!(page["meta"]["next_token"].is_string(), "{path}: {page}");
        tokens.push(text(&page["meta"]["next_token"]));
    }
    for ((path, bobs), token) in own_lists.iter().zip(&bobs_lists).zip(&tokens) {
        let with = |path: &str, token: &str| format!("{path}&pagination_token={token}");
        world.try_get(&ann, &with(path, token)).await.expect(200);
        // Changed: another character in each third of it, cut, longer, something else.
        for at in [1, token.len() / 2, token.len() - 2] {
            let old = token.as_bytes()[at];
            let new = if old == b'A' { "B" } else { "A" };
            let tampered = format!("{}{new}{}", &token[..at], &token[at + 1..]);
            is_refused(&world, &ann, &with(path, &tampered)).await;
        }
        for token in [&token[..token.len() - 4], &format!("{token}AAAA"), "x", "7140dibdnow9"] {
            is_refused(&world, &ann, &with(path, token)).await;
        }
        // Of the same list of somebody else's.
        is_refused(&world, &bob, &with(bobs, token)).await;
        // Of another list.
        for (_, token) in own_lists.iter().zip(&tokens).filter(|(other, _)| *other != path) {
            is_refused(&world, &ann, &with(path, token)).await;
        }
    }
    // One for other conditions than those that it came with.
    let home = format!("{}&exclude=replies&pagination_token={}", own_lists[0], tokens[0]);
    is_refused(&world, &ann, &home).await;
    let search = format!("/2/tweets/search/recent?query=from%3A{bob}&max_results=10");
    is_refused(&world, &ann, &format!("{search}&pagination_token={}", tokens[8])).await;
    // More or fewer on a page is no other list.
    let more = own_lists[0].replace("max_results=1", "max_results=3");
    let page = world.get(&ann, &format!("{more}&pagination_token={}", tokens[0])).await;
    assert_eq!(page["meta"]["result_count"], json!(3), "{page}");

    // They outlive a restart.
    world.system.stop();
    world.system.launch();
    let ann = world.again(&ann).await;
    for (path, token) in own_lists.iter().zip(&tokens) {
        let page = world.get(&ann, &format!("{path}&pagination_token={token}")).await;
        assert_ne!(page["meta"]["result_count"], Value::Null, "{path}: {page}");
    }
}
