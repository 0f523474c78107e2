//! What was deleted, blocked, muted or protected never shows: at home, in search, among mentions,
//! by its id; nor on the further pages of a list that was begun before.

use serde_json::json;

use super::{Person, World, ids, is_not_authorized, is_not_found, text};

/// Ann follows Bob and Cid, who took turns; Cid has shared one of Bob's. The fruit is in all of
/// Bob's, and all name Ann.
struct Orchard {
    world: World,
    fruit: &'static str,
    ann: Person,
    bob: Person,
    cid: Person,
    by_bob: Vec<String>,
    by_cid: Vec<String>,
    shared: String,
}

impl Orchard {
    /// So many of each, oldest first. No other test may say the fruit.
    async fn plant(fruit: &'static str, count: usize) -> Self {
        let world = World::start();
        let [ann, bob, cid] = world.people(["ann", "bob", "cid"]).await;
        world.follow(&ann, &bob).await;
        world.follow(&ann, &cid).await;
        let (mut by_bob, mut by_cid) = (Vec::new(), Vec::new());
        for n in 0..count {
            by_bob.push(world.tweet(&bob, &format!("{fruit} {n} for @{ann}")).await);
            by_cid.push(world.tweet(&cid, &format!("pear {n}")).await);
        }
        let shared = world.retweet(&cid, &by_bob[0]).await;
        world.settle().await;
        Self { world, fruit, ann, bob, cid, by_bob, by_cid, shared }
    }

    /// Where the fruit is searched for.
    fn search(&self, more: &str) -> String {
        format!("/2/tweets/search/recent?query={}{more}", self.fruit)
    }

    /// The first of a list's pages, and where the next is.
    async fn begin(&self, path: &str) -> String {
        let page = self.world.get(&self.ann, path).await;
        let joint = if path.contains('?') { '&' } else { '?' };
        format!("{path}{joint}pagination_token={}", text(&page["meta"]["next_token"]))
    }

    /// The lists with Bob's tweets that Ann has begun to read.
    async fn begun(&self) -> [String; 3] {
        let Self { ann, .. } = self;
        [
            self.begin(&format!("{}?max_results=2", World::home_of(ann))).await,
            self.begin(&format!("/2/users/{}/mentions?max_results=5", ann.id)).await,
            self.begin(&self.search("%20-is:retweet&max_results=10")).await,
        ]
    }

    /// Ann sees none of these tweets on the lists that she had begun, nor on new ones.
    async fn ann_never_sees(&self, hidden: &[&String], begun: &[String]) {
        let Self { world, ann, .. } = self;
        let new = [World::home_of(ann), format!("/2/users/{}/mentions", ann.id), self.search("")];
        for path in begun.iter().chain(&new) {
            // The token of the first page takes the place of `all`'s own.
            let seen = if path.contains("pagination_token") {
                self.from(path).await
            } else {
                world.all(ann, path).await
            };
            for tweet in hidden {
                assert!(!seen.contains(tweet), "{path} shows {tweet}: {seen:?}");
            }
        }
    }

    /// All that is on a begun list from its second page on.
    async fn from(&self, path: &str) -> Vec<String> {
        let (base, _) = path.split_once("pagination_token=").expect("a token");
        let mut page = self.world.get(&self.ann, path).await;
        let mut all = ids(&page);
        while let Some(token) = page["meta"]["next_token"].as_str() {
            page = self.world.get(&self.ann, &format!("{base}pagination_token={token}")).await;
            all.extend(ids(&page));
        }
        all
    }
}

