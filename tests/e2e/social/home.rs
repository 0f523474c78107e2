//! What is at home: what followed people say and share, each once, latest first.

use serde_json::json;

use super::{World, ids, text};

#[tokio::test]
async fn home_is_what_followed_people_say_and_share() {
    says_and_shares(&World::start()).await;
}

/// Also run on servers.
pub(super) async fn says_and_shares(world: &World) {
    let [ann, bob, cid, dan] = world.people(["ann", "bob", "cid", "dan"]).await;
    let before = world.tweet(&bob, "before anybody follows").await;
    world.follow(&ann, &bob).await;
    world.follow(&ann, &cid).await;
    let by_cid = world.tweet(&cid, "from Cid").await;
    let by_dan = world.tweet(&dan, "from Dan, whom Ann does not follow").await;
    let own = world.tweet(&ann, "my own").await;
    let shared = world.retweet(&bob, &by_dan).await;
    // Once more is the same retweet.
    assert_eq!(world.retweet(&bob, &by_dan).await, shared);
    // An answer to a stranger is not for those who follow only the one who answers.
    let to_dan = world.reply(&bob, &by_dan, "an answer to a stranger").await;
    let to_cid = world.reply(&bob, &by_cid, "an answer to a friend").await;
    world.settle().await;
    let all = [&to_cid, &shared, &own, &by_cid, &before];
    assert_eq!(world.home(&ann).await, all.map(String::clone));
    assert_eq!(world.home(&dan).await, std::slice::from_ref(&by_dan));
    assert!(!world.home(&ann).await.contains(&to_dan));

    // The retweet shows what it repeats.
    let path = format!(
        "{}?tweet.fields=author_id,referenced_tweets&expansions=author_id,referenced_tweets.id,referenced_tweets.id.author_id",
        World::home_of(&ann)
    );
    let home = world.get(&ann, &path).await;
    let retweet = &home["data"][1];
    assert_eq!(retweet["id"], json!(shared));
    assert_eq!(retweet["author_id"], json!(bob.id));
    assert_eq!(retweet["text"], json!(format!("RT @{dan}: from Dan, whom Ann does not follow")));
    assert_eq!(retweet["referenced_tweets"], json!([{ "type": "retweeted", "id": by_dan }]));
    let included = home["includes"]["tweets"].as_array().expect("tweets");
    let dans = included.iter().find(|tweet| tweet["id"] == json!(by_dan)).expect("Dan's tweet");
    assert_eq!(dans["text"], json!("from Dan, whom Ann does not follow"));
    let mut authors: Vec<String> = home["includes"]["users"]
        .as_array()
        .expect("users")
        .iter()
        .map(|user| text(&user["username"]))
        .collect();
    authors.sort_unstable();
    assert_eq!(authors, [&ann, &bob, &cid, &dan].map(|person| person.username.clone()));

    // What a reader does not want.
    let without = |what: &str| format!("{}?exclude={what}", World::home_of(&ann));
    let without_retweets = [&to_cid, &own, &by_cid, &before].map(String::clone);
    assert_eq!(world.all(&ann, &without("retweets")).await, without_retweets);
    let without_both = [&own, &by_cid, &before].map(String::clone);
    assert_eq!(world.all(&ann, &without("retweets,replies")).await, without_both);
    let since = format!("{}?since_id={by_cid}&until_id={shared}", World::home_of(&ann));
    assert_eq!(world.all(&ann, &since).await, std::slice::from_ref(&own));

    // What is taken back goes, and who is not followed any more.
    let undone = world.disengage(&bob, "retweets", &by_dan).await.expect(200).json();
    assert_eq!(undone, json!({ "data": { "retweeted": false } }));
    world.settle().await;
    assert_eq!(world.home(&ann).await, without_retweets);
    let undone = world.unrelate(&ann, "following", &bob).await.expect(200).json();
    assert_eq!(undone, json!({ "data": { "following": false } }));
    world.settle().await;
    assert_eq!(world.home(&ann).await, [own, by_cid]);
}

