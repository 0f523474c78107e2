//! The gateway before peers that answer what a test says.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use futures_util::StreamExt;
use futures_util::stream;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use pillion_chassis::{PeerError, Peers};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Answer, send};
use crate::document::Document;
use crate::{Gateway, routes};

type Reply = Box<dyn Fn(&str, &Call) -> Result<Response<Body>, PeerError> + Send + Sync>;

/// A call that was made to a peer.
#[derive(Debug, Clone)]
struct Call {
    service: String,
    method: Method,
    path: String,
    headers: http::HeaderMap,
    body: Bytes,
}

/// Peers that note every call.
struct MadeUp {
    calls: Mutex<Vec<Call>>,
    reply: Reply,
}

impl std::fmt::Debug for MadeUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeUp").finish_non_exhaustive()
    }
}

#[async_trait]
impl Peers for MadeUp {
    async fn call(
        &self,
        service: &str,
        request: http::Request<Body>,
    ) -> Result<Response<Body>, PeerError> {
        let (parts, body) = request.into_parts();
        let call = Call {
            service: service.to_owned(),
            method: parts.method,
            path: parts.uri.to_string(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        };
        self.calls.lock().unwrap().push(call.clone());
        (self.reply)(service, &call)
    }
}

fn gateway<F>(reply: F) -> (Router, Arc<MadeUp>)
where
    F: Fn(&str, &Call) -> Result<Response<Body>, PeerError> + Send + Sync + 'static,
{
    let peers = Arc::new(MadeUp { calls: Mutex::default(), reply: Box::new(reply) });
    let document = Arc::new(Document::load().unwrap());
    let gateway = Gateway { peers: peers.clone(), document };
    (routes::routes().finish(gateway).0, peers)
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a reply returns")]
fn ok(body: &Value) -> Result<Response<Body>, PeerError> {
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Body::from(body.to_string())).unwrap())
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_request_goes_on_as_it_is_and_the_answer_comes_back() {
    let (router, peers) = gateway(|_, _| {
        Ok(Response::builder()
            .status(StatusCode::CREATED)
            .header("content-type", "application/json")
            .header("x-kept", "1")
            .header("connection", "close")
            .header("keep-alive", "5")
            .body(Body::from(r#"{"data":{}}"#))
            .unwrap())
    });
    let request = Request::post("/2/tweets")
        .header("authorization", "Bearer t")
        .header("x-request-id", "r")
        .header("traceparent", "p")
        .header("content-type", "application/json")
        .header("cookie", "c")
        .body(Body::from("{}"))
        .unwrap();
    let answer = send(&router, request).await;
    assert_eq!((answer.status, answer.body), (StatusCode::CREATED, json!({ "data": {} })));
    assert_eq!(answer.headers["x-kept"], "1");
    assert!(!answer.headers.contains_key("connection"));
    assert!(!answer.headers.contains_key("keep-alive"));
    let call = peers.calls.lock().unwrap()[0].clone();
    assert_eq!((call.service.as_str(), call.method), ("tweets", Method::POST));
    assert_eq!((call.path.as_str(), &*call.body), ("/2/tweets", b"{}".as_slice()));
    for (name, value) in
        [("authorization", "Bearer t"), ("x-request-id", "r"), ("traceparent", "p")]
    {
        assert_eq!(call.headers[name], value);
    }
    assert!(!call.headers.contains_key("cookie"));
}

#[tokio::test]
async fn token_requests_keep_their_query() {
    let (router, peers) = gateway(|_, _| ok(&json!({})));
    let path = "/2/oauth2/token?grant_type=client_credentials&x=%31";
    let request =
        Request::post(path).header("authorization", "Basic YTpi").body(Body::empty()).unwrap();
    assert_eq!(send(&router, request).await.status, StatusCode::OK);
    let call = peers.calls.lock().unwrap()[0].clone();
    assert_eq!((call.service.as_str(), call.path.as_str()), ("identity", path));
    assert_eq!(call.headers["authorization"], "Basic YTpi");
}

#[tokio::test]
async fn an_answer_streams_through() {
    let (router, _) = gateway(|_, _| {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first"))]);
        Ok(Response::new(Body::from_stream(first.chain(stream::pending()))))
    });
    let request = Request::get("/2/users/12").body(Body::empty()).unwrap();
    let mut body = router.oneshot(request).await.unwrap().into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
}

#[tokio::test]
async fn internal_routes_cannot_be_reached() {
    let (router, peers) = gateway(|_, _| ok(&json!({})));
    for path in [
        "/internal/users/12",
        "/2/../internal/users/12",
        "//internal/users/12",
        "/2/users/..%2F..%2Finternal%2Fusers%2F12",
        "/2/users/12/../../internal",
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let request = Request::builder().method(method.clone()).uri(path);
            let answer = send(&router, request.body(Body::empty()).unwrap()).await;
            // What looks like an id goes to the public route of that path, as it is.
            let calls = std::mem::take(&mut *peers.calls.lock().unwrap());
            assert!(calls.iter().all(|call| call.path.starts_with("/2/users/")), "{calls:?}");
            assert!(calls.iter().all(|call| !call.path.contains("/internal")), "{calls:?}");
            assert!(!calls.is_empty() || answer.status.is_client_error());
        }
    }
}

#[tokio::test]
async fn unknown_routes_are_404_and_wrong_methods_405_that_say_which_are_right() {
    let (router, peers) = gateway(|_, _| ok(&json!({})));
    let unknown = get(&router, "/3/tweets").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.headers["content-type"], "application/problem+json");
    assert!(unknown.body["detail"].as_str().unwrap().contains("/3/tweets"));
    let request = Request::put("/2/tweets").body(Body::empty()).unwrap();
    let wrong = send(&router, request).await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.body["status"], 405);
    let allowed = wrong.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    assert!(peers.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_query_that_is_wrong_goes_nowhere() {
    let (router, peers) = gateway(|_, _| ok(&json!({})));
    for path in [
        "/2/tweets?ids=1&foo=2",
        "/2/tweets?ids=1&user.fields=nick",
        "/2/users?ids=1&expansions=author_id",
        "/2/users/me?a=1",
    ] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer.body["errors"][0]["message"].as_str().unwrap().contains("is not one of ["));
    }
    assert!(peers.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn peers_that_do_not_answer_are_503_and_504() {
    let unreachable = || PeerError::Unreachable { service: "users".into(), source: "x".into() };
    let (router, _) = gateway(move |_, _| Err(unreachable()));
    let answer = get(&router, "/2/users/12").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    let (router, _) = gateway(|_, _| Err(PeerError::TimedOut("users".into())));
    let answer = get(&router, "/2/users/12").await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.headers["retry-after"], "2");
    assert_eq!(answer.body["status"], 504);
}

/// A hundred tweets; each answers one and quotes one, by others, and names three people.
fn full_page() -> Value {
    let tweets: Vec<Value> = (0..100_u32)
        .map(|n| {
            json!({
                "id": n.to_string(), "text": "t", "edit_history_tweet_ids": [n.to_string()],
                "author_id": (n % 50).to_string(),
                "in_reply_to_user_id": (1000 + n).to_string(),
                "referenced_tweets": [
                    { "type": "replied_to", "id": (2000 + n).to_string() },
                    { "type": "quoted", "id": (3000 + n).to_string() },
                ],
                "entities": { "mentions": (0..5_u32).map(|m| json!({
                    "start": 0, "end": 1, "username": format!("U{}", n * 5 + m),
                })).collect::<Vec<_>>() },
            })
        })
        .collect();
    json!({ "data": tweets, "meta": { "result_count": 100 } })
}

/// Answers a look-up by list with one thing per key.
fn look_up(path: &str) -> Value {
    let (_, query) = path.split_once('?').unwrap();
    let found: Vec<Value> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "ids" || name == "usernames")
        .flat_map(|(name, keys)| {
            let keys: Vec<String> = keys.split(',').map(str::to_owned).collect();
            assert!(keys.len() <= 100);
            keys.into_iter().map(move |key| match &*name {
                "usernames" => json!({ "id": format!("9{}", &key[1..]), "username": key }),
                _ => json!({ "id": key, "author_id": format!("4{key}"), "username": key }),
            })
        })
        .collect();
    json!({ "data": found })
}

