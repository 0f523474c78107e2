//! The gateway before the real services, from registration to deletion.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::map_request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use pillion_chassis::service::ShutdownTrigger;
use pillion_chassis::testing::service_tokens;
use pillion_chassis::{
    Caller, Database, Deps, FakeClock, HttpPeers, Ids, InProcessPeers, Peers, RouteId, Scopes,
    Shutdown, SystemRandom,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Answer, send};
use crate::fields::{TWEET_EXPANSIONS, TWEET_FIELDS, USER_FIELDS};

/// All services, behind the gateway.
pub(super) struct World {
    router: Router,
    /// Which service has which routes, the gateway excepted.
    pub(super) routes: Vec<(&'static str, RouteId)>,
    /// Servers, and what runs beside the services.
    _running: JoinSet<()>,
    _shutdown: ShutdownTrigger,
    _folder: tempfile::TempDir,
}

/// Stands in for the auth plugin: believes every token.
async fn believe(mut request: Request) -> Request {
    let claims = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().unwrap().strip_prefix("Bearer "))
        .and_then(|token| token.split('.').nth(1))
        .map(|claims| URL_SAFE_NO_PAD.decode(claims).unwrap());
    if let Some(claims) = claims {
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        request.extensions_mut().insert(Caller {
            user_id: claims["sub"].as_str().unwrap().parse().ok(),
            client_id: claims["client_id"].as_str().unwrap().to_owned(),
            scopes: Scopes::parse(claims["scope"].as_str().unwrap()),
        });
    }
    request
}

/// Where the services run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// In this process, called without sockets.
    InProcess,
    /// Behind sockets, as in processes of their own.
    OverHttp,
}

const BEHIND: [&str; 8] =
    ["identity", "users", "tweets", "graph", "engagements", "timelines", "search", "notifications"];