#[tokio::test]
async fn home_comes_in_pages_which_lead_on_and_back() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    world.follow(&ann, &bob).await;
    let mut posted = Vec::new();
    for n in 0..7 {
        posted.push(world.tweet(&bob, &format!("number {n}")).await);
    }
    posted.reverse();
    world.settle().await;
    let path = format!("{}?max_results=3", World::home_of(&ann));
    assert_eq!(world.all(&ann, &path).await, posted);

    let at = |token: &str| format!("{path}&pagination_token={token}");
    let first = world.get(&ann, &path).await;
    assert_eq!(ids(&first), posted[..3]);
    assert_eq!(first["meta"]["newest_id"], json!(posted[0]));
    assert_eq!(first["meta"]["oldest_id"], json!(posted[2]));
    assert_eq!(first["meta"].get("previous_token"), None);
    let second = world.get(&ann, &at(&text(&first["meta"]["next_token"]))).await;
    assert_eq!(ids(&second), posted[3..6]);
    // What comes meanwhile moves nothing.
    let late = world.tweet(&bob, "late").await;
    world.settle().await;
    let third = world.get(&ann, &at(&text(&second["meta"]["next_token"]))).await;
    assert_eq!(ids(&third), posted[6..]);
    assert_eq!(third["meta"].get("next_token"), None);
    let back = world.get(&ann, &at(&text(&third["meta"]["previous_token"]))).await;
    assert_eq!(ids(&back), posted[3..6]);
    let back = world.get(&ann, &at(&text(&back["meta"]["previous_token"]))).await;
    assert_eq!(ids(&back), posted[..3]);
    let back = world.get(&ann, &at(&text(&back["meta"]["previous_token"]))).await;
    assert_eq!(ids(&back), [late]);
}

#[tokio::test]
async fn home_is_the_callers_only_and_no_apps() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let answer = world.try_get(&ann, &World::home_of(&bob)).await.expect(400).json();
    assert_eq!(answer["errors"][0]["parameters"]["id"], json!([bob.id]));
    let message = text(&answer["errors"][0]["message"]);
    assert!(message.contains("must be the same as the authenticating user"), "{message}");
    let app = world.app(&ann).await;
    let call = world.system.client.get(&World::home_of(&ann)).bearer(&app);
    let refused = call.send().await.expect(403).json();
    assert!(text(&refused["type"]).ends_with("/unsupported-authentication"), "{refused}");
}

#[tokio::test]
async fn mentions_are_tweets_that_name_or_answer_somebody() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let anns = world.tweet(&ann, "the first").await;
    let naming = world.tweet(&bob, &format!("hello @{}", ann.username.to_uppercase())).await;
    world.tweet(&bob, &format!("hello @{ann}ie and {ann}")).await;
    let answering = world.reply(&bob, &anns, "without a name").await;
    world.reply(&ann, &anns, "to myself").await;
    world.settle().await;
    let path = format!("/2/users/{}/mentions", ann.id);
    assert_eq!(world.all(&ann, &path).await, [answering.clone(), naming.clone()]);
    // Everybody may read them, apps too.
    assert_eq!(world.all(&bob, &path).await, [answering.clone(), naming.clone()]);
    let app = world.app(&ann).await;
    let read = world.system.client.get(&path).bearer(&app).send().await.expect(200).json();
    assert_eq!(ids(&read), [answering.clone(), naming]);
    is_of_nobody(&world, &ann).await;
    world.delete_tweet(&bob, &answering).await;
    assert_eq!(world.all(&ann, &path).await.len(), 1);
}

async fn is_of_nobody(world: &World, person: &super::Person) {
    let answer = world.get(person, "/2/users/1/mentions").await;
    super::is_not_found(&answer);
    assert_eq!(answer["errors"][0]["resource_type"], json!("user"));
}