#[tokio::test]
async fn a_full_page_with_everything_takes_a_bounded_number_of_calls() {
    let (router, peers) = gateway(|_, call| {
        if call.path.starts_with("/2/users/12/tweets") {
            ok(&full_page())
        } else {
            ok(&look_up(&call.path))
        }
    });
    let expansions = "author_id,referenced_tweets.id,referenced_tweets.id.author_id,\
                      in_reply_to_user_id,entities.mentions.username,edit_history_tweet_ids";
    let path = format!("/2/users/12/tweets?max_results=100&expansions={expansions}");
    let answer = get(&router, &path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let calls = peers.calls.lock().unwrap().clone();
    let to = |start: &str| calls.iter().filter(|call| call.path.starts_with(start)).count();
    assert_eq!(to("/2/users/12/tweets?"), 1);
    assert_eq!(to("/2/tweets?"), 3);
    assert_eq!(to("/2/users?"), 4);
    assert_eq!(to("/2/users/by?"), 3);
    assert_eq!(calls.len(), 11);
    assert_eq!(answer.body["includes"]["tweets"].as_array().unwrap().len(), 300);
    let users = answer.body["includes"]["users"].as_array().unwrap();
    let ids: std::collections::HashSet<_> =
        users.iter().map(|user| user["id"].as_str().unwrap()).collect();
    // 50 authors, 100 answered, 200 authors of what is referenced, 300 of those mentioned.
    assert_eq!((users.len(), ids.len()), (650, 650));
    assert!(answer.body.get("errors").is_none());
    assert_eq!(answer.body["meta"]["result_count"], 100);
}

#[tokio::test]
async fn who_asks_in_newer_names_is_answered_in_them() {
    let (router, peers) = gateway(|_, call| {
        let reference = json!([{ "type": "quoted", "id": "5" }]);
        if call.path.starts_with("/2/tweets?ids=5&") {
            return ok(&json!({ "data": [{ "id": "5", "edit_history_tweet_ids": ["5"] }] }));
        }
        ok(&json!({ "data": { "id": "1", "text": "tweets", "referenced_tweets": reference } }))
    });
    let path = "/2/tweets/1?post.fields=created_at&expansions=referenced_posts";
    let answer = get(&router, path).await;
    assert_eq!(
        peers.calls.lock().unwrap()[0].path,
        "/2/tweets/1?tweet.fields=created_at%2Creferenced_tweets"
    );
    let expected = json!({
        "data": {
            "id": "1", "text": "tweets", "referenced_posts": [{ "type": "quoted", "id": "5" }],
        },
        "includes": { "posts": [{ "id": "5", "edit_history_post_ids": ["5"] }] },
    });
    assert_eq!(answer.body, expected);
    let wrong = get(&router, "/2/tweets/1?post.fields=colour").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert_eq!(wrong.body["errors"][0]["parameters"], json!({ "post.fields": ["colour"] }));
    // xdk is answered in them whatever it asks.
    let request = Request::get("/2/tweets/1").header("user-agent", "xdk-python/0.10.6");
    let answer = send(&router, request.body(Body::empty()).unwrap()).await;
    assert!(answer.body["data"]["referenced_posts"].is_array(), "{}", answer.body);
    let answer = get(&router, "/2/tweets/1").await;
    assert!(answer.body["data"]["referenced_tweets"].is_array(), "{}", answer.body);
}

#[tokio::test]
async fn what_is_not_there_is_said_once() {
    let (router, _) = gateway(|service, call| {
        let page = json!({
            "data": [
                { "id": "1", "author_id": "7", "referenced_tweets": [{ "id": "5" }] },
                { "id": "2", "author_id": "7", "referenced_tweets": [{ "id": "5" }] },
            ],
            "errors": [{ "value": "3" }],
        });
        match service {
            "tweets" if call.path.contains("ids=1%2C2") => ok(&page),
            _ => ok(&json!({ "errors": [{}] })),
        }
    });
    let path = "/2/tweets?ids=1,2,3&expansions=author_id,referenced_tweets.id";
    let answer = get(&router, path).await;
    assert!(answer.body.get("includes").is_none());
    let errors: Vec<(&str, &str)> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            (error["value"].as_str().unwrap(), error["parameter"].as_str().unwrap_or("ids"))
        })
        .collect();
    assert_eq!(errors, [("3", "ids"), ("5", "referenced_tweets.id"), ("7", "author_id")]);
}