#[tokio::test]
async fn what_was_deleted_never_shows() {
    let orchard = Orchard::plant("peach", 12).await;
    let Orchard { world, ann, bob, cid, by_bob, by_cid, shared, .. } = &orchard;
    world.like(ann, &by_bob[0]).await;
    let quote = world.quote(cid, &by_bob[0], "look at this").await;
    let begun = orchard.begun().await;
    world.delete_tweet(bob, &by_bob[0]).await;
    // At once, before anybody has heard of it, and later.
    for settled in [false, true] {
        if settled {
            world.settle().await;
        }
        orchard.ann_never_sees(&[&by_bob[0], shared], &begun).await;
        is_not_found(&world.get(ann, &format!("/2/tweets/{}", by_bob[0])).await);
        is_not_found(&world.get(ann, &format!("/2/tweets/{shared}")).await);
        for path in [
            format!("/2/users/{}/tweets?max_results=100", bob.id),
            format!("/2/users/{}/tweets?max_results=100", cid.id),
            format!("/2/users/{}/liked_tweets", ann.id),
        ] {
            let seen = world.ids(ann, &path).await;
            assert!(!seen.contains(&by_bob[0]) && !seen.contains(shared), "{path}: {seen:?}");
        }
    }
    // The others are all still there, each once.
    let mut expected: Vec<String> = by_bob[1..].iter().chain(by_cid).cloned().collect();
    expected.push(quote.clone());
    expected.sort_by_key(|id| std::cmp::Reverse(id.parse::<u64>().expect("an id")));
    assert_eq!(world.home(ann).await, expected);
    // The quote stays; what it quoted is not included.
    let path = format!("/2/tweets/{quote}?expansions=referenced_tweets.id");
    let quoting = world.get(ann, &path).await;
    assert_eq!(quoting["data"]["text"], json!("look at this"));
    assert_eq!(quoting.pointer("/includes/tweets"), None, "{quoting}");
    assert_eq!(quoting["errors"][0]["resource_id"], json!(by_bob[0]), "{quoting}");
    world.rebuilds_the_same().await;
}

#[tokio::test]
async fn who_is_blocked_never_shows() {
    let orchard = Orchard::plant("cherry", 12).await;
    let Orchard { world, ann, bob, cid, by_bob, by_cid, shared, .. } = &orchard;
    let begun = orchard.begun().await;
    world.relate(ann, "blocking", bob).await.expect(200);
    let bobs: Vec<&String> = by_bob.iter().chain([shared]).collect();
    orchard.ann_never_sees(&bobs, &begun).await;
    // Still readable for who looks for it: Ann blocks, she is not blocked.
    let looked_up = world.get(ann, &format!("/2/tweets/{}", by_bob[0])).await;
    assert_eq!(looked_up["data"]["id"], json!(by_bob[0]), "{looked_up}");
    world.settle().await;
    orchard.ann_never_sees(&bobs, &begun).await;
    let mut expected = by_cid.clone();
    expected.reverse();
    assert_eq!(world.home(ann).await, expected);

    // Bob does not see Ann at all, nor does he get to know that he follows her no more.
    let by_ann = world.tweet(ann, "cherry by Ann").await;
    let by_ann_shared = world.retweet(cid, &by_ann).await;
    world.follow(bob, cid).await;
    world.settle().await;
    is_not_authorized(&world.get(bob, &format!("/2/tweets/{by_ann}")).await);
    is_not_authorized(&world.get(bob, &format!("/2/users/{}/tweets", ann.id)).await);
    is_not_authorized(&world.get(bob, &format!("/2/users/{}", ann.id)).await);
    is_not_authorized(&world.get(bob, &format!("/2/users/{}/followers", ann.id)).await);
    let seen = world.home(bob).await;
    assert!(!seen.contains(&by_ann_shared), "{seen:?}");
    let found = world.found(bob, "cherry").await;
    assert!(found.contains(&by_bob[0]), "{found:?}");
    assert!(!found.contains(&by_ann) && !found.contains(&by_ann_shared), "{found:?}");
    for refused in [
        world.engage(bob, "likes", &by_ann).await,
        world.engage(bob, "retweets", &by_ann).await,
        world.engage(bob, "bookmarks", &by_ann).await,
        world.relate(bob, "following", ann).await,
        world.post(bob, "/2/tweets", json!({ "text": "hey", "quote_tweet_id": by_ann })).await,
    ] {
        refused.expect(403);
    }
    // Without the block they see each other again; nobody follows by that.
    world.unrelate(ann, "blocking", bob).await.expect(200);
    world.settle().await;
    assert_eq!(world.found(ann, &format!("cherry from:{bob}")).await.len(), by_bob.len());
    // What Cid shared of Bob, and her own tweet: once, though Cid shared it, too.
    assert_eq!(world.home(ann).await.len(), by_cid.len() + 2, "{:?}", world.home(ann).await);
    world.rebuilds_the_same().await;
}

