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
        let challenge = answer.header("www-authenticate").to_owned();
        assert!(challenge.starts_with("Bearer realm="), "{what}");
        // The challenge has the same reason, but where there is no token at all (RFC 6750, 3).
        let told =
            challenge.split_once("error_description=\"").map(|(_, told)| told.to_lowercase());
        let told = told.map(|told| told.trim_end_matches('"').to_owned());
        assert!(told.is_none_or(|told| told == detail.replace(['"', '\\'], "'")), "{challenge}");
    }
}

#[tokio::test]
async fn no_token_or_no_token_at_all() {
    let system = System::start();
    let none = system.client.get("/2/users/me").send().await;
    assert_refused(none, 401, "token");
    for (authorization, reason) in [
        ("Bearer", "must be `bearer`, spaces, and one token"),
        ("Bearer ", "must be `bearer`, spaces, and one token"),
        ("Basic YTpi", "has another scheme"),
        ("Bearer a b", "must be `bearer`, spaces, and one token"),
        ("nonsense", "has another scheme"),
        ("Bearer a.b", "is not three parts"),
        ("Bearer a.b.c.d", "is not three parts"),
        ("Bearer ....", "is not three parts"),
        ("Bearer \u{7f}", "must be `bearer`, spaces, and one token"),
    ] {
        let request = system.client.get("/2/users/me").header("authorization", authorization);
        // A header that HTTP itself refuses does not reach the plugin.
        if let Ok(answer) = request.try_send().await {
            assert_refused(answer, 401, reason);
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
        ("exp", json!(now() - 61), "the access token expired at "),
        ("exp", Value::Null, "lacks the claim exp"),
        ("exp", json!("soon"), "claim exp is not a time"),
        ("nbf", json!(now() + 90), "is not valid before "),
        ("nbf", json!("soon"), "claim nbf is not a time"),
        ("iss", json!("somebody"), "was issued by somebody"),
        ("iss", Value::Null, "lacks the claim iss"),
        ("aud", json!("another-api"), "meant for another audience"),
        ("aud", Value::Null, "lacks the claim aud"),
        ("sub", json!("nobody"), "neither a user nor its own application"),
        ("sub", Value::Null, "lacks the claim sub"),
        ("client_id", Value::Null, "lacks the claim client_id"),
    ];
    for (claim, value, reason) in cases {
        let token = sign(&header(), &with(good.clone(), claim, value));
        assert_refused(me(&system, &token).await, 401, reason);
    }
    // i03: within the leeway, and without the claim that is optional.
    for (claim, value) in
        [("exp", json!(now() - 30)), ("nbf", json!(now() + 30)), ("nbf", Value::Null)]
    {
        me(&system, &sign(&header(), &with(good.clone(), claim, value))).await.expect(200);
    }
    // i12: any number of spaces.
    let spaced = format!("Bearer    {own}");
    system.client.get("/2/users/me").header("authorization", &spaced).send().await.expect(200);
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
    assert_refused(me(&system, &parts.join(".")).await, 401, "signature is wrong");

    // The public key taken for an HMAC secret, `none`, a key that is not there, a foreign typ.
    let jwks = system.client.get("/.well-known/jwks.json").send().await.expect(200).json();
    let kid = jwks["keys"][0]["kid"].clone();
    let x = jwks["keys"][0]["x"].as_str().expect("a public key").to_owned();
    let confused = with(header(), "kid", kid.clone());
    let confused = sign_with(x.as_bytes(), &confused, &good);
    assert_refused(me(&system, &confused).await, 401, "is for another algorithm than it names");
    for (member, value, reason) in [
        ("alg", json!("none"), "is signed with none"),
        ("alg", json!("RS256"), "is signed with rs256"),
        ("kid", json!("unknown"), "signed with the unknown key unknown"),
        ("kid", Value::Null, "names no key"),
        ("typ", json!("JWT"), "must be at+jwt, not jwt"),
        ("alg", json!("EdDSA"), "is for another algorithm than it names"),
        ("crit", json!(["b64"]), "requires extensions (crit)"),
    ] {
        let token = sign(&with(header(), member, value.clone()), &good);
        assert_refused(me(&system, &token).await, 401, reason);
    }
    // Where a key could be fetched from is never looked at.
    let jku = with(with(header(), "kid", json!("evil")), "jku", json!("http://127.0.0.1:1/keys"));
    let evil = "signed with the unknown key evil";
    assert_refused(me(&system, &sign(&jku, &good)).await, 401, evil);
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

#[tokio::test]
async fn i01_public_routes_ignore_tokens_and_count_the_address() {
    let system = System::start_with(|config| {
        config.replace("burst = 300\nperiod_ms = 60000", "burst = 30\nperiod_ms = 600000")
    });
    let (alice, _) = system.register("alice").await;
    let expired = sign(&header(), &with(claims(&alice), "exp", json!(1)));
    let login = json!({ "username": "alice", "password": "correct horse battery" });
    for token in [expired.as_str(), "garbage", "a.b.c"] {
        let login = system.client.post("/pillion/v1/login").bearer(token).json(&login);
        login.send().await.expect(200);
        system.client.get("/docs").bearer(token).send().await.expect(200);
        system.client.get("/.well-known/jwks.json").bearer(token).send().await.expect(200);
        let revoke = system.client.post("/2/oauth2/revoke").bearer(token);
        let form = "application/x-www-form-urlencoded";
        revoke.text(form, "token=unknown&client_id=pillion").send().await.expect(200);
    }
    // With a made-up token as without one: each counts.
    let mut refused = None;
    for number in 0..40 {
        let answer = system.client.get("/docs").bearer("garbage").send().await;
        if answer.status == 429 {
            refused = Some(number);
            break;
        }
    }
    assert!(refused.is_some_and(|number| number < 30), "{refused:?}");
}

/// Waits until a token is refused, and says as what.
async fn until_refused(system: &System, token: &str) -> Answer {
    let began = std::time::Instant::now();
    loop {
        let answer = me(system, token).await;
        if answer.status != 200 {
            return answer;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "it is still accepted");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn i04_a_revoked_access_token_is_refused_within_seconds() {
    let mut system = System::start();
    let (_, token) = system.register("alice").await;
    let other = system.login("alice", "tweet.read users.read").await;
    for _ in 0..3 {
        me(&system, &token).await.expect(200);
        me(&system, &other).await.expect(200);
    }
    let form = format!("token={token}&client_id=pillion");
    let kind = "application/x-www-form-urlencoded";
    let revoked = system.client.post("/2/oauth2/revoke").text(kind, &form).send().await.expect(200);
    assert_eq!(revoked.json(), json!({ "revoked": true }));
    assert_refused(until_refused(&system, &token).await, 401, "the access token was revoked");
    me(&system, &other).await.expect(200);
    // A process that starts knows it before it accepts connections.
    system.kill();
    system.launch();
    assert_refused(me(&system, &token).await, 401, "the access token was revoked");
    me(&system, &other).await.expect(200);
    let metrics = system.admin().get("/metrics").send().await.expect(200);
    assert!(metrics.text().contains("\npillion_revocations 1\n"), "{}", metrics.text());
}

#[tokio::test]
async fn i09_an_operator_rotates_the_signing_keys() {
    let system = System::start();
    let keys = async || system.client.get("/.well-known/jwks.json").send().await.expect(200).json();
    assert_eq!(keys().await["keys"].as_array().map(Vec::len), Some(1));
    let data = system.data().display().to_string();
    let rotated = System::bare(&["keys", "rotate", "--json", "--data", &data]);
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let said: Value = serde_json::from_slice(&rotated.stdout).expect("JSON");
    assert_eq!(keys().await["keys"][1]["kid"], said["kid"]);
    let mode = std::fs::metadata(system.data().join("key-encryption.key")).expect("a file");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
}
