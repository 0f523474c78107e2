//! Registering, logging in and deleting, with failures at every step.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use super::{Fixture, Mode, PASSWORD, claims, json_request, on_each};

#[tokio::test]
async fn a_registered_account_can_log_in() {
    on_each(async |fixture: Fixture| {
        let answer = fixture.register("Ann").await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let id = answer.body["data"]["id"].as_str().unwrap();
        assert_eq!(answer.body["data"], json!({ "id": id, "username": "Ann", "name": "A name" }));
        assert_eq!(answer.headers["location"], format!("/2/users/{id}"));
        assert_eq!(fixture.users.usernames(), ["Ann"]);

        // Handles are the same in any case.
        let login = fixture.login("ANN").await;
        assert_eq!(login.status, StatusCode::OK, "{}", login.body);
        assert_eq!(login.headers["cache-control"], "no-store");
        assert_eq!(login.body["token_type"], "bearer");
        assert_eq!(login.body["expires_in"], 900);
        let claims = claims(&fixture.handle.jwks(), login.text("access_token"));
        assert_eq!(claims["sub"], id);
        assert_eq!(claims["client_id"], "pillion");
        assert_eq!(claims["scope"], login.body["scope"]);
    })
    .await;
}

#[tokio::test]
async fn the_users_service_is_called_with_a_token_of_our_own() {
    on_each(async |fixture: Fixture| {
        let mut request = json_request(
            Method::POST,
            "/pillion/v1/accounts",
            &json!({ "username": "ann", "name": "Ann", "password": PASSWORD }),
        );
        request.headers_mut().insert("authorization", "Bearer somebody-elses".parse().unwrap());
        assert_eq!(fixture.send(request).await.status, StatusCode::CREATED);
        let sent = fixture.users.tokens.lock().unwrap()[0].clone();
        let claims = claims(&fixture.handle.jwks(), sent.strip_prefix("Bearer ").unwrap());
        assert_eq!(claims["sub"], "service:identity");
        assert_eq!(claims["client_id"], "service:identity");
        assert_eq!(claims["scope"], "internal.users.write");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    })
    .await;
}

