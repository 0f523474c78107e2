//! Likes, retweets, bookmarks, answers: what may be done with which tweet, and the numbers.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::{World, ids, is_not_found, text};

#[tokio::test]
async fn a_tweet_is_liked_once_and_listed_until_it_is_not() {
    let world = World::start();
    let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
    let first = world.tweet(&ann, "first").await;
    let second = world.tweet(&ann, "second").await;
    for _ in 0..2 {
        world.like(&bob, &second).await;
        world.like(&bob, &first).await;
    }
    world.like(&cid, &first).await;
    let liked = format!("/2/users/{}/liked_tweets", bob.id);
    // In the order of the likes.
    assert_eq!(world.all(&cid, &liked).await, [first.clone(), second.clone()]);
    let liking = format!("/2/tweets/{first}/liking_users");
    assert_eq!(world.all(&ann, &liking).await, [cid.id.clone(), bob.id.clone()]);
    assert_eq!(world.all(&ann, &format!("{liking}?max_results=1")).await.len(), 2);
    assert_eq!(world.tweet_metrics(&ann, &first).await["like_count"], json!(2));
    assert_eq!(world.user_metrics(&ann, &bob.id).await["like_count"], json!(2));
    for _ in 0..2 {
        let undone = world.disengage(&bob, "likes", &first).await.expect(200).json();
        assert_eq!(undone, json!({ "data": { "liked": false } }));
    }
    assert_eq!(world.all(&cid, &liked).await, std::slice::from_ref(&second));
    assert_eq!(world.all(&ann, &liking).await, std::slice::from_ref(&cid.id));
    assert_eq!(world.tweet_metrics(&ann, &first).await["like_count"], json!(1));
    // Who asks for a tweet of nobody's.
    is_not_found(&world.get(&ann, "/2/tweets/20/liking_users").await);
    is_not_found(&world.get(&ann, "/2/users/1/liked_tweets").await);
    let answer = world.engage(&bob, "likes", "20").await.expect(400).json();
    assert_eq!(answer["errors"][0]["message"], json!("This tweet cannot be found."), "{answer}");
    assert_eq!(answer["errors"][0]["parameters"]["tweet_id"], json!(["20"]), "{answer}");
    // In somebody else's name.
    let path = format!("/2/users/{}/likes", ann.id);
    let answer = world.post(&bob, &path, json!({ "tweet_id": first })).await.expect(400).json();
    assert_eq!(answer["errors"][0]["parameters"]["id"], json!([ann.id]), "{answer}");
    // The author deletes it.
    world.delete_tweet(&ann, &second).await;
    assert_eq!(world.all(&cid, &liked).await, Vec::<String>::new());
    world.settle().await;
    assert_eq!(world.user_metrics(&ann, &bob.id).await["like_count"], json!(0));
    world.engage(&bob, "likes", &second).await.expect(400);
}

