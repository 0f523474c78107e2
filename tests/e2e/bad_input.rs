//! Bad input gets a specific message, and nothing is half-written.

use std::path::Path;
use std::process::Command;

use pillion_tests::build;
use pillion_tests::system::{FREE, System};
use serde_json::json;

#[tokio::test]
async fn bad_tweets_are_refused_with_the_reason_and_leave_nothing() {
    let system = System::start();
    let (alice, token) = system.register("alice").await;
    let post = |body: String| {
        system.client.post("/2/tweets").bearer(&token).text("application/json", &body).send()
    };
    for (body, status, reason) in [
        ("{\"text\": \"unfinished".to_owned(), 400, "line 1"),
        ("[]".to_owned(), 400, "object"),
        (json!({ "text": 7 }).to_string(), 400, "text"),
        (
            json!({ "text": "a", "reply": { "in_reply_to_tweet_id": 5 } }).to_string(),
            400,
            "reply.in_reply_to_tweet_id",
        ),
        (json!({ "text": "a", "reply": "x" }).to_string(), 400, "reply"),
        (json!({}).to_string(), 400, "text"),
        (json!({ "text": "" }).to_string(), 400, "text"),
        (json!({ "text": "x".repeat(281) }).to_string(), 400, "280"),
        (json!({ "text": "a", "quote_tweet_id": "abc" }).to_string(), 400, "quote_tweet_id"),
        (
            json!({ "text": "a", "reply": { "in_reply_to_tweet_id": "1" } }).to_string(),
            403,
            "You attempted to reply to a Tweet that is deleted or not visible to you.",
        ),
        (
            json!({ "text": "a", "quote_tweet_id": "1" }).to_string(),
            403,
            "You attempted to quote a Tweet that is deleted or not visible to you.",
        ),
        (json!({ "text": "a", "reply_settings": "nobody" }).to_string(), 400, "reply_settings"),
        (json!({ "text": "x".repeat(70_000) }).to_string(), 413, "65536"),
    ] {
        let answer = post(body.clone()).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", answer.text());
        assert!(answer.text().contains(reason), "{shown}: {reason} is not in {}", answer.text());
    }
    // 280 units of the widest kind are fine: 140 of two each, and a URL that counts as 23.
    post(json!({ "text": "語".repeat(140) }).to_string()).await.expect(201);
    post(
        json!({ "text": format!("{} https://example.com/{}", "x".repeat(256), "y".repeat(300)) })
            .to_string(),
    )
    .await
    .expect(201);
    let tweets = system
        .client
        .get(&format!("/2/users/{alice}/tweets"))
        .bearer(&token)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(tweets["meta"]["result_count"], json!(2));
}

#[tokio::test]
async fn bad_ids_and_parameters_name_the_parameter() {
    let system = System::start();
    let (alice, token) = system.register("alice").await;
    let too_many = (1..=101).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for (path, parameter) in [
        ("/2/tweets/abc".to_owned(), "id"),
        ("/2/tweets/99999999999999999999".to_owned(), "id"),
        ("/2/users/-1".to_owned(), "id"),
        ("/2/users/by/username/with%20space".to_owned(), "username"),
        ("/2/tweets".to_owned(), "ids"),
        (format!("/2/tweets?ids={too_many}"), "ids"),
        ("/2/tweets?ids=1,x".to_owned(), "ids"),
        ("/2/tweets?ids=1&tweet.fields=nonsense".to_owned(), "tweet.fields"),
        ("/2/tweets?ids=1&expansions=nonsense".to_owned(), "expansions"),
        ("/2/tweets?ids=1&surprise=1".to_owned(), "surprise"),
        (format!("/2/users/{alice}/tweets?max_results=4"), "max_results"),
        (format!("/2/users/{alice}/tweets?max_results=x"), "max_results"),
        (format!("/2/users/{alice}/tweets?pagination_token=forged"), "pagination_token"),
        (format!("/2/users/{alice}/tweets?start_time=yesterday"), "start_time"),
    ] {
        let answer = system.client.get(&path).bearer(&token).send().await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        let json = answer.json();
        assert_eq!(json["title"], json!("Invalid Request"), "{path}");
        let parameters = &json["errors"][0]["parameters"];
        assert!(parameters.get(parameter).is_some(), "{path}: {json}");
    }
    // A page token of another user's tweets is not taken.
    for n in 0..6 {
        system
            .client
            .post("/2/tweets")
            .bearer(&token)
            .json(&json!({ "text": format!("t{n}") }))
            .send()
            .await
            .expect(201);
    }
    let page = system
        .client
        .get(&format!("/2/users/{alice}/tweets?max_results=5"))
        .bearer(&token)
        .send()
        .await
        .expect(200)
        .json();
    let next = page["meta"]["next_token"].as_str().expect("a token").to_owned();
    let (bob, _) = system.register("bob").await;
    system
        .client
        .get(&format!("/2/users/{bob}/tweets?pagination_token={next}"))
        .bearer(&token)
        .send()
        .await
        .expect(400);
}

#[tokio::test]
async fn somebody_elses_tweet_cannot_be_deleted() {
    let system = System::start();
    let (_, alice) = system.register("alice").await;
    let (_, bob) = system.register("bob").await;
    let posted = system
        .client
        .post("/2/tweets")
        .bearer(&alice)
        .json(&json!({ "text": "mine" }))
        .send()
        .await
        .expect(201)
        .json();
    let path = format!("/2/tweets/{}", posted["data"]["id"].as_str().expect("an id"));
    system.client.delete(&path).bearer(&bob).send().await.expect(403);
    system.client.get(&path).bearer(&bob).send().await.expect(200);
}

