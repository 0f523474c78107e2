//! Accounts and the tokens they give.

use base64::Engine as _;
use pillion_tests::system::System;
use serde_json::{Value, json};

#[tokio::test]
async fn registration_refuses_what_it_must() {
    let system = System::start();
    let register = |body: Value| system.client.post("/pillion/v1/accounts").json(&body);
    let good = json!({ "username": "alice", "name": "Alice", "password": "correct horse" });
    register(good.clone()).send().await.expect(201);
    let again = register(json!({ "username": "ALICE", "name": "x", "password": "correct horse" }))
        .send()
        .await
        .expect(409);
    assert!(again.json()["detail"].as_str().expect("a detail").to_lowercase().contains("alice"));
    for (member, value) in [
        ("username", json!("with space")),
        ("username", json!("sixteen_letters_")),
        ("username", json!("")),
        ("username", json!(7)),
        ("password", json!("short")),
        ("password", json!("x".repeat(129))),
        ("password", Value::Null),
        ("name", json!("n".repeat(51))),
    ] {
        let mut body =
            json!({ "username": "somebody", "name": "Some Body", "password": "correct horse" });
        body[member] = value.clone();
        let answer = register(body).send().await.expect(400);
        assert!(answer.text().contains(member), "{member}={value}: {}", answer.text());
    }
    // Nothing of the refused ones is left: the name is free.
    register(json!({ "username": "somebody", "name": "Some Body", "password": "correct horse" }))
        .send()
        .await
        .expect(201);
}

#[tokio::test]
async fn logging_in_says_no_more_than_needed() {
    let system = System::start();
    system.register("alice").await;
    let login = |username: &str, password: &str| {
        system
            .client
            .post("/pillion/v1/login")
            .json(&json!({ "username": username, "password": password }))
            .send()
    };
    let wrong = login("alice", "wrong password").await.expect(401);
    let unknown = login("nobody", "wrong password").await.expect(401);
    assert_eq!(wrong.json()["detail"], unknown.json()["detail"]);
}

#[tokio::test]
async fn i02_refresh_tokens_rotate_with_a_grace_and_reuse_ends_them_all() {
    let system =
        System::start_with(|config| config.replace("refresh_grace_s = 30", "refresh_grace_s = 2"));
    system.register("alice").await;
    let login = json!({ "username": "alice", "password": "correct horse battery", "scope": "tweet.read users.read offline.access" });
    let first =
        system.client.post("/pillion/v1/login").json(&login).send().await.expect(200).json();
    let refresh = |token: &Value| {
        let form = format!(
            "grant_type=refresh_token&client_id=pillion&refresh_token={}",
            token.as_str().expect("a token")
        );
        system
            .client
            .post("/2/oauth2/token")
            .text("application/x-www-form-urlencoded", &form)
            .send()
    };
    let second = refresh(&first["refresh_token"]).await.expect(200).json();
    assert_eq!(second["token_type"], json!("bearer"));
    system
        .client
        .get("/2/users/me")
        .bearer(second["access_token"].as_str().expect("a token"))
        .send()
        .await
        .expect(200);
    // A lost answer is asked for again, an expired or made-up access token along with it.
    let form = format!(
        "grant_type=refresh_token&client_id=pillion&refresh_token={}",
        first["refresh_token"].as_str().expect("a token")
    );
    let again = system
        .client
        .post("/2/oauth2/token")
        .bearer("garbage")
        .text("application/x-www-form-urlencoded", &form)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(again, second);
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    let reused = refresh(&first["refresh_token"]).await.expect(400).json();
    assert_eq!(reused["error"], json!("invalid_grant"));
    refresh(&second["refresh_token"]).await.expect(400);
    // A refresh token is no access token.
    system
        .client
        .get("/2/users/me")
        .bearer(second["refresh_token"].as_str().expect("a token"))
        .send()
        .await
        .expect(401);
}

#[tokio::test]
async fn an_application_gets_a_token_for_itself() {
    let system = System::start();
    let (_, token) = system.register("alice").await;
    let made = system
        .client
        .post("/pillion/v1/apps")
        .bearer(&token)
        .json(&json!({ "name": "my app" }))
        .send()
        .await
        .expect(201)
        .json();
    let (id, secret) = (
        made["data"]["client_id"].as_str().expect("an id"),
        made["data"]["client_secret"].as_str().expect("a secret"),
    );
    let basic = base64::prelude::BASE64_STANDARD.encode(format!("{id}:{secret}"));
    let answer = system
        .client
        .post("/oauth2/token")
        .header("authorization", &format!("Basic {basic}"))
        .text("application/x-www-form-urlencoded", "grant_type=client_credentials")
        .send()
        .await
        .expect(200)
        .json();
    let app = answer["access_token"].as_str().expect("a token");
    system.client.get("/2/tweets?ids=1").bearer(app).send().await.expect(200);
    system.client.get("/2/users/me").bearer(app).send().await.expect(403);
    let wrong = base64::prelude::BASE64_STANDARD.encode(format!("{id}:wrong"));
    let refused = system
        .client
        .post("/oauth2/token")
        .header("authorization", &format!("Basic {wrong}"))
        .text("application/x-www-form-urlencoded", "grant_type=client_credentials")
        .send()
        .await;
    assert_eq!(refused.expect(401).json()["error"], json!("invalid_client"));
}

#[tokio::test]
async fn a_token_of_a_deleted_account_posts_nothing() {
    let system = System::start();
    let (id, token) = system.register("alice").await;
    let delete = system.client.delete("/pillion/v1/accounts/me").bearer(&token);
    delete.json(&json!({ "password": "correct horse battery" })).send().await;
    let post = system
        .client
        .post("/2/tweets")
        .bearer(&token)
        .json(&json!({ "text": "from beyond" }))
        .send()
        .await;
    assert!(matches!(post.status.as_u16(), 401 | 403), "{}", post.text());
    // Which of the two is first is a matter of milliseconds.
    let reasons = [format!("account {id}"), "The access token was revoked.".to_owned()];
    let told = post.text();
    assert!(reasons.iter().any(|reason| told.contains(reason)), "{told}");
    let (_, other) = system.register("bob").await;
    let tweets = system
        .client
        .get(&format!("/2/users/{id}/tweets"))
        .bearer(&other)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(tweets.get("data"), None, "{tweets}");
}