impl World {
    pub(super) async fn new(form: Form) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:00Z".parse().unwrap()));
        let ids = Arc::new(Ids::new(clock.clone(), 1).unwrap());
        let in_process = Arc::new(InProcessPeers::new());
        let mut listeners = Vec::new();
        for name in BEHIND {
            listeners.push((name, TcpListener::bind("127.0.0.1:0").await.unwrap()));
        }
        let addresses = listeners.iter().map(|(name, listener)| {
            ((*name).to_owned(), format!("http://{}", listener.local_addr().unwrap()))
        });
        let peers: Arc<dyn Peers> = match form {
            Form::InProcess => in_process.clone(),
            Form::OverHttp => Arc::new(HttpPeers::new(addresses).unwrap()),
        };
        let deps = async |name: &str| Deps {
            clock: clock.clone(),
            ids: ids.clone(),
            random: Arc::new(SystemRandom),
            database: Database::open(folder.path().join(format!("{name}.sqlite"))).await.unwrap(),
            peers: peers.clone(),
            service_tokens: service_tokens(name, clock.clone()),
        };
        let key = pillion_identity::KeyEncryptionKey::parse(&"A".repeat(43), "a test").unwrap();
        let config = pillion_identity::Config::new(key);
        let (identity, _) =
            pillion_identity::service(deps("identity").await, config).await.unwrap();
        let services = [
            identity,
            pillion_users::service(deps("users").await).await.unwrap(),
            pillion_tweets::service(deps("tweets").await).await.unwrap(),
            pillion_graph::service(deps("graph").await).await.unwrap(),
            pillion_engagements::service(deps("engagements").await).await.unwrap(),
            pillion_timelines::service(deps("timelines").await).await.unwrap(),
            pillion_search::service(deps("search").await).await.unwrap(),
            pillion_notifications::service(deps("notifications").await).await.unwrap(),
        ];
        let mut routes = Vec::new();
        let mut running = JoinSet::new();
        let (trigger, shutdown) = Shutdown::new();
        for (made, (name, listener)) in services.into_iter().zip(listeners) {
            assert_eq!(made.name, name);
            let believing = made.router.layer(map_request(believe));
            for worker in made.workers {
                running.spawn(worker.run(shutdown.clone()));
            }
            routes.extend(made.routes.into_iter().map(|route| (name, route)));
            match form {
                Form::InProcess => in_process.register(name, believing),
                Form::OverHttp => {
                    running.spawn(async move { axum::serve(listener, believing).await.unwrap() });
                }
            }
        }
        let gateway = crate::service(deps("gateway").await).await.unwrap();
        Self {
            router: gateway.router,
            routes,
            _running: running,
            _shutdown: trigger,
            _folder: folder,
        }
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        send(&self.router, request.body(body).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, &Value::Null).await
    }

    /// Registers somebody and logs them in: id and token.
    pub(super) async fn join(&self, username: &str) -> (String, String) {
        let post = async |path: &str, body: Value| {
            let request = Request::post(path).header("content-type", "application/json");
            send(&self.router, request.body(Body::from(body.to_string())).unwrap()).await
        };
        let password = "correct horse battery";
        let body = json!({ "username": username, "name": username, "password": password });
        let account = post("/pillion/v1/accounts", body).await;
        assert_eq!(account.status, StatusCode::CREATED, "{}", account.body);
        let body = json!({ "username": username, "password": password });
        let login = post("/pillion/v1/login", body).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&account.body["data"]["id"]), text(&login.body["access_token"]))
    }

    pub(super) async fn tweet(&self, token: &str, body: Value) -> String {
        let answer = self.call(Method::POST, "/2/tweets", token, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["data"]["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn everything_that_a_tweet_points_at_is_included_once() {
    for form in [Form::InProcess, Form::OverHttp] {
        everything_that_a_tweet_points_at_is_included_once_in(form).await;
    }
}

async fn everything_that_a_tweet_points_at_is_included_once_in(form: Form) {
    let world = World::new(form).await;
    let (ann_id, ann) = world.join("ann").await;
    let (bob_id, bob) = world.join("Bob").await;
    let (eve_id, _) = world.join("eve").await;
    let first = world.tweet(&ann, json!({ "text": "hello @bob" })).await;
    let second = world.tweet(&bob, json!({ "text": "quotable" })).await;
    let body = json!({
        "text": "@ann and @EVE and @nobody: yes",
        "reply": { "in_reply_to_tweet_id": first }, "quote_tweet_id": second,
    });
    let third = world.tweet(&bob, body).await;

    let expansions = "author_id,in_reply_to_user_id,referenced_tweets.id,\
                      referenced_tweets.id.author_id,entities.mentions.username";
    let path = format!("/2/tweets/{third}?expansions={expansions}&user.fields=created_at");
    let answer = world.get(&path, &ann).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let data = &answer.body["data"];
    assert_eq!(
        (&data["author_id"], &data["in_reply_to_user_id"]),
        (&json!(bob_id), &json!(ann_id))
    );
    let ids = |list: &Value| -> Vec<String> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&answer.body["includes"]["tweets"]), [first.clone(), second]);
    let users = &answer.body["includes"]["users"];
    assert_eq!(ids(users), [bob_id, ann_id, eve_id]);
    assert_eq!(users[0]["username"], "Bob");
    assert_eq!(users[0]["created_at"], "2026-07-01T10:00:00.000Z");
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 1);
    assert_eq!(answer.body["errors"][0]["parameter"], "entities.mentions.username");
    assert_eq!(answer.body["errors"][0]["value"], "nobody");

    // A tweet that is gone is an error beside the page.
    world.call(Method::DELETE, &format!("/2/tweets/{first}"), &ann, &Value::Null).await;
    let path = format!("/2/tweets?ids={third}&expansions=referenced_tweets.id");
    let answer = world.get(&path, &ann).await;
    assert_eq!(answer.body["includes"]["tweets"].as_array().unwrap().len(), 1);
    assert_eq!(answer.body["errors"][0]["resource_id"], first);
}

#[tokio::test]
async fn pages_and_profiles_pass_through() {
    for form in [Form::InProcess, Form::OverHttp] {
        Box::pin(pages_and_profiles_pass_through_in(form)).await;
    }
}

