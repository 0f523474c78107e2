//! An account is deleted: with it goes everything that was the person's, everywhere.

use serde_json::json;

use super::{World, ids, is_not_found, text};

#[tokio::test]
async fn with_an_account_everything_of_it_goes_everywhere() {
    let mut world = World::start();
    let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
    world.follow(&ann, &bob).await;
    world.follow(&bob, &ann).await;
    world.follow(&cid, &bob).await;
    let anns = world.tweet(&ann, "apple of Ann").await;
    world.settle().await;
    let bobs = world.tweet(&bob, "apple for @ann").await;
    let reply = world.reply(&bob, &anns, "an apple, too").await;
    let quote = world.quote(&bob, &anns, "see this apple").await;
    world.like(&bob, &anns).await;
    let shared = world.retweet(&bob, &anns).await;
    world.engage(&bob, "bookmarks", &anns).await.expect(200);
    world.like(&ann, &bobs).await;
    let shared_bobs = world.retweet(&ann, &bobs).await;
    world.engage(&ann, "bookmarks", &bobs).await.expect(200);
    let answer = world.reply(&ann, &bobs, "an answer to Bob").await;
    world.relate(&cid, "muting", &ann).await.expect(200);
    world.relate(&bob, "blocking", &cid).await.expect(200);
    world.settle().await;
    assert!(world.home(&ann).await.contains(&bobs));
    assert!(!world.get(&ann, "/pillion/v1/notifications").await["data"].is_null());

    // Not without the password.
    let gone = "/pillion/v1/accounts/me";
    let delete = |password: &str| {
        let body = json!({ "password": password });
        world.system.client.delete(gone).bearer(&bob.token).json(&body).send()
    };
    delete("wrong horse battery").await.expect(403);
    let deleted = delete("correct horse battery").await.expect(200).json();
    assert_eq!(deleted, json!({ "data": { "deleted": true } }));
    world.settle().await;

    for path in [
        format!("/2/users/{}", bob.id),
        "/2/users/by/username/bob".to_owned(),
        format!("/2/users/{}/tweets", bob.id),
        format!("/2/users/{}/followers", bob.id),
        format!("/2/users/{}/following", bob.id),
        format!("/2/users/{}/liked_tweets", bob.id),
        format!("/2/users/{}/mentions", bob.id),
        format!("/2/tweets/{bobs}"),
        format!("/2/tweets/{reply}"),
        format!("/2/tweets/{quote}"),
        format!("/2/tweets/{shared}"),
        format!("/2/tweets/{shared_bobs}"),
        format!("/2/tweets/{bobs}/liking_users"),
        format!("/2/tweets/{bobs}/retweeted_by"),
    ] {
        is_not_found(&world.get(&ann, &path).await);
    }
    // The lists of others.
    let nobody = Vec::<String>::new();
    for path in [
        format!("/2/users/{}/followers", ann.id),
        format!("/2/users/{}/following", ann.id),
        format!("/2/users/{}/liked_tweets", ann.id),
        format!("/2/users/{}/bookmarks", ann.id),
        format!("/2/users/{}/mentions", ann.id),
        format!("/2/tweets/{anns}/liking_users"),
        format!("/2/tweets/{anns}/retweeted_by"),
        format!("/2/tweets/{anns}/quote_tweets"),
        "/2/users/search?query=bob".to_owned(),
        "/pillion/v1/notifications".to_owned(),
    ] {
        assert_eq!(world.ids(&ann, &path).await, nobody, "{path}");
    }
    assert_eq!(world.ids(&cid, &format!("/2/users/{}/following", cid.id)).await, nobody);
    let unread = world.get(&ann, "/pillion/v1/notifications/unread_count").await;
    assert_eq!(unread["data"]["unread_count"], json!(0));
    let own = [answer.clone(), anns.clone()];
    assert_eq!(world.home(&ann).await, own);
    assert_eq!(world.ids(&ann, &format!("/2/users/{}/tweets", ann.id)).await, own);
    assert_eq!(world.found(&ann, "apple").await, [anns.clone()]);
    assert_eq!(world.found(&ann, "from:bob").await, nobody);
    // The numbers.
    let metrics = world.tweet_metrics(&ann, &anns).await;
    for name in ["like_count", "retweet_count", "bookmark_count", "reply_count", "quote_count"] {
        assert_eq!(metrics[name], json!(0), "{name}: {metrics}");
    }
    let profile = world.user_metrics(&ann, &ann.id).await;
    for (name, number) in
        [("followers_count", 0), ("following_count", 0), ("like_count", 0), ("tweet_count", 2)]
    {
        assert_eq!(profile[name], json!(number), "{name}: {profile}");
    }
    // Ann's answer to Bob stays hers; what it answered is gone.
    let path = format!("/2/tweets/{answer}?expansions=referenced_tweets.id");
    let stays = world.get(&ann, &path).await;
    assert_eq!(stays["data"]["id"], json!(answer));
    assert_eq!(stays.pointer("/includes/tweets"), None, "{stays}");

    // Nobody can be Bob any more, with a token from before either.
    let login = json!({ "username": "bob", "password": "correct horse battery" });
    world.system.client.post("/pillion/v1/login").json(&login).send().await.expect(401);
    let posting = world.post(&bob, "/2/tweets", json!({ "text": "still here" })).await;
    assert!(posting.status.is_client_error(), "{}", posting.text());
    for relation in ["following", "blocking", "muting"] {
        let answer = world.relate(&ann, relation, &bob).await.expect(400);
        assert!(answer.text().contains("not active"), "{}", answer.text());
        let answer = world.relate(&bob, relation, &ann).await;
        assert!(answer.status.is_client_error(), "{relation}: {}", answer.text());
    }
    for how in ["likes", "retweets", "bookmarks"] {
        let answer = world.engage(&bob, how, &anns).await;
        assert!(answer.status.is_client_error(), "{how}: {}", answer.text());
    }
    // Also after a restart and when everything is made anew of the events.
    world.rebuilds_the_same().await;
    world.system.stop();
    world.system.launch();
    let token = world.system.login("ann", "").await;
    let ann = super::Person { token, ..ann };
    assert_eq!(world.home(&ann).await, own);
    is_not_found(&world.get(&ann, &format!("/2/users/{}", bob.id)).await);
    // Who takes the name is somebody else.
    let account =
        json!({ "username": "bob", "name": "Bob", "password": "correct horse battery" });
    let again = world.system.client.post("/pillion/v1/accounts").json(&account).send().await;
    if again.status == 201 {
        let id = text(&again.json()["data"]["id"]);
        assert_ne!(id, bob.id);
        let tweets = world.get(&ann, &format!("/2/users/{id}/tweets")).await;
        assert_eq!(ids(&tweets), Vec::<String>::new());
        assert_eq!(tweets["meta"]["result_count"], json!(0));
    } else {
        // Or it stays taken.
        assert_eq!(again.status, 409, "{}", again.text());
    }
}
