//! The service as a whole: requests in, answers and events out.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use pillion_chassis::event_log::{self, Recorded};
use pillion_chassis::{
    Caller, Database, Deps, FakeClock, Ids, InProcessPeers, Scopes, SystemRandom, UserId,
};
use pillion_events::UserEvent;
use serde_json::{Value, json};
use tower::ServiceExt;

struct Harness {
    router: Router,
    database: Database,
    clock: Arc<FakeClock>,
    folder: tempfile::TempDir,
}

impl Harness {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        Self::start_in(folder, clock).await
    }

    async fn start_in(folder: tempfile::TempDir, clock: Arc<FakeClock>) -> Self {
        let database = Database::open(folder.path().join("users.sqlite")).await.unwrap();
        let deps = Deps {
            clock: clock.clone(),
            ids: Arc::new(Ids::new(clock.clone(), 0).unwrap()),
            random: Arc::new(SystemRandom),
            database: database.clone(),
            peers: Arc::new(InProcessPeers::new()),
        };
        let service = crate::service(deps).await.unwrap();
        Self { router: service.router, database, clock, folder }
    }

    async fn restart(self) -> Self {
        self.database.close().await;
        Self::start_in(self.folder, self.clock).await
    }

    async fn send(&self, method: &str, path: &str, caller: Option<Caller>, body: &str) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Reply { status, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None, "").await
    }

    async fn put(&self, id: u64, body: &Value) -> Reply {
        let path = format!("/internal/users/{id}");
        self.send("PUT", &path, Some(identity()), &body.to_string()).await
    }

    async fn delete(&self, id: u64) -> Reply {
        self.send("DELETE", &format!("/internal/users/{id}"), Some(identity()), "").await
    }

    async fn events(&self) -> Vec<Recorded> {
        event_log::read_after(&self.database, 0, 1_000).await.unwrap()
    }
}

#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Value,
}

fn identity() -> Caller {
    Caller {
        user_id: None,
        client_id: "identity".to_owned(),
        scopes: Scopes::parse("internal.users.write"),
    }
}

fn user(id: u64) -> Caller {
    Caller {
        user_id: UserId::new(id),
        client_id: "web".to_owned(),
        scopes: Scopes::parse("users.read"),
    }
}

fn jack() -> Value {
    json!({"username": "Jack", "name": "jack", "description": "hi", "url": "https://example.com"})
}

#[tokio::test]
async fn an_account_is_made_once_however_often_it_is_asked_for() {
    let users = Harness::start().await;
    let made = users.put(12, &jack()).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body, json!({"data": {"id": "12", "name": "jack", "username": "Jack"}}));
    users.clock.advance(Duration::from_secs(1));
    let again = users.put(12, &jack()).await;
    assert_eq!((again.status, again.body), (StatusCode::OK, made.body));
    let events = users.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].stream_id.as_str(), events[0].version), ("user/12", 1));
    let UserEvent::Registered(event) = events[0].decode().unwrap() else { panic!("{events:?}") };
    assert_eq!((event.username.as_str(), event.description.as_deref()), ("Jack", Some("hi")));
    assert_eq!(event.created_at.to_string(), "2026-07-01T10:00:01.000Z");
}

#[tokio::test]
async fn a_handle_belongs_to_one_account_whatever_its_case_and_even_after_it() {
    let users = Harness::start().await;
    users.put(12, &jack()).await;
    let other = json!({"username": "JACK", "name": "not jack"});
    let taken = users.put(13, &other).await;
    assert_eq!(taken.status, 409);
    assert_eq!(
        taken.body["detail"],
        "Nothing was changed: the username JACK is taken; choose another one."
    );
    assert_eq!(users.put(12, &other).await.status, 409);
    assert_eq!(users.delete(12).await.status, 204);
    assert_eq!(users.put(13, &other).await.status, 409);
    let gone = users.put(12, &jack()).await;
    assert_eq!(gone.status, 409);
    assert_eq!(gone.body["detail"], "Nothing was changed: the account 12 was deleted.");
    assert_eq!(users.events().await.len(), 2);
}

#[tokio::test]
async fn a_wrong_profile_is_refused_with_all_that_is_wrong() {
    let users = Harness::start().await;
    let wrong = json!({
        "username": "no spaces", "name": " ", "description": "x".repeat(161),
        "location": "a\nb", "url": "example.com",
    });
    let reply = users.put(12, &wrong).await;
    assert_eq!(reply.status, 400);
    let errors = reply.body["errors"].as_array().unwrap();
    let keys: Vec<_> = errors
        .iter()
        .flat_map(|error| error["parameters"].as_object().unwrap().keys().cloned())
        .collect();
    assert_eq!(keys, ["username", "name", "description", "location", "url"]);
    assert_eq!(users.put(12, &json!({"username": "a"})).await.status, 400);
    let extra = users.put(12, &json!({"username": "a", "name": "a", "verified": true})).await;
    assert_eq!(extra.status, 400);
    let name = "ü".repeat(50);
    assert_eq!(users.put(12, &json!({"username": "a", "name": name})).await.status, 201);
    assert_eq!(users.events().await.len(), 1);
}

#[tokio::test]
async fn only_services_may_write() {
    let users = Harness::start().await;
    let body = jack().to_string();
    for (caller, status) in [(None, 401), (Some(user(12)), 403)] {
        for method in ["PUT", "DELETE"] {
            let reply = users.send(method, "/internal/users/12", caller.clone(), &body).await;
            assert_eq!(reply.status, status, "{method}");
        }
    }
    assert!(users.events().await.is_empty());
}