#[tokio::test]
async fn who_is_muted_never_shows_unless_looked_for() {
    let orchard = Orchard::plant("quince", 12).await;
    let Orchard { world, ann, bob, by_bob, shared, .. } = &orchard;
    let before = world.home(ann).await;
    let begun = orchard.begun().await;
    world.relate(ann, "muting", bob).await.expect(200);
    let bobs: Vec<&String> = by_bob.iter().chain([shared]).collect();
    for settled in [false, true] {
        if settled {
            world.settle().await;
        }
        orchard.ann_never_sees(&bobs, &begun).await;
    }
    // A mute is the reader's own affair: Bob's page is as it was, and so is what he sees.
    let page = world.ids(ann, &format!("/2/users/{}/tweets?max_results=100", bob.id)).await;
    assert_eq!(page.len(), by_bob.len());
    let followers = world.ids(bob, &format!("/2/users/{}/followers", bob.id)).await;
    assert_eq!(followers, std::slice::from_ref(&ann.id));
    world.unrelate(ann, "muting", bob).await.expect(200);
    assert_eq!(world.home(ann).await, before);
}

#[tokio::test]
async fn what_is_protected_shows_to_followers_only() {
    let orchard = Orchard::plant("medlar", 12).await;
    let Orchard { world, ann, bob, cid, by_bob, shared, .. } = &orchard;
    let before = world.home(ann).await;
    world.like(cid, &by_bob[1]).await;
    let [dan] = world.people(["dan"]).await;
    world.follow(&dan, cid).await;
    world.settle().await;
    let search = orchard.search("%20-is:retweet&max_results=10");
    let second = {
        let page = world.get(&dan, &search).await;
        format!("{search}&next_token={}", text(&page["meta"]["next_token"]))
    };
    let begun = orchard.begun().await;
    world.protect(bob, true).await;
    world.settle().await;

    // Dan follows only Cid, who had shared and liked something of Bob's.
    assert_eq!(world.ids(&dan, &second).await, Vec::<String>::new());
    assert_eq!(world.found(&dan, "medlar").await, Vec::<String>::new());
    let seen = world.home(&dan).await;
    assert!(!seen.contains(shared), "{seen:?}");
    assert_eq!(world.all(&dan, &format!("/2/users/{}/mentions", ann.id)).await.len(), 0);
    assert_eq!(world.all(&dan, &format!("/2/users/{}/liked_tweets", cid.id)).await.len(), 0);
    is_not_authorized(&world.get(&dan, &format!("/2/tweets/{}", by_bob[0])).await);
    is_not_authorized(&world.get(&dan, &format!("/2/tweets/{shared}")).await);
    is_not_authorized(&world.get(&dan, &format!("/2/users/{}/tweets", bob.id)).await);
    is_not_authorized(&world.get(&dan, &format!("/2/users/{}/followers", bob.id)).await);
    is_not_authorized(&world.get(&dan, &format!("/2/tweets/{}/liking_users", by_bob[1])).await);
    world.engage(&dan, "likes", &by_bob[0]).await.expect(403);
    world.engage(&dan, "retweets", &by_bob[0]).await.expect(403);
    // Who bob is can be seen, or nobody could ask to follow him.
    let profile = format!("/2/users/{}?user.fields=protected", bob.id);
    let profile = world.get(&dan, &profile).await;
    assert_eq!(profile["data"]["protected"], json!(true), "{profile}");
    // Nor do apps see it.
    let app = world.app(ann).await;
    let call = world.system.client.get(&format!("/2/tweets/{}", by_bob[0])).bearer(&app);
    is_not_authorized(&call.send().await.expect(200).json());

    // Ann followed before and goes on seeing it all, but cannot share it.
    assert_eq!(world.home(ann).await, before);
    assert_eq!(orchard.from(&begun[0]).await, before[2..]);
    world.engage(ann, "likes", &by_bob[2]).await.expect(200);
    world.engage(ann, "retweets", &by_bob[2]).await.expect(403);
    // Until she does not follow him any more: then her old pages do not show it either.
    world.unrelate(ann, "following", bob).await.expect(200);
    let bobs: Vec<&String> = by_bob.iter().chain([shared]).collect();
    orchard.ann_never_sees(&bobs, &begun).await;
    world.settle().await;
    orchard.ann_never_sees(&bobs, &begun).await;

    // In public again, everybody sees it.
    world.protect(bob, false).await;
    world.settle().await;
    assert_eq!(world.found(&dan, "medlar -is:retweet").await.len(), by_bob.len());
    assert!(world.home(&dan).await.contains(shared));
    world.rebuilds_the_same().await;
}
