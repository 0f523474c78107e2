//! The same on PostgreSQL and NATS, in one process.

use std::time::{Duration, Instant};

use pillion_tests::system::{FREE, Servers, System};
use serde_json::json;

use super::lines::Lines;
use super::{World, without_limits};

/// A variable that the program gets at every start.
fn variable(system: &System, name: &str) -> String {
    let command = system.pillion(&["check"]);
    let mut all = command.get_envs();
    let found = all.find_map(|(key, value)| (key == name).then_some(value).flatten());
    found.and_then(|value| value.to_str()).expect("it is set").to_owned()
}

/// What it says when it does not start with another database for the graph.
fn refused(system: &System, database: &str) -> String {
    let mut command = system.command(&system.data(), FREE, FREE);
    let output = command.env(GRAPH, database).output().expect("the program runs");
    assert!(!output.status.success(), "it starts on {database}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let password = database.split([':', '@']).nth(2).expect("a password");
    assert!(!said.contains(password), "a password is told: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

const GRAPH: &str = "PILLION_DATABASE_GRAPH";

#[tokio::test]
async fn schemas_and_roles_that_are_not_right_are_refused_on_servers() {
    let servers = Servers::start().await;
    let mut system = System::start_on(&servers, without_limits);
    system.stop();
    let graph = variable(&system, GRAPH);
    let search = variable(&system, "PILLION_DATABASE_SEARCH");
    // What was never migrated is not migrated on the way.
    let fresh = servers.postgres.database().await;
    let said = refused(&system, &fresh);
    assert!(said.contains("run `pillion migrate`"), "{said}");
    let tables = "SELECT count(*) FROM pg_tables
                  WHERE schemaname = 'public' AND tablename NOT LIKE '%migrations'";
    assert_eq!(servers.postgres.sql(&fresh, tables).await.trim(), "0");
    // Another service's database, with its own role; and the right one with another role.
    let said = refused(&system, &search);
    assert!(said.contains("belongs to another service"), "{said}");
    let (_, database) = graph.rsplit_once('/').expect("a database");
    let (role, _) = search.rsplit_once('/').expect("a role");
    let said = refused(&system, &format!("{role}/{database}"));
    assert!(said.contains("permission denied for database"), "{said}");
    // From the future.
    let future = "INSERT INTO _sqlx_migrations
                      (version, description, success, checksum, execution_time)
                  VALUES (9999, 'from the future', TRUE, '\\x00', 0)";
    servers.postgres.sql(&graph, future).await;
    let said = refused(&system, &graph);
    assert!(said.contains("newer version") && said.contains("9999"), "{said}");
    let migrated = system.pillion(&["migrate"]).output().expect("the program runs");
    assert!(!migrated.status.success());
    let said = String::from_utf8_lossy(&migrated.stderr).into_owned();
    assert!(said.contains("newer version") && said.contains("9999"), "{said}");
    servers.postgres.sql(&graph, "DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    // Nothing was changed by all that.
    system.launch();
    let world = World::of(system);
    world.settle().await;
    world.rebuilds_the_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_server_that_comes_late_and_for_no_better_password() {
    const LATE: Duration = Duration::from_secs(3);
    let servers = Servers::start().await;
    let mut system = System::start_on(&servers, without_limits);
    system.stop();
    let graph = variable(&system, GRAPH);
    let (role, place) = graph.rsplit_once('@').expect("a place");
    let (role, password) = role.rsplit_once(':').expect("a password");

    let began = Instant::now();
    let said = refused(&system, &format!("{role}:wrong@{place}"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(said.contains("(SQLSTATE 28P01); correct the role and the password"), "{said}");
    assert!(said.contains(place) && !said.contains("at line"), "{said}");

    servers.postgres.stop().await;
    servers.nats.stop().await;
    let (system, ()) = tokio::join!(
        async {
            let launched = tokio::task::spawn_blocking(move || {
                system.launch();
                system
            });
            launched.await.expect("it starts")
        },
        async {
            tokio::time::sleep(LATE).await;
            servers.postgres.start_again().await;
        }
    );
    let log = system.log();
    let waited = log.lines().find(|line| line.contains("the start waits for a server"));
    let waited = waited.unwrap_or_else(|| panic!("it did not wait:\n{log}"));
    let (server, _) = place.split_once('/').expect("a database");
    assert!(waited.contains(server) && waited.contains("refused"), "{waited}");
    assert!(!log.contains(password), "a password is told");
    // Without a broker it serves all the same, and catches up.
    let world = World::of(system);
    servers.nats.start_again().await;
    world.settle().await;
}

#[tokio::test]
async fn on_servers_everything_is_as_on_files() {
    let servers = Servers::start().await;
    is_as_on_files(World::of(System::start_on(&servers, without_limits))).await;
}

async fn is_as_on_files(mut world: World) {
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
    assert_eq!(world.found(&eve, "plum -is:retweet").await, std::slice::from_ref(&tweet));
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
    assert_eq!(world.home(&fay).await, std::slice::from_ref(&tweet));
    let account = json!({ "password": "correct horse battery" });
    let path = "/pillion/v1/accounts/me";
    world.ask(&fay.token, http::Method::DELETE, path, account).await.expect(200);
    world.settle().await;
    super::is_not_found(&world.get(&gil, &format!("/2/tweets/{tweet}")).await);
    world.rebuilds_the_same().await;
    world.system.stop();
}
