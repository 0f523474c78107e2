//! Apps that act for users: from the consent page to tokens.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http::StatusCode;
use serde_json::json;

use super::{Answer, Fixture, PASSWORD, claims, on_each};
use crate::secret::Secret;

const BACK: &str = "https://app.example/back";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-0";

/// Somebody with an app: its id and secret.
async fn with_app(fixture: Fixture) -> (Fixture, String, String) {
    fixture.register("ann").await;
    let login = fixture.login("ann").await;
    let body = json!({ "name": "<My> app", "redirect_uris": [BACK] });
    let (id, secret) = fixture.app(login.text("access_token"), body).await;
    (fixture, id, secret)
}

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn asking<'a>(id: &'a str, challenge: &'a str, method: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("response_type", "code"),
        ("client_id", id),
        ("redirect_uri", BACK),
        ("scope", "tweet.read users.read offline.access"),
        ("state", "a&b"),
        ("code_challenge", challenge),
        ("code_challenge_method", method),
    ]
}

async fn decide(fixture: &Fixture, mut pairs: Vec<(&str, &str)>, decision: &str) -> Answer {
    pairs.extend([("username", "ann"), ("password", PASSWORD), ("decision", decision)]);
    fixture.form("/i/oauth2/authorize", &query(&pairs), None).await
}

/// The parameters with which the browser is sent back.
fn back(answer: &Answer) -> std::collections::BTreeMap<String, String> {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    let location = answer.headers["location"].to_str().unwrap();
    let query = location.strip_prefix("https://app.example/back?").unwrap();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

async fn exchange(fixture: &Fixture, id: &str, secret: &str, code: &str, more: &str) -> Answer {
    let form = format!("grant_type=authorization_code&code={code}&{more}");
    fixture.form("/2/oauth2/token", &form, Some(&format!("{id}:{secret}"))).await
}

#[tokio::test]
async fn a_user_allows_an_app_and_the_app_acts_for_them() {
    on_each(async |fixture: Fixture| {
        let (fixture, id, secret) = with_app(fixture).await;
        let challenge = Secret::presented(VERIFIER.to_owned()).challenge();
        for (challenge, method) in [(challenge.as_str(), "s256"), (VERIFIER, "plain")] {
            let pairs = asking(&id, challenge, method);
            let path = format!("/i/oauth2/authorize?{}", query(&pairs));
            let page = fixture.router.clone();
            let page =
                tower::ServiceExt::oneshot(page, Request::get(path).body(Body::empty()).unwrap());
            let page = page.await.unwrap();
            assert_eq!(page.status(), StatusCode::OK);
            let policy = page.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("frame-ancestors 'none'"));
            let html = axum::body::to_bytes(page.into_body(), 100_000).await.unwrap();
            let html = std::str::from_utf8(&html).unwrap();
            assert!(html.contains("Allow &lt;My&gt; app?") && html.contains("value=\"a&amp;b\""));

            let allowed = back(&decide(&fixture, pairs, "allow").await);
            assert_eq!(allowed["state"], "a&b");
            let more = query(&[("redirect_uri", BACK), ("code_verifier", VERIFIER)]);
            let tokens = exchange(&fixture, &id, &secret, &allowed["code"], &more).await;
            assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.body);
            assert_eq!(tokens.text("scope"), "offline.access tweet.read users.read");
            let claims = claims(&fixture.handle.jwks(), tokens.text("access_token"));
            assert_eq!(claims["client_id"], id);
            assert!(claims["sub"].as_str().unwrap().parse::<u64>().is_ok());
            let form =
                format!("grant_type=refresh_token&refresh_token={}", tokens.text("refresh_token"));
            let basic = format!("{id}:{secret}");
            let renewed = fixture.form("/2/oauth2/token", &form, Some(&basic)).await;
            assert_eq!(renewed.status, StatusCode::OK);

            // A code that comes twice was stolen: its session ends.
            let again = exchange(&fixture, &id, &secret, &allowed["code"], &more).await;
            assert!(again.text("error_description").contains("used before"));
            let form =
                format!("grant_type=refresh_token&refresh_token={}", renewed.text("refresh_token"));
            let over = fixture.form("/2/oauth2/token", &form, Some(&basic)).await;
            assert_eq!(over.text("error"), "invalid_grant");
        }
    })
    .await;
}

