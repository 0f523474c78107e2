//! Logging in, and what a wrong password tells.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Fixture, Mode, PASSWORD, json_request, on_each};

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

#[tokio::test]
async fn the_account_itself_needs_a_callers_token_with_its_scope() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        let body = json!({ "password": PASSWORD });
        let anybody = json_request(Method::DELETE, "/pillion/v1/accounts/me", &body);
        assert_eq!(fixture.send(anybody).await.status, StatusCode::UNAUTHORIZED);
        let body = json!({ "username": "ann", "password": PASSWORD, "scope": "tweet.write" });
        let login = fixture.post("/pillion/v1/login", body).await;
        let narrow = fixture.deactivate(login.text("access_token"), PASSWORD).await;
        assert_eq!(narrow.status, StatusCode::FORBIDDEN);
        assert!(narrow.text("detail").contains("account.write"));
        assert!(fixture.shown("ann").await.is_some());
    })
    .await;
}

#[tokio::test]
async fn nobody_logs_in_before_the_registration_has_ended() {
    on_each(async |fixture: Fixture| {
        fixture.world.set("PUT users.activate", Mode::Down);
        fixture.register_and_go("ann").await;
        let early = fixture.login("ann").await;
        assert_eq!(early.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(early.headers.contains_key("retry-after"));
    })
    .await;
}

#[tokio::test]
async fn i05_guessing_is_throttled_and_the_owner_gets_in() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        let login = async |address: &str, password: &str| {
            let body = json!({ "username": "ann", "password": password });
            let mut request = json_request(Method::POST, "/pillion/v1/login", &body);
            let address = pillion_chassis::ClientAddress(address.parse().ok());
            request.extensions_mut().insert(address);
            fixture.send(request).await
        };
        assert_eq!(login("198.51.100.1", PASSWORD).await.status, StatusCode::OK);
        let mut statuses = Vec::new();
        for _ in 0..7 {
            statuses.push(login("203.0.113.9", "a wrong password").await.status.as_u16());
        }
        assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 429]);
        // The right password does not help who has guessed too often, and says so.
        let late = login("203.0.113.9", PASSWORD).await;
        assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(late.headers.contains_key("retry-after"));
        assert_eq!(login("198.51.100.1", PASSWORD).await.status, StatusCode::OK);
        let metrics = fixture.handle.throttle_metrics();
        assert_eq!((metrics.wrong_passwords, metrics.refused_by_network), (6, 2));
        fixture.clock.advance(std::time::Duration::from_secs(2));
        assert_eq!(login("203.0.113.9", PASSWORD).await.status, StatusCode::OK);
    })
    .await;
}
