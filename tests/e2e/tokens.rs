//! Tokens that must not be let in, and exactly what each is told.

use pillion_tests::client::Answer;
use pillion_tests::system::System;
use pillion_tests::token::{claims, header, now, sign, sign_with, with};
use serde_json::{Value, json};

async fn me(system: &System, token: &str) -> Answer {
    system.client.get("/2/users/me").bearer(token).send().await
}

/// Asserts X's problem shape, the challenge, and that the reason is named.
fn assert_refused(answer: Answer, status: u16, reason: &str) {
    let what = format!("{reason}: {}", answer.text());
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    let json = answer.json();
    assert_eq!(json["status"], json!(status), "{what}");
    let detail = json["detail"].as_str().expect("a detail").to_lowercase();
    assert!(detail.contains(reason), "{what}");
    assert!(!answer.header("x-rate-limit-limit").is_empty(), "{what}");
    if status == 401 {
        assert_eq!(json["title"], json!("Unauthorized"), "{what}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
    }
}

#[tokio::test]
async fn no_token_or_no_token_at_all() {
    let system = System::start();
    let none = system.client.get("/2/users/me").send().await;
    assert_refused(none, 401, "token");
    for authorization in [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer a b",
        "nonsense",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer ....",
        "Bearer \u{7f}",
    ] {
        let request = system.client.get("/2/users/me").header("authorization", authorization);
        // A header that HTTP itself refuses does not reach the plugin.
        if let Ok(answer) = request.try_send().await {
            assert_refused(answer, 401, "token");
        }
    }
}

#[tokio::test]
async fn every_claim_counts() {
    let system = System::start();
    let (alice, own) = system.register("alice").await;
    me(&system, &own).await.expect(200);
    let good = claims(&alice);
    me(&system, &sign(&header(), &good)).await.expect(200);

    let cases: Vec<(&str, Value, &str)> = vec![
        ("exp", json!(now() - 60), "expired"),
        ("exp", Value::Null, "exp"),
        ("exp", json!("soon"), "exp"),
        ("nbf", json!(now() + 60), "not valid before"),
        ("nbf", Value::Null, "nbf"),
        ("iss", json!("somebody"), "issuer"),
        ("iss", Value::Null, "iss"),
        ("aud", json!("another-api"), "audience"),
        ("aud", Value::Null, "aud"),
        ("sub", Value::Null, "sub"),
        ("client_id", Value::Null, "client_id"),
    ];
    for (claim, value, reason) in cases {
        let token = sign(&header(), &with(good.clone(), claim, value));
        let answer = me(&system, &token).await;
        // The wording is the plugin's; what is named may be the claim or its meaning.
        let text = answer.text().to_lowercase();
        let reason = if text.contains(reason) { reason } else { claim };
        assert_refused(answer, 401, reason);
    }
}

#[tokio::test]
async fn forged_and_confused_tokens() {
    let system = System::start();
    let (alice, own) = system.register("alice").await;
    let good = claims(&alice);

    let forged = sign_with(b"not the secret, but just as long as it", &header(), &good);
    assert_refused(me(&system, &forged).await, 401, "signature");

    // One flipped bit in the payload of a real token.
    let mut parts: Vec<String> = own.split('.').map(str::to_owned).collect();
    let other = if &parts[1][10..11] == "A" { "B" } else { "A" };
    parts[1].replace_range(10..11, other);
    assert_refused(me(&system, &parts.join(".")).await, 401, "token");

    // The public key taken for an HMAC secret, `none`, a key that is not there, a foreign typ.
    let jwks = system.client.get("/.well-known/jwks.json").send().await.expect(200).json();
    let kid = jwks["keys"][0]["kid"].clone();
    let x = jwks["keys"][0]["x"].as_str().expect("a public key").to_owned();
    let confused = with(header(), "kid", kid.clone());
    assert_refused(me(&system, &sign_with(x.as_bytes(), &confused, &good)).await, 401, "token");
    for (member, value) in [
        ("alg", json!("none")),
        ("alg", json!("RS256")),
        ("kid", json!("unknown")),
        ("kid", Value::Null),
        ("typ", json!("JWT")),
        ("alg", json!("EdDSA")),
    ] {
        let token = sign(&with(header(), member, value.clone()), &good);
        assert_refused(me(&system, &token).await, 401, "");
    }
    // Where a key could be fetched from is never looked at.
    let jku = with(with(header(), "kid", json!("evil")), "jku", json!("http://127.0.0.1:1/keys"));
    assert_refused(me(&system, &sign(&jku, &good)).await, 401, "");
    me(&system, &own).await.expect(200);
}

#[tokio::test]
async fn scopes_and_kinds_of_tokens() {
    let system = System::start();
    let (alice, _) = system.register("alice").await;
    let reading = system.login("alice", "tweet.read users.read").await;
    me(&system, &reading).await.expect(200);
    let post = system
        .client
        .post("/2/tweets")
        .bearer(&reading)
        .json(&json!({ "text": "no" }))
        .send()
        .await;
    assert!(
        post.header("www-authenticate").contains("insufficient_scope"),
        "{}",
        post.header("www-authenticate")
    );
    assert_refused(post, 403, "tweet.write");

    // An application as itself: may read tweets, has no `me`.
    let app = with(with(claims(&alice), "sub", json!("an-app")), "client_id", json!("an-app"));
    let app = sign(&header(), &with(app, "scope", Value::Null));
    system.client.get("/2/tweets?ids=1").bearer(&app).send().await.expect(200);
    let answer = me(&system, &app).await.expect(403);
    assert_eq!(answer.json()["title"], json!("Unsupported Authentication"));
    assert_eq!(
        answer.json()["type"],
        json!("https://api.twitter.com/2/problems/unsupported-authentication")
    );
}

#[tokio::test]
async fn what_only_services_may_do_is_not_reachable() {
    let system = System::start();
    let (alice, token) = system.register("alice").await;
    let body = json!({ "username": "mallory", "name": "mallory" });
    let internal = "/internal/sagas/1/steps/activate";
    system
        .client
        .call(http::Method::PUT, internal)
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect(404);
    system.client.delete(internal).bearer(&token).send().await.expect(404);
    // Claims of the host's own vocabulary in headers change nothing.
    let forged = system
        .client
        .get("/2/users/me")
        .header("pillion-caller", &alice)
        .header("x-user-id", &alice)
        .send()
        .await;
    assert_refused(forged, 401, "token");
}

#[tokio::test]
async fn head_needs_a_token_like_get() {
    let system = System::start();
    let answer = system.client.call(http::Method::HEAD, "/2/tweets?ids=1").send().await;
    assert_eq!(answer.status, 401);
}
