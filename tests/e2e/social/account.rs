//! An account is deleted: with it goes everything that was the person's, everywhere.

use serde_json::json;

use super::{Person, World, is_not_found};

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

    let gone = Gone { bob, tweets: [bobs, reply, quote, shared, shared_bobs] };
    gone.is_nowhere(&world, &ann).await;
    gone.is_on_no_list(&world, &ann, &anns).await;
    let following = format!("/2/users/{}/following", cid.id);
    assert_eq!(world.ids(&cid, &following).await, Vec::<String>::new());
    let own = [answer.clone(), anns.clone()];
    assert_eq!(world.home(&ann).await, own);
    assert_eq!(world.ids(&ann, &format!("/2/users/{}/tweets", ann.id)).await, own);
    assert_eq!(world.found(&ann, "apple").await, std::slice::from_ref(&anns));
    // Ann's answer to Bob stays hers; what it answered is gone.
    let path = format!("/2/tweets/{answer}?expansions=referenced_tweets.id");
    let stays = world.get(&ann, &path).await;
    assert_eq!(stays["data"]["id"], json!(answer));
    assert_eq!(stays.pointer("/includes/tweets"), None, "{stays}");
    gone.does_nothing(&world, &ann, &anns).await;

    // Also after a restart and when everything is made anew of the events.
    world.rebuilds_the_same().await;
    world.system.stop();
    world.system.launch();
    let ann = Person { token: world.system.login("ann", "").await, ..ann };
    assert_eq!(world.home(&ann).await, own);
    gone.is_nowhere(&world, &ann).await;
}

/// Somebody who has deleted their account.
struct Gone {
    bob: Person,
    /// All that was posted, and retweets of it.
    tweets: [String; 5],
}

impl Gone {
    async fn is_nowhere(&self, world: &World, ann: &Person) {
        let id = &self.bob.id;
        let lists = ["tweets", "followers", "following", "liked_tweets", "mentions"];
        let mut paths: Vec<String> =
            lists.iter().map(|list| format!("/2/users/{id}/{list}")).collect();
        paths.push(format!("/2/users/{id}"));
        paths.push("/2/users/by/username/bob".to_owned());
        for tweet in &self.tweets {
            paths.push(format!("/2/tweets/{tweet}"));
            paths.push(format!("/2/tweets/{tweet}/liking_users"));
            paths.push(format!("/2/tweets/{tweet}/retweeted_by"));
        }
        for path in paths {
            let answer = world.get(ann, &path).await;
            assert!(answer.get("data").is_none(), "{path}: {answer}");
            is_not_found(&answer);
        }
    }

    /// Of Ann's lists, and in no number.
    async fn is_on_no_list(&self, world: &World, ann: &Person, anns: &str) {
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
            assert_eq!(world.ids(ann, &path).await, nobody, "{path}");
        }
        assert_eq!(world.found(ann, "from:bob").await, nobody);
        let unread = world.get(ann, "/pillion/v1/notifications/unread_count").await;
        assert_eq!(unread["data"]["unread_count"], json!(0));
        let metrics = world.tweet_metrics(ann, anns).await;
        for name in ["like_count", "retweet_count", "bookmark_count", "reply_count", "quote_count"]
        {
            assert_eq!(metrics[name], json!(0), "{name}: {metrics}");
        }
        let profile = world.user_metrics(ann, &ann.id).await;
        for (name, number) in
            [("followers_count", 0), ("following_count", 0), ("like_count", 0), ("tweet_count", 2)]
        {
            assert_eq!(profile[name], json!(number), "{name}: {profile}");
        }
    }

    /// Also with a token from before, which is good for some minutes more.
    async fn does_nothing(&self, world: &World, ann: &Person, anns: &str) {
        let login = json!({ "username": "bob", "password": "correct horse battery" });
        world.system.client.post("/pillion/v1/login").json(&login).send().await.expect(401);
        let posting = world.post(&self.bob, "/2/tweets", json!({ "text": "still here" })).await;
        assert!(posting.status.is_client_error(), "{}", posting.text());
        for relation in ["following", "blocking", "muting"] {
            let answer = world.relate(ann, relation, &self.bob).await.expect(400);
            assert!(answer.text().contains("not active"), "{}", answer.text());
            let answer = world.relate(&self.bob, relation, ann).await;
            assert!(answer.status.is_client_error(), "{relation}: {}", answer.text());
        }
        for how in ["likes", "retweets", "bookmarks"] {
            let answer = world.engage(&self.bob, how, anns).await;
            assert!(answer.status.is_client_error(), "{how}: {}", answer.text());
        }
    }
}