#[tokio::test]
async fn who_retweets_a_retweet_retweets_the_tweet() {
    let world = World::start();
    let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
    let tweet = world.tweet(&ann, "worth sharing").await;
    let by_bob = world.retweet(&bob, &tweet).await;
    world.settle().await;
    let by_cid = world.retweet(&cid, &by_bob).await;
    world.like(&cid, &by_bob).await;
    world.settle().await;
    for retweet in [&by_bob, &by_cid] {
        let path = format!("/2/tweets/{retweet}?tweet.fields=referenced_tweets");
        let read = world.get(&ann, &path).await;
        let repeats = json!([{ "type": "retweeted", "id": tweet }]);
        assert_eq!(read["data"]["referenced_tweets"], repeats);
    }
    let metrics = world.tweet_metrics(&ann, &tweet).await;
    assert_eq!((&metrics["retweet_count"], &metrics["like_count"]), (&json!(2), &json!(1)));
    let by = format!("/2/tweets/{tweet}/retweeted_by");
    assert_eq!(world.all(&ann, &by).await, [cid.id.clone(), bob.id.clone()]);
    // An answer to a retweet, and a quote of one, mean the tweet too.
    let reply = world.reply(&cid, &by_bob, "an answer").await;
    let quote = world.quote(&cid, &by_bob, "a quote").await;
    let path = format!("/2/tweets?ids={reply},{quote}&tweet.fields=referenced_tweets");
    let read = world.get(&ann, &path).await;
    assert_eq!(read["data"][0]["referenced_tweets"][0]["id"], json!(tweet));
    assert_eq!(read["data"][1]["referenced_tweets"][0]["id"], json!(tweet));
    // A retweet is not deleted like a tweet.
    let refused = world.delete(&bob, &format!("/2/tweets/{by_bob}")).await.expect(403).json();
    let undo = format!("/2/users/{}/retweets/{tweet}", bob.id);
    assert!(text(&refused["detail"]).contains(&undo), "{refused}");
    // It can be taken back by either id, and made again with another one.
    world.disengage(&bob, "retweets", &by_bob).await.expect(200);
    world.settle().await;
    is_not_found(&world.get(&ann, &format!("/2/tweets/{by_bob}")).await);
    assert_ne!(world.retweet(&bob, &tweet).await, by_bob);
    // With the tweet go its retweets.
    world.delete_tweet(&ann, &tweet).await;
    world.settle().await;
    is_not_found(&world.get(&ann, &format!("/2/tweets/{by_cid}")).await);
    assert_eq!(world.ids(&ann, &format!("/2/users/{}/tweets", cid.id)).await, [quote, reply]);
    let answer = world.engage(&bob, "retweets", &tweet).await.expect(400).json();
    assert_eq!(answer["errors"][0]["message"], json!("This Tweet cannot be found."), "{answer}");
}

#[tokio::test]
async fn what_is_deleted_or_hidden_is_not_answered() {
    let world = World::start();
    let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
    let tweet = world.tweet(&ann, "what do you think?").await;
    let rude = world.reply(&bob, &tweet, "something rude").await;
    world.follow(&cid, &bob).await;
    world.follow(&cid, &ann).await;
    let hide = |who: &super::Person, id: &str, hidden: bool| {
        let (token, path) = (who.token.clone(), format!("/2/tweets/{id}/hidden"));
        let world = &world;
        async move { world.ask(&token, Method::PUT, &path, json!({ "hidden": hidden })).await }
    };
    // Only who began the conversation may, and only what others answer in it.
    hide(&bob, &rude, true).await.expect(403);
    hide(&cid, &rude, true).await.expect(403);
    hide(&ann, &tweet, true).await.expect(403);
    hide(&ann, "20", true).await.expect(404);
    for _ in 0..2 {
        let hidden = hide(&ann, &rude, true).await.expect(200).json();
        assert_eq!(hidden, json!({ "data": { "hidden": true } }));
    }
    let refused = |says: &str, parameter: &str, id: &str, answer: &Value| {
        assert_eq!(answer["type"], json!("about:blank"), "{answer}");
        assert_eq!(answer["title"], json!("Forbidden"), "{answer}");
        let detail =
            format!("You attempted to {says} a Tweet that is deleted or not visible to you.");
        assert_eq!(answer["detail"], json!(detail), "{answer}");
        assert_eq!(answer["parameter"], json!(parameter), "{answer}");
        assert_eq!(answer["value"], json!(id), "{answer}");
    };
    let answering = |id: &str| json!({ "text": "and?", "reply": { "in_reply_to_tweet_id": id } });
    let answer = world.post(&cid, "/2/tweets", answering(&rude)).await.expect(403).json();
    refused("reply to", "reply.in_reply_to_tweet_id", &rude, &answer);
    world.settle().await;
    // It shows in no feed: not at home, not in search, not among mentions.
    assert!(!world.home(&cid).await.contains(&rude));
    assert!(!world.found(&cid, "rude").await.contains(&rude));
    assert!(!world.all(&ann, &format!("/2/users/{}/mentions", ann.id)).await.contains(&rude));
    // Who has its id can read it.
    let read = world.get(&cid, &format!("/2/tweets/{rude}")).await;
    assert_eq!(read["data"]["text"], json!("something rude"), "{read}");
    hide(&ann, &rude, false).await.expect(200);
    assert!(world.home(&cid).await.contains(&rude));
    world.reply(&cid, &rude, "now I may").await;

    world.delete_tweet(&ann, &tweet).await;
    let answer = world.post(&cid, "/2/tweets", answering(&tweet)).await.expect(403).json();
    refused("reply to", "reply.in_reply_to_tweet_id", &tweet, &answer);
    let quoting = json!({ "text": "look", "quote_tweet_id": tweet });
    let answer = world.post(&cid, "/2/tweets", quoting).await.expect(403).json();
    refused("quote", "quote_tweet_id", &tweet, &answer);
    // The same words again, as the author's own.
    world.tweet(&cid, "said once").await;
    let again = world.post(&cid, "/2/tweets", json!({ "text": "said once" })).await.expect(403);
    assert!(again.text().contains("duplicate content"), "{}", again.text());
    // Nothing was half-written.
    assert_eq!(world.ids(&cid, &format!("/2/users/{}/tweets", cid.id)).await.len(), 2);
}