#[tokio::test]
async fn a_taken_handle_is_409_and_leaves_nothing() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        let again = fixture.register("Ann").await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        assert!(again.text("detail").contains("[Ann]"));

        // Taken in the users service alone: the account made for it goes again.
        let stray = json!({ "username": "bob", "name": "Bob" });
        fixture.users.profiles.lock().unwrap().insert("1".to_owned(), stray);
        let refused = fixture.register("bob").await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(refused.text("detail").contains("[bob]"));
        fixture.users.profiles.lock().unwrap().remove("1");
        assert_eq!(fixture.register("bob").await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn what_the_users_service_refuses_is_passed_on_and_leaves_nothing() {
    on_each(async |fixture: Fixture| {
        fixture.users.set(Mode::Refuses);
        let refused = fixture.register("ann").await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        assert_eq!(refused.body["errors"][0]["message"], "`username` is odd");
        fixture.users.set(Mode::Works);
        assert_eq!(fixture.register("ann").await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn a_registration_that_stopped_half_way_is_taken_on() {
    for mode in [Mode::Down, Mode::AnswersLost] {
        on_each(async |fixture: Fixture| {
            fixture.users.set(mode);
            let failed = fixture.register("ann").await;
            assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(failed.headers.contains_key("retry-after"));
            assert_eq!(fixture.login("ann").await.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(fixture.identity().resume(Duration::ZERO).await.unwrap(), 1);

            // The process dies, the users service comes back, the worker of the next process runs.
            let fixture = fixture.restart().await;
            fixture.users.set(Mode::Works);
            assert_eq!(fixture.identity().resume(Duration::ZERO).await.unwrap(), 0);
            assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
            assert_eq!(fixture.users.usernames(), ["ann"]);
        })
        .await;
    }
}

#[tokio::test]
async fn the_same_request_again_completes_a_registration() {
    on_each(async |fixture: Fixture| {
        fixture.users.set(Mode::AnswersLost);
        fixture.register("ann").await;
        fixture.users.set(Mode::Works);
        let other = json!({ "username": "ann", "name": "X", "password": "another password" });
        let other = fixture.post("/pillion/v1/accounts", other).await;
        assert_eq!(other.status, StatusCode::CONFLICT);
        let again = fixture.register("ann").await;
        assert_eq!(again.status, StatusCode::CREATED);
        assert_eq!(fixture.users.profiles.lock().unwrap().len(), 1);
        assert_eq!(fixture.register("ann").await.status, StatusCode::CONFLICT);
    })
    .await;
}

#[tokio::test]
async fn the_worker_leaves_requests_under_way_alone() {
    on_each(async |fixture: Fixture| {
        fixture.users.set(Mode::Down);
        fixture.register("ann").await;
        fixture.users.set(Mode::Works);
        let grace = Duration::from_secs(10);
        fixture.identity().resume(grace).await.unwrap();
        assert!(fixture.users.usernames().is_empty());
        fixture.clock.advance(grace);
        fixture.identity().resume(grace).await.unwrap();
        assert_eq!(fixture.users.usernames(), ["ann"]);
    })
    .await;
}

#[tokio::test]
async fn a_pending_handle_that_was_lost_to_another_is_given_up() {
    on_each(async |fixture: Fixture| {
        fixture.users.set(Mode::Down);
        fixture.register("ann").await;
        let other = json!({ "username": "ann", "name": "Other" });
        fixture.users.profiles.lock().unwrap().insert("1".to_owned(), other);
        fixture.users.set(Mode::Works);
        assert_eq!(fixture.identity().resume(Duration::ZERO).await.unwrap(), 0);
        assert_eq!(fixture.login("ann").await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn bad_registrations_are_told_what_is_wrong() {
    on_each(async |fixture: Fixture| {
        for (body, name) in [
            (json!({ "username": "ann", "name": "Ann", "password": "short" }), "password"),
            (json!({ "username": "ann", "name": "Ann", "password": "a".repeat(129) }), "password"),
            (json!({ "username": "ann", "name": "Ann" }), "body"),
            (json!({ "username": 7, "name": "Ann", "password": PASSWORD }), "username"),
            (json!({ "username": "ann", "name": "Ann", "password": PASSWORD, "bot": true }), "bot"),
        ] {
            let answer = fixture.post("/pillion/v1/accounts", body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            let error = answer.body["errors"][0].to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(fixture.users.tokens.lock().unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_handle_get_the_same_answer() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        let wrong = json!({ "username": "ann", "password": "not the password" });
        let wrong = fixture.post("/pillion/v1/login", wrong).await;
        let unknown = fixture.login("bob").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!((wrong.status, wrong.body), (unknown.status, unknown.body));
    })
    .await;
}

#[tokio::test]
async fn a_login_gets_the_scopes_it_asks_for() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        let body = |scope| json!({ "username": "ann", "password": PASSWORD, "scope": scope });
        let narrow = fixture.post("/pillion/v1/login", body("users.read tweet.read")).await;
        assert_eq!(narrow.text("scope"), "tweet.read users.read");
        assert!(narrow.body.get("refresh_token").is_none());
        let unknown = fixture.post("/pillion/v1/login", body("tweet.read tweet.fly")).await;
        assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
        assert!(unknown.body.to_string().contains("[tweet.fly]"));
    })
    .await;
}

fn delete(password: &str) -> axum::extract::Request {
    json_request(Method::DELETE, "/pillion/v1/accounts/me", &json!({ "password": password }))
}

#[tokio::test]
async fn a_deleted_account_is_gone_everywhere() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        let login = fixture.login("ann").await;
        let token = login.text("access_token");
        let wrong = fixture.send_as(token, delete("not the password")).await;
        assert_eq!(wrong.status, StatusCode::FORBIDDEN);
        assert_eq!(fixture.users.usernames(), ["ann"]);

        let deleted = fixture.send_as(token, delete(PASSWORD)).await;
        assert_eq!(
            (deleted.status, deleted.body),
            (StatusCode::OK, json!({"data": {"deleted": true}}))
        );
        assert!(fixture.users.usernames().is_empty());
        assert_eq!(fixture.login("ann").await.status, StatusCode::UNAUTHORIZED);
        let refresh =
            format!("grant_type=refresh_token&refresh_token={}", login.text("refresh_token"));
        let refreshed = fixture.form("/2/oauth2/token", &refresh, None).await;
        assert_eq!(refreshed.text("error"), "invalid_grant");
        // The access token still has minutes to live; what it names does not.
        let again = fixture.send_as(token, delete(PASSWORD)).await;
        assert_eq!(again.status, StatusCode::UNAUTHORIZED);
        assert!(again.text("detail").contains("does not exist any more"));
    })
    .await;
}

#[tokio::test]
async fn a_deletion_that_stopped_half_way_is_taken_on() {
    for mode in [Mode::Down, Mode::AnswersLost] {
        on_each(async |fixture: Fixture| {
            fixture.register("ann").await;
            let login = fixture.login("ann").await;
            fixture.users.set(mode);
            let accepted = fixture.send_as(login.text("access_token"), delete(PASSWORD)).await;
            assert_eq!(accepted.status, StatusCode::ACCEPTED);
            assert_eq!(accepted.body["data"]["deleted"], false);
            // Closed at once, whatever the users service does.
            assert_eq!(fixture.login("ann").await.status, StatusCode::UNAUTHORIZED);
            assert_eq!(fixture.register("ann").await.status, StatusCode::CONFLICT);

            let fixture = fixture.restart().await;
            fixture.users.set(Mode::Works);
            assert_eq!(fixture.identity().resume(Duration::ZERO).await.unwrap(), 0);
            assert!(fixture.users.usernames().is_empty());
            assert_eq!(fixture.register("ann").await.status, StatusCode::CREATED);
        })
        .await;
    }
}

#[tokio::test]
async fn the_account_itself_needs_a_callers_token_with_its_scope() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        assert_eq!(fixture.send(delete(PASSWORD)).await.status, StatusCode::UNAUTHORIZED);
        let body = json!({ "username": "ann", "password": PASSWORD, "scope": "tweet.write" });
        let login = fixture.post("/pillion/v1/login", body).await;
        let narrow = fixture.send_as(login.text("access_token"), delete(PASSWORD)).await;
        assert_eq!(narrow.status, StatusCode::FORBIDDEN);
        assert!(narrow.text("detail").contains("account.write"));
        assert_eq!(fixture.users.usernames(), ["ann"]);
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_went_back_makes_no_id_twice() {
    on_each(async |fixture: Fixture| {
        let first = fixture.register("ann").await;
        fixture.clock.set("2026-01-01T00:00:00Z".parse().unwrap());
        let fixture = fixture.restart().await;
        let second = fixture.register("bob").await;
        let id = |answer: &super::Answer| -> u64 {
            answer.body["data"]["id"].as_str().unwrap().parse().unwrap()
        };
        assert!(id(&second) > id(&first));
    })
    .await;
}