async fn pages_and_profiles_pass_through_in(form: Form) {
    let world = World::new(form).await;
    let (id, token) = world.join("ann").await;
    for number in 0..7 {
        world.tweet(&token, json!({ "text": format!("tweet {number}") })).await;
    }
    let path = format!("/2/users/{id}/tweets?max_results=5&expansions=author_id");
    let page = world.get(&path, &token).await;
    assert_eq!(page.body["data"].as_array().unwrap().len(), 5);
    assert_eq!(page.body["includes"]["users"].as_array().unwrap().len(), 1);
    let next = page.body["meta"]["next_token"].as_str().unwrap();
    let page = world.get(&format!("{path}&pagination_token={next}"), &token).await;
    assert_eq!(page.body["meta"]["result_count"], 2);
    let me = world.get("/2/users/me?expansions=pinned_tweet_id&tweet.fields=text", &token).await;
    assert_eq!(me.body, json!({ "data": { "id": id, "name": "ann", "username": "ann" } }));
    let by_name = world.get("/2/users/by/username/ANN", &token).await;
    assert_eq!(by_name.body, me.body);
    let none = world.get("/2/users/1", &token).await;
    assert_eq!(
        (none.status, none.body["errors"][0]["value"].as_str()),
        (StatusCode::OK, Some("1"))
    );
    let refused = world.get("/2/tweets?ids=abc", &token).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_services_know_every_field_that_the_dialect_has() {
    for form in [Form::InProcess, Form::OverHttp] {
        the_services_know_every_field_that_the_dialect_has_in(form).await;
    }
}

async fn the_services_know_every_field_that_the_dialect_has_in(form: Form) {
    let world = World::new(form).await;
    let (_, token) = world.join("ann").await;
    let id = world.tweet(&token, json!({ "text": "hello" })).await;
    let (tweets, users) = (TWEET_FIELDS.join(","), USER_FIELDS.join(","));
    let fields = format!("tweet.fields={tweets}&user.fields={users}");
    let expansions = TWEET_EXPANSIONS.join(",");
    let path = format!("/2/tweets/{id}?{fields}&expansions={expansions}");
    let answer = world.get(&path, &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["includes"]["users"].as_array().unwrap().len(), 1);
    let answer = world.get(&format!("/2/users/me?{fields}"), &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn a_deactivated_account_is_gone_for_everyone_until_its_owner_is_back() {
    for form in [Form::InProcess, Form::OverHttp] {
        Box::pin(a_deactivated_account_is_gone_for_everyone_in(form)).await;
    }
}

async fn a_deactivated_account_is_gone_for_everyone_in(form: Form) {
    let world = World::new(form).await;
    let (id, token) = world.join("ann").await;
    let (_, other) = world.join("bob").await;
    let tweet = world.tweet(&token, json!({ "text": "hello" })).await;
    let quoting = json!({ "text": "see", "quote_tweet_id": tweet });
    let quote = world.tweet(&other, quoting).await;
    let password = json!({ "password": "correct horse battery" });
    let gone = world.call(Method::DELETE, "/pillion/v1/accounts/me", &token, &password).await;
    assert_eq!(gone.body["data"]["deactivated"], true, "{}", gone.body);
    assert!(gone.body["data"]["purge_at"].is_string(), "{}", gone.body);
    let profile = world.get(&format!("/2/users/{id}"), &other).await;
    assert!(profile.body.get("data").is_none(), "{}", profile.body);
    assert_eq!(world.get("/2/users/me", &token).await.status, StatusCode::UNAUTHORIZED);
    let body = json!({ "text": "a ghost" });
    let posted = world.call(Method::POST, "/2/tweets", &token, &body).await;
    assert_eq!(posted.status, StatusCode::UNAUTHORIZED);
    let path = format!("/2/tweets?ids={tweet},{quote}&expansions=referenced_tweets.id");
    let left = world.get(&path, &other).await;
    assert_eq!(left.body["data"].as_array().unwrap().len(), 1, "{}", left.body);
    assert_eq!(left.body["data"][0]["id"], quote);
    assert!(left.body.get("includes").is_none(), "{}", left.body);

    let body = json!({ "username": "ann", "password": "correct horse battery" });
    let back = world.call(Method::POST, "/pillion/v1/login", "", &body).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.body);
    let back = back.body["access_token"].as_str().unwrap();
    assert_eq!(world.get("/2/users/me", back).await.body["data"]["id"], id);
    let whole = world.get(&path, &other).await;
    assert_eq!(whole.body["data"].as_array().unwrap().len(), 2, "{}", whole.body);
    assert_eq!(whole.body["includes"]["tweets"][0]["text"], "hello");
}

#[tokio::test]
async fn an_account_gets_another_handle() {
    let world = World::new(Form::InProcess).await;
    let (id, token) = world.join("ann").await;
    let (_, other) = world.join("bob").await;
    let rename = async |username: &str| {
        let body = json!({ "username": username });
        world.call(Method::POST, "/pillion/v1/account/username", &token, &body).await
    };
    assert_eq!(rename("BOB").await.status, StatusCode::CONFLICT);
    assert_eq!(rename("not a handle").await.status, StatusCode::BAD_REQUEST);
    let renamed = rename("Anna").await;
    assert_eq!(renamed.body["data"]["username"], "Anna", "{}", renamed.body);
    let found = world.get("/2/users/by/username/anna", &other).await;
    assert_eq!(found.body["data"]["id"], id);
    let free = world.get("/2/users/by/username/ann", &other).await;
    assert!(free.body.get("data").is_none(), "{}", free.body);
}
