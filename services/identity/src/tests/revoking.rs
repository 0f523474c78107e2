//! Access tokens that are revoked before they expire, and what hosts are told of it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use pillion_chassis::testing::by_service;
use serde_json::{Value, json};

use super::{Answer, Fixture, PASSWORD, claims, json_request, on_each};

async fn logged_in(fixture: Fixture) -> (Fixture, Answer) {
    fixture.register("ann").await;
    let login = fixture.login("ann").await;
    (fixture, login)
}

async fn revoke(fixture: &Fixture, token: &str, basic: Option<&str>) -> Answer {
    let form = format!("token={token}&token_type_hint=access_token");
    fixture.form("/2/oauth2/revoke", &form, basic).await
}

async fn app_token(fixture: &Fixture, id: &str, secret: &str) -> String {
    let basic = format!("{id}:{secret}");
    let form = "grant_type=client_credentials";
    fixture.form("/oauth2/token", form, Some(&basic)).await.text("access_token").to_owned()
}

#[tokio::test]
async fn i04_access_tokens_and_sessions_are_revoked() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let other = fixture.login("ann").await;
        let revoked = (StatusCode::OK, json!({ "revoked": true }));
        for _ in 0..2 {
            let answer = revoke(&fixture, login.text("access_token"), None).await;
            assert_eq!((answer.status, answer.body), revoked.clone());
        }
        assert!(fixture.is_revoked(login.text("access_token")).await);
        assert!(!fixture.is_revoked(other.text("access_token")).await);
        // Of a refresh token the whole session ends.
        let answer = revoke(&fixture, other.text("refresh_token"), None).await;
        assert_eq!((answer.status, answer.body), revoked.clone());
        assert!(fixture.is_revoked(other.text("access_token")).await);
        let form = format!(
            "grant_type=refresh_token&client_id=pillion&refresh_token={}",
            other.text("refresh_token")
        );
        let refreshed = fixture.form("/2/oauth2/token", &form, None).await;
        assert_eq!(refreshed.text("error"), "invalid_grant");
        // What was never a token is as good as revoked.
        for unknown in ["unknown", "a.b.c", "e30.e30.e30"] {
            let answer = revoke(&fixture, unknown, None).await;
            assert_eq!((answer.status, answer.body), revoked.clone());
        }
    })
    .await;
}

#[tokio::test]
async fn i04_apps_revoke_their_own_tokens_and_nobody_elses() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let user = login.text("access_token");
        let (id, secret) = fixture.app(user, json!({ "name": "One" })).await;
        let (other, other_secret) = fixture.app(user, json!({ "name": "Two" })).await;
        let token = app_token(&fixture, &id, &secret).await;
        let kept = app_token(&fixture, &id, &secret).await;
        let stranger = format!("{other}:{other_secret}");
        let foreign = revoke(&fixture, &token, Some(&stranger)).await;
        assert_eq!(foreign.text("error"), "invalid_grant");
        assert!(!fixture.is_revoked(&token).await);
        assert_eq!(revoke(&fixture, &token, Some(&format!("{id}:wrong"))).await.status, 401);
        let own = revoke(&fixture, &token, Some(&format!("{id}:{secret}"))).await;
        assert_eq!(own.body, json!({ "revoked": true }));
        assert!(fixture.is_revoked(&token).await && !fixture.is_revoked(&kept).await);

        // Removing an app revokes all that there is of it.
        let path = format!("/pillion/v1/apps/{id}");
        let remove = || json_request(Method::DELETE, &path, &Value::Null);
        let removed = fixture.send_as(user, remove()).await;
        assert_eq!(removed.body, json!({ "data": { "deleted": true } }));
        assert!(fixture.is_revoked(&kept).await);
        assert_eq!(fixture.send_as(user, remove()).await.status, StatusCode::NOT_FOUND);
        let list = json_request(Method::GET, "/pillion/v1/apps", &Value::Null);
        let list = fixture.send_as(user, list).await;
        assert_eq!(list.body["data"][0]["client_id"], other, "{}", list.body);
        assert_eq!(list.body["meta"]["result_count"], 1);
        assert!(list.body["data"][0].get("client_secret").is_none());
    })
    .await;
}

#[tokio::test]
async fn i04_closing_an_account_and_logging_out_everywhere_revoke_all_of_its_tokens() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let body = json!({ "username": "ann", "password": PASSWORD, "scope": "tweet.read" });
        let narrow = fixture.post("/pillion/v1/login", body).await;
        fixture.register("bob").await;
        let bob = fixture.login("bob").await;
        let everywhere = json_request(Method::DELETE, "/pillion/v1/sessions", &Value::Null);
        let out = fixture.send_as(login.text("access_token"), everywhere).await;
        assert_eq!(out.body, json!({ "data": { "revoked": true } }));
        for token in [login.text("access_token"), narrow.text("access_token")] {
            assert!(fixture.is_revoked(token).await);
        }
        assert!(!fixture.is_revoked(bob.text("access_token")).await);
        // In the same second there are new ones.
        let back = fixture.login("ann").await;
        assert!(!fixture.is_revoked(back.text("access_token")).await);
        let (id, secret) = fixture.app(back.text("access_token"), json!({ "name": "Mine" })).await;
        let app = app_token(&fixture, &id, &secret).await;
        fixture.settled().await;
        let gone = fixture.deactivate(back.text("access_token"), PASSWORD).await;
        assert_eq!(gone.status, StatusCode::OK, "{}", gone.body);
        assert!(fixture.is_revoked(back.text("access_token")).await);
        assert!(fixture.is_revoked(&app).await);
        let again = fixture.login("ann").await;
        assert!(!fixture.is_revoked(again.text("access_token")).await);
    })
    .await;
}