#[tokio::test]
async fn users_are_found_by_id_and_by_handle() {
    let users = Harness::start().await;
    users.put(12, &jack()).await;
    users.put(13, &json!({"username": "biz", "name": "Biz"})).await;

    let one = users.get("/2/users/12?user.fields=created_at,url,location,verified,entities").await;
    assert_eq!(one.status, 200);
    assert_eq!(
        one.body,
        json!({"data": {
            "id": "12", "name": "jack", "username": "Jack",
            "created_at": "2026-07-01T10:00:01.000Z", "url": "https://example.com",
            "verified": false,
        }})
    );
    let by_name = users.get("/2/users/by/username/jACK").await;
    assert_eq!(by_name.body["data"]["id"], "12");

    let many = users.get("/2/users?ids=13,99,12").await;
    let ids: Vec<_> = many.body["data"].as_array().unwrap().iter().map(|u| &u["id"]).collect();
    assert_eq!(ids, ["13", "12"]);
    assert_eq!(
        many.body["errors"],
        json!([{
            "title": "Not Found Error",
            "type": "https://api.twitter.com/2/problems/resource-not-found",
            "resource_type": "user", "resource_id": "99", "parameter": "ids", "value": "99",
            "detail": "Could not find user with ids: [99].",
        }])
    );
    let many = users.get("/2/users/by?usernames=BIZ,nobody,biz").await;
    assert_eq!(many.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(many.body["errors"][0]["value"], "nobody");
}

#[tokio::test]
async fn who_is_not_there_is_a_200_with_errors_alone() {
    let users = Harness::start().await;
    for (path, parameter) in [
        ("/2/users/99", "id"),
        ("/2/users/by/username/nobody", "username"),
        ("/2/users?ids=99", "ids"),
        ("/2/users/by?usernames=nobody", "usernames"),
    ] {
        let reply = users.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.body.get("data").is_none(), "{path}");
        assert_eq!(reply.body["errors"][0]["parameter"], parameter);
    }
}

#[tokio::test]
async fn malformed_look_ups_are_400_and_name_the_parameter() {
    let users = Harness::start().await;
    let hundred_and_one: Vec<_> = (1..=101).map(|id: u32| id.to_string()).collect();
    for (path, parameter) in [
        ("/2/users/jack".to_owned(), "id"),
        ("/2/users/12?user.fields=nope".to_owned(), "user.fields"),
        ("/2/users/12?tweet.fields=text".to_owned(), "tweet.fields"),
        ("/2/users".to_owned(), "ids"),
        ("/2/users?ids=".to_owned(), "ids"),
        ("/2/users?ids=1,x".to_owned(), "ids"),
        (format!("/2/users?ids={}", hundred_and_one.join(",")), "ids"),
        ("/2/users/by?usernames=a,b%20c".to_owned(), "usernames"),
        ("/2/users/by/username/not-a-handle".to_owned(), "username"),
    ] {
        let reply = users.get(&path).await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.body["errors"][0]["parameters"].get(parameter).is_some(), "{}", reply.body);
    }
}

#[tokio::test]
async fn me_is_whose_token_it_is() {
    let users = Harness::start().await;
    users.put(12, &jack()).await;
    let me = users.send("GET", "/2/users/me?user.fields=description", Some(user(12)), "").await;
    assert_eq!(me.body["data"]["description"], "hi");
    assert_eq!(users.get("/2/users/me").await.status, 401);
    assert_eq!(users.send("GET", "/2/users/me", Some(identity()), "").await.status, 403);
    users.delete(12).await;
    let gone = users.send("GET", "/2/users/me", Some(user(12)), "").await;
    assert_eq!(gone.status, 401);
    let detail = gone.body["detail"].as_str().unwrap();
    assert!(detail.contains("account 12 of this token does not exist any more"), "{detail}");
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_deleting_again_is_nothing_new() {
    let users = Harness::start().await;
    users.put(12, &jack()).await;
    for _ in 0..2 {
        assert_eq!(users.delete(12).await.status, 204);
    }
    assert_eq!(users.delete(99).await.status, 204);
    assert_eq!(users.get("/2/users/12").await.body["errors"][0]["value"], "12");
    let events = users.events().await;
    assert_eq!(
        events.iter().map(|e| (e.name.as_str(), e.version)).collect::<Vec<_>>(),
        [("user.registered", 1), ("user.deleted", 2)]
    );
    let left: (String, Option<String>, Option<String>) =
        sqlx::query_as("SELECT name, description, url FROM profile WHERE user_id = 12")
            .fetch_one(users.database.read())
            .await
            .unwrap();
    assert_eq!(left, (String::new(), None, None));
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let users = Harness::start().await;
    users.put(12, &jack()).await;
    users.put(13, &json!({"username": "biz", "name": "Biz"})).await;
    users.delete(13).await;
    let users = users.restart().await;
    assert_eq!(users.get("/2/users/by/username/jack").await.body["data"]["id"], "12");
    assert_eq!(users.events().await.len(), 3);
    assert_eq!(users.put(14, &json!({"username": "Biz", "name": "x"})).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_one_handle_exactly_one_gets_it() {
    let users = Arc::new(Harness::start().await);
    let mut wanting = tokio::task::JoinSet::new();
    for id in 1..=32 {
        let users = users.clone();
        wanting.spawn(async move { users.put(id, &json!({"username": "it", "name": "x"})).await });
    }
    let mut statuses: Vec<_> =
        wanting.join_all().await.iter().map(|reply| reply.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
    assert_eq!(users.events().await.len(), 1);
}
