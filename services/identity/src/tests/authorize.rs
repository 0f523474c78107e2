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

fn challenge() -> String {
    Secret::presented(VERIFIER.to_owned()).challenge()
}

/// A form as a browser sends it.
fn form(pairs: &[(&str, &str)]) -> Request {
    Request::post("/i/oauth2/authorize")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(query(pairs)))
        .unwrap()
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
        let challenge = challenge();
        for method in ["s256", "S256"] {
            let pairs = asking(&id, &challenge, method);
            let path = format!("/i/oauth2/authorize?{}", query(&pairs));
            let request = Request::get(path).body(Body::empty()).unwrap();
            let (status, headers, html) = fixture.page(request).await;
            assert_eq!(status, StatusCode::OK);
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("frame-ancestors 'none'"));
            assert!(html.contains("value=\"a&amp;b\""));

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
async fn i08_the_page_says_whose_service_which_app_by_whom_and_which_account() {
    on_each(async |fixture: Fixture| {
        let (fixture, id, _) = with_app(fixture).await;
        let challenge = challenge();
        let pairs = asking(&id, &challenge, "S256");
        let path = format!("/i/oauth2/authorize?{}", query(&pairs));
        let (_, _, html) = fixture.page(Request::get(path).body(Body::empty()).unwrap()).await;
        for part in [
            "<bdi>&lt;My&gt; app</bdi>",
            "by <bdi>@ann</bdi>",
            "your <bdi>Pillion</bdi> account?",
            "<li>keep this access until you take it back</li>",
            "<a href=\"/i/apps\">",
            "<button class=\"primary\" name=\"decision\" value=\"allow\">Allow</button>",
            "<bdi>https://app.example/back</bdi>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        // The first button of a form is what Enter presses.
        assert!(html.find("value=\"allow\"").unwrap() < html.find("value=\"deny\"").unwrap());

        let mut pairs = asking(&id, &challenge, "S256");
        pairs.extend([("username", "an\"n"), ("password", "wrong one"), ("decision", "allow")]);
        let (status, headers, html) = fixture.page(form(&pairs)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(!headers.contains_key("location"));
        assert!(html.contains("name=\"username\" value=\"an&quot;n\""), "{html}");
        assert!(html.contains("role=\"alert\"") && !html.contains("wrong one"));
    })
    .await;
}

#[tokio::test]
async fn i07_nobody_is_redirected_before_they_have_logged_in() {
    on_each(async |fixture: Fixture| {
        let (fixture, id, _) = with_app(fixture).await;
        let challenge = challenge();
        let longer = format!("{challenge}a");
        for (name, value) in [
            ("client_id", "app-1"),
            ("redirect_uri", "https://evil.example/"),
            ("redirect_uri", "https://app.example/back/"),
            ("response_type", "token"),
            ("code_challenge", ""),
            ("code_challenge", "short"),
            ("code_challenge", longer.as_str()),
            ("code_challenge_method", "md5"),
            ("code_challenge_method", "plain"),
            ("code_challenge_method", ""),
            ("scope", "account.write"),
            ("decision", "maybe"),
        ] {
            let mut pairs = asking(&id, &challenge, "S256");
            pairs.extend([("username", "ann"), ("password", PASSWORD), ("decision", "allow")]);
            pairs.retain(|(kept, _)| *kept != name);
            pairs.push((name, value));
            let (status, headers, html) = fixture.page(form(&pairs)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{name}={value}");
            assert!(!headers.contains_key("location"), "{name}={value}");
            assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"));
            let part = if name.starts_with("code_challenge") { "code_challenge" } else { name };
            assert!(html.contains(part), "{name}={value}: {html}");
            let path = format!("/i/oauth2/authorize?{}", query(&pairs));
            let asked = Request::get(path).body(Body::empty()).unwrap();
            let (status, headers, _) = fixture.page(asked).await;
            assert!(!headers.contains_key("location"));
            assert_eq!(status == StatusCode::OK, name == "decision", "{name}={value}");
        }
        // Who says no is not sent anywhere either; the link back is theirs to follow.
        let mut pairs = asking(&id, &challenge, "S256");
        pairs.push(("decision", "deny"));
        let (status, headers, html) = fixture.page(form(&pairs)).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!headers.contains_key("location"));
        let link = "href=\"https://app.example/back?error=access_denied&amp;";
        assert!(html.contains(link) && html.contains("state=a%26b"), "{html}");
    })
    .await;
}

#[tokio::test]
async fn i07_an_app_that_is_installed_listens_on_any_port() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        let login = fixture.login("ann").await;
        let body = json!({
            "name": "Installed",
            "client_type": "public",
            "redirect_uris": ["http://127.0.0.1/back", "com.app:/cb"],
        });
        let (id, _) = fixture.app(login.text("access_token"), body).await;
        let challenge = challenge();
        for back in ["http://127.0.0.1:49152/back", "com.app:/cb"] {
            let mut pairs = asking(&id, &challenge, "S256");
            pairs.retain(|(name, _)| *name != "redirect_uri");
            pairs.push(("redirect_uri", back));
            let allowed = decide(&fixture, pairs, "allow").await;
            let location = allowed.headers["location"].to_str().unwrap();
            assert!(location.starts_with(&format!("{back}?code=")), "{location}");
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
        let challenge = challenge();
        let allowed = back(&decide(&fixture, asking(&id, &challenge, "S256"), "allow").await);
        let code = &allowed["code"];
        let right = query(&[("code_verifier", VERIFIER)]);
        let another = VERIFIER.replace('a', "b");
        let wrong = query(&[("code_verifier", &another)]);
        let short = query(&[("code_verifier", &VERIFIER[..42])]);
        let odd = query(&[("code_verifier", &VERIFIER.replace('-', "+"))]);
        let elsewhere =
            query(&[("code_verifier", VERIFIER), ("redirect_uri", "https://a.example/")]);
        for (id, secret, more, error) in [
            (&other, &other_secret, &right, "invalid_grant"),
            (&id, &secret, &wrong, "invalid_grant"),
            (&id, &secret, &short, "invalid_request"),
            (&id, &secret, &odd, "invalid_request"),
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
        let challenge = challenge();
        let mut pairs = asking(&id, &challenge, "S256");
        pairs.extend([("username", "bob"), ("password", PASSWORD), ("decision", "allow")]);
        let allowed = fixture.form("/i/oauth2/authorize", &query(&pairs), None).await;
        assert!(back(&allowed).contains_key("code"));
        assert!(fixture.shown("bob").await.is_some());
    })
    .await;
}