#[tokio::test]
async fn a_user_says_no_or_gets_the_password_wrong() {
    on_each(async |fixture: Fixture| {
        let (fixture, id, _) = with_app(fixture).await;
        let denied = back(&decide(&fixture, asking(&id, VERIFIER, "plain"), "deny").await);
        assert_eq!((denied["error"].as_str(), denied["state"].as_str()), ("access_denied", "a&b"));
        let mut pairs = asking(&id, VERIFIER, "plain");
        pairs.extend([("username", "ann"), ("password", "wrong one"), ("decision", "allow")]);
        let wrong = fixture.form("/i/oauth2/authorize", &query(&pairs), None).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert!(!wrong.headers.contains_key("location"));
        let unclear = decide(&fixture, asking(&id, VERIFIER, "plain"), "maybe").await;
        assert_eq!(unclear.status, StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_the_apps() {
    on_each(async |fixture: Fixture| {
        let (fixture, id, _) = with_app(fixture).await;
        for (name, value) in [("client_id", "app-1"), ("redirect_uri", "https://evil.example/")] {
            let mut pairs = asking(&id, VERIFIER, "plain");
            pairs.retain(|(kept, _)| *kept != name);
            pairs.push((name, value));
            let answer = decide(&fixture, pairs, "allow").await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert!(!answer.headers.contains_key("location"));
            assert!(answer.text("error_description").contains(value));
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_app_asks_wrongly_is_told_to_the_app() {
    on_each(async |fixture: Fixture| {
        let (fixture, id, _) = with_app(fixture).await;
        for (name, value, error) in [
            ("response_type", "token", "unsupported_response_type"),
            ("code_challenge", "", "invalid_request"),
            ("code_challenge_method", "md5", "invalid_request"),
            ("scope", "account.write", "invalid_scope"),
        ] {
            let mut pairs = asking(&id, VERIFIER, "plain");
            pairs.retain(|(kept, _)| *kept != name);
            pairs.push((name, value));
            let refused = back(&decide(&fixture, pairs, "allow").await);
            assert_eq!(refused["error"], error, "{name}");
            assert_eq!(refused["state"], "a&b");
        }
    })
    .await;
}

#[tokio::test]
async fn a_code_is_good_for_its_app_its_verifier_and_five_minutes() {
    on_each(async |fixture: Fixture| {
        let (fixture, id, secret) = with_app(fixture).await;
        let login = fixture.login("ann").await;
        let (other, other_secret) =
            fixture.app(login.text("access_token"), json!({ "name": "Other" })).await;
        let allowed = back(&decide(&fixture, asking(&id, VERIFIER, "plain"), "allow").await);
        let code = &allowed["code"];
        let right = query(&[("code_verifier", VERIFIER)]);
        let wrong = query(&[("code_verifier", "another")]);
        let elsewhere =
            query(&[("code_verifier", VERIFIER), ("redirect_uri", "https://a.example/")]);
        for (id, secret, more, error) in [
            (&other, &other_secret, &right, "invalid_grant"),
            (&id, &secret, &wrong, "invalid_grant"),
            (&id, &secret, &elsewhere, "invalid_grant"),
            (&id, &secret, &String::new(), "invalid_request"),
            (&id, &other_secret, &right, "invalid_client"),
        ] {
            let answer = exchange(&fixture, id, secret, code, more).await;
            assert_eq!(answer.text("error"), error, "{}", answer.body);
        }
        fixture.clock.advance(Duration::from_mins(5));
        let late = exchange(&fixture, &id, &secret, code, &right).await;
        assert_eq!(late.text("error"), "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn who_allows_an_app_something_is_back() {
    on_each(async |fixture: Fixture| {
        let (fixture, id, _) = with_app(fixture).await;
        fixture.register("bob").await;
        let login = fixture.login("bob").await;
        fixture.settled().await;
        fixture.deactivate(login.text("access_token"), PASSWORD).await;
        assert_eq!(fixture.shown("bob").await, None);
        let mut pairs = asking(&id, VERIFIER, "plain");
        pairs.extend([("username", "bob"), ("password", PASSWORD), ("decision", "allow")]);
        let allowed = fixture.form("/i/oauth2/authorize", &query(&pairs), None).await;
        assert!(back(&allowed).contains_key("code"));
        assert!(fixture.shown("bob").await.is_some());
    })
    .await;
}
