//! An account is given up: everything that was the person's is hidden everywhere, comes back when
//! the person does, and is erased when the time for that is over.

use std::time::Instant;

use http::Method;
use serde_json::{Value, json};

use super::{Person, SETTLE_DEADLINE, World, is_not_found, without_limits};

/// Accounts that are given up are erased after a second.
pub(super) fn impatient(config: &str) -> String {
    let patience = "deactivation_grace_s = 2592000";
    assert!(config.contains(patience));
    without_limits(config).replace(patience, "deactivation_grace_s = 1")
}

impl World {
    /// Gives an account up.
    pub(super) async fn give_up(&self, who: &Person) -> Value {
        let body = json!({ "password": "correct horse battery" });
        self.ask(&who.token, Method::DELETE, "/pillion/v1/accounts/me", body)
            .await
            .expect(200)
            .json()
    }

    /// Waits until the saga of a kind with a key has ended so.
    pub(super) async fn saga_ends(&self, kind: &str, key: &str, state: &str) {
        let began = Instant::now();
        // A registration's key is the handle, and the id that it is given.
        let is_about = |known: &str| known.split('/').next() == Some(key);
        let is_it = |saga: &Value| {
            saga["saga"] == kind
                && saga["key"].as_str().is_some_and(is_about)
                && saga["state"] == state
        };
        while !self.system.sagas().await.iter().any(is_it) {
            assert!(began.elapsed() < SETTLE_DEADLINE, "{kind}: {}", self.system.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn who_comes_back_in_time_has_everything_back() {
    let mut world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    world.follow(&ann, &bob).await;
    world.follow(&bob, &ann).await;
    let anns = world.tweet(&ann, "pear of Ann").await;
    let bobs = world.tweet(&bob, &format!("pear for @{ann}")).await;
    world.like(&bob, &anns).await;
    let shared = world.retweet(&bob, &anns).await;
    world.settle().await;
    let lists = [
        World::home_of(&ann),
        format!("/2/users/{}/followers", ann.id),
        format!("/2/users/{}/following", ann.id),
        format!("/2/users/{}/mentions", ann.id),
        format!("/2/users/{}/tweets", bob.id),
        format!("/2/tweets/{anns}/liking_users"),
        format!("/2/tweets/{anns}/retweeted_by"),
        "/2/tweets/search/recent?query=pear".to_owned(),
        format!("/2/users/search?query={bob}"),
    ];
    let mut before = Vec::new();
    for list in &lists {
        before.push(world.ids(&ann, list).await);
    }
    assert!(before.iter().all(|ids| !ids.is_empty()), "{before:?}");
    let metrics = world.tweet_metrics(&ann, &anns).await;

    let answer = world.give_up(&bob).await;
    assert_eq!(answer["data"]["deactivated"], json!(true), "{answer}");
    assert!(answer["data"]["purge_at"].is_string(), "{answer}");
    world.settle().await;
    is_not_found(&world.get(&ann, &format!("/2/users/{}", bob.id)).await);
    for tweet in [&bobs, &shared] {
        is_not_found(&world.get(&ann, &format!("/2/tweets/{tweet}")).await);
    }
    for list in &lists {
        let answer = world.get(&ann, list).await.to_string();
        for id in [&bob.id, &bobs, &shared] {
            assert!(!answer.contains(&format!("\"id\":\"{id}\"")), "{list}: {answer}");
        }
    }
    assert_eq!(world.tweet_metrics(&ann, &anns).await["like_count"], json!(0));
    world.rebuilds_the_same().await;

    // A restart does not make a difference to the time that is left.
    world.system.kill();
    world.system.launch();
    let ann = world.again(&ann).await;
    is_not_found(&world.get(&ann, &format!("/2/users/{}", bob.id)).await);
    world.again(&bob).await;
    world.settle().await;
    for (list, before) in lists.iter().zip(before) {
        assert_eq!(world.ids(&ann, list).await, before, "{list}");
    }
    assert_eq!(world.tweet_metrics(&ann, &anns).await, metrics);
    world.saga_ends("deactivate_account", &bob.id, "compensated").await;
    world.rebuilds_the_same().await;
}

#[tokio::test]
async fn another_handle_is_everywhere() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let tweet = world.tweet(&ann, "a plum").await;
    let rename = async |to: &str| {
        world.post(&ann, "/pillion/v1/account/username", json!({ "username": to })).await
    };
    rename(&bob.username).await.expect(409);
    rename("no good").await.expect(400);
    let new = format!("new_{ann}");
    assert_eq!(rename(&new).await.expect(200).json()["data"]["username"], json!(new));
    world.settle().await;
    let by_name = async |name: &str| world.get(&bob, &format!("/2/users/by/username/{name}")).await;
    assert_eq!(by_name(&new).await["data"]["id"], json!(ann.id));
    is_not_found(&by_name(&ann.username).await);
    assert_eq!(world.found(&bob, &format!("from:{new}")).await, std::slice::from_ref(&tweet));
    assert_eq!(world.found(&bob, &format!("from:{ann}")).await, Vec::<String>::new());
    world.system.login(&new, "").await;
    let old = json!({ "username": ann.username, "password": "correct horse battery" });
    world.system.client.post("/pillion/v1/login").json(&old).send().await.expect(401);
    // Somebody else may have the old one.
    world.system.register(&ann.username).await;
    world.rebuilds_the_same().await;
}

#[tokio::test]
async fn a_plugin_has_a_say_in_who_gets_which_handle() {
    let with_policy = |config: &str| {
        let text = without_limits(config);
        let (before, users) = text.split_once("[services.users]\n").expect("its section");
        let (alone, both) = ("plugins = [\"auth\"]", "plugins = [\"auth\", \"policy-handles\"]");
        let users = users.replacen(alone, both, 1);
        format!(
            "{before}[plugins.policy-handles]\ncomponent = \"policy-handles.wasm\"\n\n\
             [plugins.policy-handles.config]\nnames = [\"admin\"]\n\n[services.users]\n{users}"
        )
    };
    let world = World::start_with(with_policy);
    let account = |username: &str| json!({ "username": username, "name": "Any", "password": "correct horse battery" });
    let register = async |username: &str| {
        world.system.client.post("/pillion/v1/accounts").json(&account(username)).send().await
    };
    let refused = register("Admin").await.expect(403);
    assert!(refused.text().contains("policy"), "{}", refused.text());
    world.saga_ends("register_account", "admin", "compensated").await;
    // Nothing is left: nobody of that name can log in, and what it takes up is what it was.
    let login = json!({ "username": "admin", "password": "correct horse battery" });
    world.system.client.post("/pillion/v1/login").json(&login).send().await.expect(401);
    let [ann] = world.people(["ann"]).await;
    is_not_found(&world.get(&ann, "/2/users/by/username/admin").await);

    // Who has an account does not get it either, and keeps what they have.
    let rename = async |to: &str| {
        world.post(&ann, "/pillion/v1/account/username", json!({ "username": to })).await
    };
    let refused = rename("ADMIN").await.expect(403);
    assert!(refused.text().contains("policy"), "{}", refused.text());
    world.saga_ends("change_handle", &ann.id, "compensated").await;
    world.system.client.post("/pillion/v1/login").json(&login).send().await.expect(401);
    is_not_found(&world.get(&ann, "/2/users/by/username/admin").await);
    let by_name = format!("/2/users/by/username/{ann}");
    assert_eq!(world.get(&ann, &by_name).await["data"]["id"], json!(ann.id));
    world.again(&ann).await;
    rename(&format!("new_{ann}")).await.expect(200);
    world.settle().await;
    world.rebuilds_the_same().await;
}

#[tokio::test]
async fn with_an_account_everything_of_it_goes_everywhere() {
    let mut world = World::start_with(impatient);
    let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
    world.follow(&ann, &bob).await;
    world.follow(&bob, &ann).await;
    world.follow(&cid, &bob).await;
    let anns = world.tweet(&ann, "apple of Ann").await;
    world.settle().await;
    let bobs = world.tweet(&bob, &format!("apple for @{ann}")).await;
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
    world.give_up(&bob).await;
    world.saga_ends("deactivate_account", &bob.id, "completed").await;
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
    let ann = world.again(&ann).await;
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
        paths.push(format!("/2/users/by/username/{}", self.bob));
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
            format!("/2/users/search?query={}", self.bob),
            "/pillion/v1/notifications".to_owned(),
        ] {
            assert_eq!(world.ids(ann, &path).await, nobody, "{path}");
        }
        assert_eq!(world.found(ann, &format!("from:{}", self.bob)).await, nobody);
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
        let login = json!({ "username": self.bob.username, "password": "correct horse battery" });
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