#[tokio::test]
async fn i04_many_revocations_of_one_user_become_one() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let scope = json!({ "username": "ann", "password": PASSWORD, "scope": "tweet.read" });
        let survivor = fixture.post("/pillion/v1/login", scope).await;
        let (user_id, epoch) = {
            let claims = claims(&fixture.handle.jwks(), survivor.text("access_token"));
            let epoch = claims["rev"][0].as_str().unwrap().to_owned();
            (claims["sub"].as_str().unwrap().parse().unwrap(), epoch)
        };
        let now = pillion_chassis::Clock::now(&*fixture.clock);
        let until = crate::signer::after(now, Duration::from_hours(1));
        let store = &fixture.identity().store;
        let mut transaction = store.write().await.unwrap();
        let owner = crate::store::revocations::Owner::User(user_id);
        for number in 0..64 {
            let id = format!("token-{number}");
            let one = crate::store::revocations::revoke_one;
            one(&mut transaction, &id, owner, until, now).await.unwrap();
        }
        transaction.commit().await.unwrap();
        assert_eq!(fixture.handle.revocations_after(0).await.unwrap().count, 64);
        revoke(&fixture, login.text("access_token"), None).await;
        let page = fixture.handle.revocations_after(0).await.unwrap();
        assert_eq!((page.count, page.revocations[0].id.as_str()), (1, epoch.as_str()));
        assert!(fixture.is_revoked(login.text("access_token")).await);
        assert!(fixture.is_revoked(survivor.text("access_token")).await);
        // The session itself goes on.
        let form = format!(
            "grant_type=refresh_token&client_id=pillion&refresh_token={}",
            login.text("refresh_token")
        );
        let next = fixture.form("/2/oauth2/token", &form, None).await;
        assert!(!fixture.is_revoked(next.text("access_token")).await);
    })
    .await;
}

#[tokio::test]
async fn i04_hosts_read_revocations_in_order_until_the_tokens_have_expired() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let other = fixture.login("ann").await;
        let read = async |since: i64| {
            let mut request = Request::get(format!("/internal/revocations?since={since}"))
                .body(Body::empty())
                .unwrap();
            request.extensions_mut().insert(by_service("users"));
            fixture.send(request).await.body
        };
        assert_eq!(read(0).await, json!({ "revocations": [], "next": 0, "last": 0, "count": 0 }));
        revoke(&fixture, login.text("access_token"), None).await;
        revoke(&fixture, other.text("access_token"), None).await;
        let all = read(0).await;
        assert_eq!((&all["next"], &all["count"]), (&json!(2), &json!(2)));
        let claims = claims(&fixture.handle.jwks(), other.text("access_token"));
        let news = read(1).await;
        assert_eq!(news["revocations"][0]["id"], claims["jti"]);
        let until = news["revocations"][0]["until_s"].as_u64().unwrap();
        assert!(until >= claims["exp"].as_u64().unwrap() + 600);
        fixture.clock.advance(Duration::from_hours(24));
        let store = &fixture.identity().store;
        store.forget_expired(pillion_chassis::Clock::now(&*fixture.clock)).await.unwrap();
        let later = read(0).await;
        assert_eq!((&later["last"], &later["count"]), (&json!(2), &json!(0)));

        // Nobody else may read them.
        let anybody = Request::get("/internal/revocations").body(Body::empty()).unwrap();
        assert_eq!(fixture.send(anybody).await.status, StatusCode::UNAUTHORIZED);
        let user = Request::get("/internal/revocations").body(Body::empty()).unwrap();
        let user = fixture.send_as(fixture.login("ann").await.text("access_token"), user).await;
        assert_eq!(user.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn i13_tokens_live_as_configured_and_streams_outlast_them_unless_revoked() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let user = login.text("access_token");
        assert_eq!(login.body["expires_in"], 7_200);
        let (id, secret) = fixture.app(user, json!({ "name": "Streams" })).await;
        let basic = format!("{id}:{secret}");
        let form = "grant_type=client_credentials";
        let app = fixture.form("/oauth2/token", form, Some(&basic)).await;
        assert_eq!(app.body["expires_in"], 365 * 24 * 3_600);

        let status = async |token: &str| {
            let mut request = Request::post("/internal/token-status")
                .header(CONTENT_TYPE, "application/json")
                .body(Body::from(json!({ "token": token }).to_string()))
                .unwrap();
            request.extensions_mut().insert(by_service("gateway"));
            fixture.send(request).await.body
        };
        assert_eq!(status(user).await, json!({ "active": true }));
        fixture.clock.advance(Duration::from_mins(119));
        let renewed = status(user).await;
        let (old, new) = (
            claims(&fixture.handle.jwks(), user),
            claims(&fixture.handle.jwks(), renewed.as_object().unwrap()["token"].as_str().unwrap()),
        );
        for same in ["sub", "client_id", "scope", "jti", "rev"] {
            assert_eq!(old[same], new[same], "{same}");
        }
        assert_eq!(new["exp"], super::now_s(&fixture.clock) + 900);
        // Revoking the first one, though it has expired, ends what was made of it.
        fixture.clock.advance(Duration::from_mins(30));
        revoke(&fixture, user, None).await;
        assert_eq!(status(user).await, json!({ "active": false }));
        assert_eq!(status(renewed["token"].as_str().unwrap()).await, json!({ "active": false }));
        assert_eq!(status("not.of.ours").await, json!({ "active": true }));
        let user = json_request(Method::POST, "/internal/token-status", &json!({ "token": user }));
        let refused = fixture.send_as(app.text("access_token"), user).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    })
    .await;
}
