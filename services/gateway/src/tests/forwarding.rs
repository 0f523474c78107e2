//! What the gateway sends on and gives back.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use pillion_chassis::PeerError;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::fake::{gateway, get, ids, look_up, ok};
use super::send;

#[tokio::test]
async fn a_request_goes_on_as_it_is_and_the_answer_comes_back() {
    let (router, peers) = gateway(|_| {
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
    let (router, peers) = gateway(|_| ok(&json!({})));
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
    let (router, peers) = gateway(|_| {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first"))]);
        let mut response = Response::new(Body::from_stream(first.chain(stream::pending())));
        // The mark by which a stream is known on the other side of a socket.
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    });
    let request = Request::get("/pillion/v1/notifications/stream")
        .header("last-event-id", "7")
        .body(Body::empty())
        .unwrap();
    let mut body = router.oneshot(request).await.unwrap().into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    assert_eq!(peers.calls.lock().unwrap()[0].headers["last-event-id"], "7");
}

#[tokio::test]
async fn internal_routes_cannot_be_reached() {
    let (router, peers) = gateway(|_| ok(&json!({})));
    for path in [
        "/internal/sagas/1/steps/activate",
        "/2/../internal/sagas/1/steps/activate",
        "//internal/sagas/1/steps/activate",
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
    let (router, peers) = gateway(|_| ok(&json!({})));
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
    let (router, peers) = gateway(|_| ok(&json!({})));
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
    let (router, _) = gateway(move |_| Err(unreachable()));
    let answer = get(&router, "/2/users/12").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    let (router, _) = gateway(|_| Err(PeerError::TimedOut("users".into())));
    let answer = get(&router, "/2/users/12").await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.headers["retry-after"], "2");
    assert_eq!(answer.body["status"], 504);
}

/// Tweets that quote each other by the same author.
fn tweet(id: &str) -> Option<Value> {
    (id != "404").then(|| {
        json!({
            "id": id, "text": "tweets", "edit_history_tweet_ids": [id], "author_id": "7",
            "referenced_tweets": [{ "type": "quoted", "id": "5" }], "_authors": ["7"],
        })
    })
}

#[tokio::test]
async fn who_asks_in_newer_names_is_answered_in_them() {
    let (router, peers) = gateway(|call| look_up(call, tweet, |_| None).unwrap());
    let path = "/2/tweets/1?post.fields=created_at&expansions=referenced_posts";
    let answer = get(&router, path).await;
    assert_eq!(
        peers.calls.lock().unwrap()[0].path,
        "/internal/tweets?ids=1&tweet.fields=created_at%2Creferenced_tweets"
    );
    let expected = |id: &str| {
        json!({
            "id": id, "text": "tweets", "edit_history_post_ids": [id], "author_id": "7",
            "referenced_posts": [{ "type": "quoted", "id": "5" }],
        })
    };
    assert_eq!(
        answer.body,
        json!({ "data": expected("1"), "includes": { "posts": [expected("5")] } })
    );
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
    let (router, _) = gateway(|call| match &*call.service {
        "users" => ok(&json!({ "errors": [{}] })),
        _ => look_up(call, |id| tweet(id).filter(|_| id != "5"), |_| None).unwrap(),
    });
    let path = "/2/tweets?ids=1,2,404&expansions=author_id,referenced_tweets.id";
    let answer = get(&router, path).await;
    assert_eq!(ids(&answer.body["data"]), ["1", "2"]);
    assert!(answer.body.get("includes").is_none());
    let errors: Vec<(&str, &str)> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["value"].as_str().unwrap(), error["parameter"].as_str().unwrap()))
        .collect();
    assert_eq!(errors, [("404", "ids"), ("5", "referenced_tweets.id"), ("7", "author_id")]);
    // The one tweet of a path that is not one, or not there.
    let answer = get(&router, "/2/tweets/404").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.get("data").is_none());
    assert_eq!(answer.body["errors"][0]["parameter"], "id");
    let answer = get(&router, "/2/tweets/x1").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.body["errors"][0]["parameters"], json!({ "id": ["x1"] }));
}

#[tokio::test]
async fn a_part_that_fails_fails_the_whole() {
    for (failing, status, expected) in [
        ("users", StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE),
        ("users", StatusCode::FORBIDDEN, StatusCode::FORBIDDEN),
        ("users", StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
        ("users", StatusCode::IM_A_TEAPOT, StatusCode::BAD_GATEWAY),
        // Without knowing what is hidden nothing is shown.
        ("graph", StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE),
        ("graph", StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY),
        ("graph", StatusCode::BAD_REQUEST, StatusCode::BAD_REQUEST),
        ("engagements", StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let (router, _) = gateway(move |call| {
            if call.service == failing {
                let response = Response::builder().status(status).header("retry-after", "7");
                return Ok(response.body(Body::empty()).unwrap());
            }
            look_up(call, tweet, |_| None).unwrap()
        });
        let path = "/2/tweets/1?expansions=author_id&tweet.fields=public_metrics";
        let answer = get(&router, path).await;
        assert_eq!(answer.status, expected, "{failing} {status}");
        let wait = answer.headers.get("retry-after").map(|wait| wait.to_str().unwrap());
        let is_busy = expected == StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(wait, is_busy.then_some("7"), "{failing} {status}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn errors_of_the_owner_pass_unchanged() {
    let (router, _) = gateway(|_| {
        let response = Response::builder().status(StatusCode::UNAUTHORIZED);
        Ok(response.header("www-authenticate", "Bearer").body(Body::from("{}")).unwrap())
    });
    let answer = get(&router, "/2/users/1/tweets?expansions=author_id").await;
    assert_eq!((answer.status, answer.body), (StatusCode::UNAUTHORIZED, json!({})));
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn the_documentation_is_served() {
    let (router, _) = gateway(|_| ok(&json!({})));
    let document = get(&router, "/openapi.json").await;
    assert_eq!(document.body["openapi"], "3.1.0");
    let page = get(&router, "/docs").await;
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let html = page.body.as_str().unwrap();
    assert!(html.contains("/2/users/by/username/{username}") && html.contains("expansions"));
    // Its own script, which finds routes, is the only one; see a14_ in `document.rs`.
    assert!(html.matches("<script").count() == 1 && !html.contains("src="));
    assert_eq!(get(&router, "/2/openapi.json").await.body, document.body);
    assert_eq!(get(&router, "/").await.body["docs"], "/docs");
}