#[tokio::test]
async fn a_part_that_fails_fails_the_whole() {
    for (status, expected) in [
        (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE),
        (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN),
        (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
        (StatusCode::IM_A_TEAPOT, StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let (router, _) = gateway(move |service, _| match service {
            "tweets" => ok(&json!({ "data": { "id": "1", "author_id": "7" } })),
            _ => Ok(Response::builder().status(status).body(Body::empty()).unwrap()),
        });
        let answer = get(&router, "/2/tweets/1?expansions=author_id").await;
        assert_eq!(answer.status, expected);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn errors_of_the_owner_pass_unchanged() {
    let (router, _) = gateway(|_, _| {
        let response = Response::builder().status(StatusCode::UNAUTHORIZED);
        Ok(response.header("www-authenticate", "Bearer").body(Body::from("{}")).unwrap())
    });
    let answer = get(&router, "/2/tweets/1?expansions=author_id").await;
    assert_eq!((answer.status, answer.body), (StatusCode::UNAUTHORIZED, json!({})));
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn the_documentation_is_served() {
    let (router, _) = gateway(|_, _| ok(&json!({})));
    let document = get(&router, "/openapi.json").await;
    assert_eq!(document.body["openapi"], "3.1.0");
    let page = get(&router, "/docs").await;
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let html = page.body.as_str().unwrap();
    assert!(html.contains("/2/users/by/username/{username}") && html.contains("expansions"));
    assert!(!html.contains("<script") && !html.contains("src="));
    assert_eq!(get(&router, "/").await.body["docs"], "/docs");
}