#[tokio::test]
async fn bookmarks_are_their_owners_alone() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let (one, two) = (world.tweet(&ann, "one").await, world.tweet(&ann, "two").await);
    for tweet in [&two, &one, &two] {
        let marked = world.engage(&bob, "bookmarks", tweet).await.expect(200).json();
        assert_eq!(marked, json!({ "data": { "bookmarked": true } }));
    }
    let path = format!("/2/users/{}/bookmarks", bob.id);
    assert_eq!(world.all(&bob, &path).await, [one.clone(), two.clone()]);
    assert_eq!(world.all(&bob, &format!("{path}?max_results=1")).await.len(), 2);
    world.try_get(&ann, &path).await.expect(400);
    assert_eq!(world.tweet_metrics(&ann, &one).await["bookmark_count"], json!(1));
    let refused = world.engage(&bob, "bookmarks", "20").await.expect(403).json();
    assert_eq!(refused["detail"], json!("You are not permitted to bookmark this Tweet."));
    let undone = world.disengage(&bob, "bookmarks", &one).await.expect(200).json();
    assert_eq!(undone, json!({ "data": { "bookmarked": false } }));
    assert_eq!(world.all(&bob, &path).await, std::slice::from_ref(&two));
    world.delete_tweet(&ann, &two).await;
    assert_eq!(world.all(&bob, &path).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_number_is_right() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let tweet = world.tweet(&ann, "count me").await;
    let zero = json!({
        "retweet_count": 0, "reply_count": 0, "like_count": 0, "quote_count": 0,
        "bookmark_count": 0, "impression_count": 0,
    });
    assert_eq!(world.tweet_metrics(&bob, &tweet).await, zero);
    world.like(&bob, &tweet).await;
    world.like(&ann, &tweet).await;
    world.retweet(&bob, &tweet).await;
    world.engage(&bob, "bookmarks", &tweet).await.expect(200);
    let reply = world.reply(&bob, &tweet, "reply").await;
    world.reply(&ann, &tweet, "own reply").await;
    world.quote(&bob, &tweet, "quote").await;
    world.follow(&bob, &ann).await;
    world.settle().await;
    let mut expected = json!({
        "retweet_count": 1, "reply_count": 2, "like_count": 2, "quote_count": 1,
        "bookmark_count": 1, "impression_count": 0,
    });
    assert_eq!(world.tweet_metrics(&bob, &tweet).await, expected);
    // The same wherever the tweet shows.
    for path in [
        format!("{}?tweet.fields=public_metrics", World::home_of(&bob)),
        format!("/2/users/{}/tweets?tweet.fields=public_metrics", ann.id),
        format!("/2/users/{}/liked_tweets?tweet.fields=public_metrics", ann.id),
        format!("/2/users/{}/bookmarks?tweet.fields=public_metrics", bob.id),
        "/2/tweets/search/recent?query=count&tweet.fields=public_metrics".to_owned(),
    ] {
        let list = world.get(&bob, &path).await;
        let items = list["data"].as_array().expect("tweets");
        let shown = items.iter().find(|item| item["id"] == json!(tweet)).expect("the tweet");
        assert_eq!(shown["public_metrics"], expected, "{path}");
    }
    let quotes = world.get(&bob, &format!("/2/tweets/{tweet}/quote_tweets")).await;
    assert_eq!(quotes["data"][0]["text"], json!("quote"), "{quotes}");
    let profile = world.user_metrics(&bob, &ann.id).await;
    let numbers = json!({
        "followers_count": 1, "following_count": 0, "tweet_count": 2, "listed_count": 0,
        "like_count": 1,
    });
    assert_eq!(profile, numbers);
    // Bob: a retweet, a reply and a quote.
    assert_eq!(world.user_metrics(&bob, &bob.id).await["tweet_count"], json!(3));
    world.delete_tweet(&bob, &reply).await;
    world.settle().await;
    expected["reply_count"] = json!(1);
    assert_eq!(world.tweet_metrics(&bob, &tweet).await, expected);
    assert_eq!(world.user_metrics(&bob, &bob.id).await["tweet_count"], json!(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_exact_after_many_did_and_undid_at_once() {
    const ROUNDS: usize = 12;
    let world = Arc::new(World::start());
    let [ann, bob, cid, dan, eve] = world.people(["ann", "bob", "cid", "dan", "eve"]).await;
    let tweet = world.tweet(&ann, "popular").await;
    let crowd = [bob, cid, dan, eve];
    let mut tasks = Vec::new();
    for (index, person) in crowd.iter().enumerate() {
        // Two hands each, which get in each other's way; the last word is known.
        for hand in 0..2 {
            let (world, person, tweet, ann) =
                (world.clone(), person.clone(), tweet.clone(), ann.clone());
            tasks.push(tokio::spawn(async move {
                for round in 0..ROUNDS {
                    if (round + hand) % 2 == 0 {
                        world.engage(&person, "likes", &tweet).await.expect(200);
                        world.engage(&person, "retweets", &tweet).await.expect(200);
                        world.relate(&person, "following", &ann).await.expect(200);
                    } else {
                        world.disengage(&person, "likes", &tweet).await.expect(200);
                        world.disengage(&person, "retweets", &tweet).await.expect(200);
                        world.unrelate(&person, "following", &ann).await.expect(200);
                    }
                }
                index
            }));
        }
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    // The first two end with it, the others without.
    let (with, without) = crowd.split_at(2);
    for person in with {
        world.engage(person, "likes", &tweet).await.expect(200);
        world.engage(person, "retweets", &tweet).await.expect(200);
        world.follow(person, &ann).await;
    }
    for person in without {
        world.disengage(person, "likes", &tweet).await.expect(200);
        world.disengage(person, "retweets", &tweet).await.expect(200);
        world.unrelate(person, "following", &ann).await.expect(200);
    }
    world.settle().await;
    let metrics = world.tweet_metrics(&ann, &tweet).await;
    assert_eq!((&metrics["like_count"], &metrics["retweet_count"]), (&json!(2), &json!(2)));
    let profile = world.user_metrics(&ann, &ann.id).await;
    assert_eq!(profile["followers_count"], json!(2));
    assert_eq!(ids(&world.get(&ann, &format!("/2/tweets/{tweet}/liking_users")).await).len(), 2);
    for person in with {
        let profile = world.user_metrics(&ann, &person.id).await;
        assert_eq!((&profile["like_count"], &profile["tweet_count"]), (&json!(1), &json!(1)));
        assert_eq!(profile["following_count"], json!(1));
    }
    for person in without {
        let profile = world.user_metrics(&ann, &person.id).await;
        assert_eq!((&profile["like_count"], &profile["tweet_count"]), (&json!(0), &json!(0)));
        assert_eq!(profile["following_count"], json!(0));
    }
    world.rebuilds_the_same().await;
}
