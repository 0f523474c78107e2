//! Where a person sees which apps have access, and takes it back.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Fixture, PASSWORD, json_request, on_each};
use crate::secret::Secret;

const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-0";

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Ann has made an app, and Bob has allowed it something: its id, secret, and Bob's tokens for it.
async fn allowed(fixture: &Fixture) -> (String, String, Value) {
    fixture.register("ann").await;
    let ann = fixture.login("ann").await;
    let body = json!({ "name": "<Reader>", "redirect_uris": ["https://app.example/back"] });
    let (id, secret) = fixture.app(ann.text("access_token"), body).await;
    fixture.register("bob").await;
    let challenge = Secret::presented(VERIFIER.to_owned()).challenge();
    let form = query(&[
        ("response_type", "code"),
        ("client_id", &id),
        ("scope", "tweet.read users.read offline.access"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("username", "bob"),
        ("password", PASSWORD),
        ("decision", "allow"),
    ]);
    let answer = fixture.form("/i/oauth2/authorize", &form, None).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let code = location.split_once("code=").unwrap().1.to_owned();
    let form = format!("grant_type=authorization_code&code={code}&code_verifier={VERIFIER}");
    let tokens = fixture.form("/2/oauth2/token", &form, Some(&format!("{id}:{secret}"))).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.body);
    (id, secret, tokens.body)
}

fn get(path: &str) -> Request {
    json_request(Method::GET, path, &Value::Null)
}

#[tokio::test]
async fn a08_grants_are_listed_and_revoked_as_json() {
    on_each(async |fixture: Fixture| {
        let (id, secret, tokens) = allowed(&fixture).await;
        let bob = fixture.login("bob").await;
        let bob = bob.text("access_token");
        let list = fixture.send_as(bob, get("/pillion/v1/authorizations")).await;
        assert_eq!(list.body["meta"]["result_count"], 1, "{}", list.body);
        let shown = &list.body["data"][0];
        assert_eq!((&shown["client_id"], &shown["name"]), (&json!(id), &json!("<Reader>")));
        assert_eq!(shown["owner_username"], "ann");
        assert_eq!(shown["scope"], "offline.access tweet.read users.read");
        // An app's own token has no say in it.
        let theirs = tokens["access_token"].as_str().unwrap();
        let refused = fixture.send_as(theirs, get("/pillion/v1/authorizations")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);

        let path = format!("/pillion/v1/authorizations/{id}");
        for _ in 0..2 {
            let request = json_request(Method::DELETE, &path, &Value::Null);
            let answer = fixture.send_as(bob, request).await;
            assert_eq!(answer.body, json!({ "data": { "revoked": true } }));
        }
        assert!(fixture.is_revoked(theirs).await);
        assert!(!fixture.is_revoked(bob).await);
        let refresh = tokens["refresh_token"].as_str().unwrap();
        let form = format!("grant_type=refresh_token&refresh_token={refresh}");
        let basic = format!("{id}:{secret}");
        let over = fixture.form("/2/oauth2/token", &form, Some(&basic)).await;
        assert_eq!(over.text("error"), "invalid_grant");
        let list = fixture.send_as(bob, get("/pillion/v1/authorizations")).await;
        assert_eq!(list.body["data"], json!([]));
    })
    .await;
}

fn form(pairs: &[(&str, &str)]) -> Request {
    Request::post("/i/apps")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(query(pairs)))
        .unwrap()
}

/// The ticket that the buttons of a page carry.
fn ticket(html: &str) -> String {
    let rest = html.split_once("name=\"ticket\" value=\"").unwrap().1;
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn a08_a_person_sees_and_revokes_access_on_a_page() {
    on_each(async |fixture: Fixture| {
        let (id, _, tokens) = allowed(&fixture).await;
        let (status, headers, html) = fixture.page(get("/i/apps")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["x-frame-options"], "DENY");
        assert!(html.contains("type=\"password\""));
        let wrong = form(&[("username", "bob"), ("password", "not this one")]);
        let (status, _, html) = fixture.page(wrong).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(html.contains("value=\"bob\""), "{html}");

        let (status, _, html) =
            fixture.page(form(&[("username", "bob"), ("password", PASSWORD)])).await;
        assert_eq!(status, StatusCode::OK);
        for part in ["<bdi>@bob</bdi>", "<bdi>&lt;Reader&gt;</bdi>", "<bdi>@ann</bdi>", &id] {
            assert!(html.contains(part), "{part} in {html}");
        }
        let ticket = ticket(&html);
        // Neither a made-up ticket nor one for somebody else presses a button.
        let (user, rest) = ticket.split_once('.').unwrap();
        let other = format!("{}.{rest}", user.parse::<u64>().unwrap() + 1);
        for bad in ["x", "1.9999999999.AAAA", &other] {
            let (status, _, _) = fixture.page(form(&[("ticket", bad), ("revoke", &id)])).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{bad}");
        }
        let theirs = tokens["access_token"].as_str().unwrap();
        assert!(!fixture.is_revoked(theirs).await);
        let (status, _, html) = fixture.page(form(&[("ticket", &ticket), ("revoke", &id)])).await;
        assert_eq!(status, StatusCode::OK);
        assert!(html.contains("No app has access"), "{html}");
        assert!(fixture.is_revoked(theirs).await);

        let bob = fixture.login("bob").await;
        fixture.page(form(&[("ticket", &ticket), ("everything", "yes")])).await;
        assert!(fixture.is_revoked(bob.text("access_token")).await);
        fixture.clock.advance(Duration::from_mins(10));
        let (status, _, _) = fixture.page(form(&[("ticket", &ticket)])).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "after ten minutes");
    })
    .await;
}