#[tokio::test]
async fn unknown_routes_and_methods() {
    let system = System::start();
    let token = system.demo("bearer_token");
    let missing = system.client.get("/2/nothing").bearer(&token).send().await.expect(404);
    assert_eq!(missing.header("content-type"), "application/problem+json");
    let wrong = system
        .client
        .call(http::Method::PATCH, "/2/tweets")
        .bearer(&token)
        .send()
        .await
        .expect(405);
    assert!(wrong.header("allow").contains("POST"), "{}", wrong.header("allow"));
}

/// Runs `pillion up` where it must not come up, and gives what it says.
fn refused(system: &System, data: &Path, listen: &str, admin_listen: &str) -> String {
    let output = system.command(data, listen, admin_listen).output().expect("the program runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.trim().lines().count(), 1, "one clear line:\n{said}");
    said
}

#[tokio::test]
async fn what_keeps_a_process_from_starting_is_said_in_a_line() {
    let mut system = System::start();
    let taken = system.client.base().trim_start_matches("http://").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let fresh = folder.path().join("data");

    let said = refused(&system, &fresh, &taken, FREE);
    let port = taken.rsplit(':').next().expect("a port");
    assert!(said.contains(port) && said.contains("--listen"), "{said}");
    // The same data folder, while it is in use.
    let said = refused(&system, &system.data(), FREE, FREE);
    assert!(said.contains("in use"), "{said}");
    system.stop();

    let said = refused(&system, &fresh, "127.0.0.1:18080", "127.0.0.1:18080");
    assert!(said.contains("18080"), "{said}");
    // Where not even root may make a folder, and where a file is in the way.
    let said = refused(&system, Path::new("/proc/pillion"), FREE, FREE);
    assert!(said.contains("/proc/pillion"), "{said}");
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").expect("a file");
    let said = refused(&system, &file, FREE, FREE);
    assert!(said.contains("file"), "{said}");
}

/// `pillion check` on a changed configuration; what it says on standard error.
fn check(config: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pillion.toml");
    std::fs::write(&path, config).expect("a file");
    let output = Command::new(build::pillion())
        .arg("check")
        .arg("--config")
        .arg(&path)
        .output()
        .expect("the program runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), said)
}

fn project_config() -> String {
    let text = std::fs::read_to_string(build::root().join("pillion.toml")).expect("pillion.toml");
    let plugins = build::plugin("auth");
    let folder = plugins.parent().expect("a folder").display().to_string();
    text.replace("# plugin_dir = \"target/plugins\"", &format!("plugin_dir = {folder:?}"))
}

#[test]
fn the_projects_configuration_is_good_and_bad_ones_say_where() {
    let good = project_config();
    let (passes, said) = check(&good);
    assert!(passes, "{said}");
    for (from, to, expected) in [
        ("listen = \"127.0.0.1:8080\"", "lisen = \"127.0.0.1:8080\"", "listen"),
        ("connections = 1024", "connections = \"many\"", "connections"),
        ("component = \"auth.wasm\"", "component = \"missing.wasm\"", "missing.wasm"),
        ("\"ratelimit-address\", \"auth\"", "\"ratelimit-adress\", \"auth\"", "ratelimit-address"),
        (
            "grants = [\"identity\", \"crypto:access-tokens\", \"revocations\"]",
            "grants = [\"identity\", \"revocations\"]",
            "crypto",
        ),
        (
            "grants = [\"identity\", \"crypto:access-tokens\", \"revocations\"]",
            "grants = [\"identity\", \"crypto:access-token\"]",
            "access-token",
        ),
        (
            "grants = [\"identity\", \"crypto:access-tokens\", \"revocations\"]",
            "grants = [\"identiy\"]",
            "identity",
        ),
        (
            "component = \"auth.wasm\"",
            "component = \"auth.wasm\"\nfailure_policy = \"open\"",
            "closed",
        ),
        ("\"GET /2/users/me\" = { user = 75 }", "\"GET /2/users/me\" = { usr = 75 }", "usr"),
        ("listen = \"127.0.0.1:8083\"", "listen = \"127.0.0.1:8084\"", "8084"),
    ] {
        assert!(good.contains(from), "{from}");
        let (passes, said) = check(&good.replacen(from, to, 1));
        assert!(!passes, "{to} passes");
        assert!(said.contains(expected), "{to}: {expected} is not in {said}");
    }
}

/// Without any file at hand the one that is built in counts, and the plugins are found from
/// where the program is.
#[test]
fn the_built_in_configuration_is_good_in_any_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(build::pillion());
    let output = command.arg("check").current_dir(folder.path()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn components_that_are_none_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let component = std::fs::read(build::plugin("auth")).expect("a component");
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("truncated", component[..component.len() / 2].to_vec(), "compile"),
        ("empty", Vec::new(), "empty"),
        ("text", b"hello, world".to_vec(), "not WebAssembly"),
        ("module", wat::parse_str("(module)").expect("wat"), "core module"),
        ("bare", wat::parse_str("(component)").expect("wat"), "no plugin"),
        (
            "future",
            wat::parse_str("(component (instance $i) (export \"pillion:plugin/lifecycle@0.9.0\" (instance $i)))").expect("wat"),
            "another version",
        ),
    ];
    for (name, bytes, reason) in cases {
        let path = folder.path().join(format!("{name}.wasm"));
        std::fs::write(&path, bytes).expect("a file");
        let output = Command::new(build::pillion())
            .args(["plugin", "inspect"])
            .arg(&path)
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{name}");
        assert!(said.contains(reason), "{name}: {said}");
    }
    let output = Command::new(build::pillion())
        .args(["plugin", "inspect"])
        .arg(build::plugin("auth"))
        .output()
        .expect("the program runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for expected in ["request", "header:authorization", "crypto", "identity", "sha256:"] {
        assert!(shown.contains(expected), "{expected} is not in {shown}");
    }
}
