//! The same on PostgreSQL and NATS.

use pillion_tests::system::{Servers, System};
use serde_json::json;

use super::lines::Lines;
use super::{World, without_limits};

#[tokio::test]
async fn on_servers_everything_is_as_on_files() {
    let servers = Servers::start().await;
    let mut world = World { system: System::start_on(&servers, without_limits) };
    super::home::says_and_shares(&world).await;
    let [eve, fay] = world.people(["eve", "fay"]).await;
    let app = world.app(&eve).await;
    let rules = json!({ "add": [{ "value": "plum", "tag": "plums" }] });
    let made = world.ask(&app, http::Method::POST, "/2/tweets/search/stream/rules", rules).await;
    made.expect(201);
    let mut stream = Lines::open(&world, &app, "/2/tweets/search/stream", "").await;
    let mut news = Lines::open(&world, &eve.token, "/pillion/v1/notifications/stream", "").await;
    let tweet = world.tweet(&fay, "a plum for @eve").await;
    let line = stream.json().await;
    assert_eq!(line["data"]["id"], json!(tweet), "{line}");
    assert_eq!(line["data"]["text"], json!("a plum for @eve"), "{line}");
    assert_eq!(line["matching_rules"][0]["tag"], json!("plums"));
    let (_, _, told) = news.event().await;
    assert_eq!((&told["type"], &told["tweet_id"]), (&json!("mention"), &json!(tweet)));
    drop((stream, news));

    world.like(&eve, &tweet).await;
    world.retweet(&eve, &tweet).await;
    world.engage(&eve, "bookmarks", &tweet).await.expect(200);
    world.follow(&eve, &fay).await;
    world.settle().await;
    let metrics = world.tweet_metrics(&eve, &tweet).await;
    for name in ["like_count", "retweet_count", "bookmark_count"] {
        assert_eq!(metrics[name], json!(1), "{metrics}");
    }
    assert_eq!(world.found(&eve, "plum -is:retweet").await, [tweet.clone()]);
    assert_eq!(world.user_metrics(&eve, &fay.id).await["followers_count"], json!(1));
    // Protected, blocked, deleted.
    world.protect(&fay, true).await;
    world.settle().await;
    let [gil] = world.people(["gil"]).await;
    assert_eq!(world.found(&gil, "plum").await, Vec::<String>::new());
    super::is_not_authorized(&world.get(&gil, &format!("/2/tweets/{tweet}")).await);
    assert!(world.home(&eve).await.contains(&tweet));
    world.relate(&fay, "blocking", &eve).await.expect(200);
    assert!(!world.home(&eve).await.contains(&tweet));
    world.settle().await;
    world.rebuilds_the_same().await;

    // After a kill everything is still there.
    world.system.kill();
    world.system.launch();
    world.settle().await;
    let fay = super::Person { token: world.system.login("fay", "").await, ..fay };
    assert_eq!(world.home(&fay).await, [tweet.clone()]);
    let account = json!({ "password": "correct horse battery" });
    let path = "/pillion/v1/accounts/me";
    world.ask(&fay.token, http::Method::DELETE, path, account).await.expect(200);
    world.settle().await;
    super::is_not_found(&world.get(&gil, &format!("/2/tweets/{tweet}")).await);
    world.rebuilds_the_same().await;
    world.system.stop();
}
