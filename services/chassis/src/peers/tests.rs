//! Reads of other services on the way to an answer.

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Found {
    data: u32,
}

/// Asks a service that answers so; what it answers, or the status and detail of the problem.
async fn ask(status: u16, body: &'static str) -> Result<Found, (u16, String)> {
    let peers = InProcessPeers::new();
    let answer = async move |headers: HeaderMap| {
        assert_eq!(headers[AUTHORIZATION], "Bearer token");
        (StatusCode::from_u16(status).unwrap(), [("retry-after", "7")], body)
    };
    peers.register("users", Router::new().route("/2/users", get(answer)));
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, "Bearer token".parse().unwrap());
    Onward::of(&headers).get(&peers, "users", "/2/users?ids=1").await.map_err(|error| {
        let problem = Problem::from(error);
        let detail = problem.document()["detail"].as_str().unwrap().to_owned();
        (problem.into_response().status().as_u16(), detail)
    })
}

#[tokio::test]
async fn what_a_service_answers_is_read_and_what_it_refuses_is_a_problem() {
    assert_eq!(ask(200, r#"{"data": 7}"#).await, Ok(Found { data: 7 }));
    for (status, body, problem, says) in [
        (200, "[]", 500, "Something went wrong here"),
        // A client's error never becomes one of ours (s07).
        (400, "{}", 400, "The service users does not take this request"),
        (404, "{}", 502, "Something went wrong here"),
        (401, "{}", 401, "The service users did not accept the token"),
        (403, "{}", 403, "ask for the scopes tweet.read and users.read"),
        (429, "{}", 503, "The service users is busy now"),
        (503, "{}", 503, "The service users is busy now"),
    ] {
        let (answered, detail) = ask(status, body).await.unwrap_err();
        assert_eq!(answered, problem, "{status} {body}");
        assert!(detail.contains(says), "{detail}");
    }
}

#[test]
fn a_busy_service_says_when_to_come_again() {
    for (retry_after_s, seconds) in [(Some(7), "7"), (None, "1")] {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let busy = PeerError::Busy { service: "users".to_owned(), status, retry_after_s };
        let response = Problem::from(busy).into_response();
        assert_eq!(response.headers()["retry-after"], seconds);
    }
}
